// Shared by the kernels of query rows over a block of keys, which declare the names used here: what stands before and behind
// the scores.

/// The number of keys that a row sees.
fn visible(row: u32) -> u32 {
  return min(params.len, select(places[row].y - places[row].x, places[row].x + 1u, CAUSAL));
}

/// Where the block from key `first` on begins in k and v for a row, relative to its head.
fn block_at(row: u32, first: u32) -> vec2u {
  if (CAUSAL) {
    return vec2u(page_of(places[row].y, first) * params.page);
  }
  return (places[row].x + first) * vec2u(params.k_row, params.v_row);
}

/// Puts a row's scaled queries of heads head to head + GROUP - 1 into `query`; ends with a barrier.
fn load_query(lane: u32, row: u32, head: u32) {
  for (var i = lane; i < GROUP * QUADS; i += WG) {
    query[i] = vec4f(q[params.q_offset + row * params.q_row + (head + i / QUADS) * params.q_head + i % QUADS]) * SCALE;
  }
  workgroupBarrier();
}

/// Turns the `count` scores of each head in `probs` into weights, applies them to the value rows from v_base on, and stores the
/// sums and (top, weight) at index part + g; called by all lanes behind a barrier.
fn attend(lane: u32, count: u32, v_base: u32, part: u32, top: array<f32, GROUP>) {
  for (var g = 0u; g < GROUP; g++) {
    for (var key = lane; key < count; key += WG) {
      probs[g * BLOCK_KEYS + key] = exp2(probs[g * BLOCK_KEYS + key] - top[g]);
    }
  }
  workgroupBarrier();

  let slice = lane / QUADS;
  let quad = lane % QUADS;
  var sum: array<vec4f, GROUP>;
  var weight: array<f32, GROUP>;
  if (slice < SLICES) {
    for (var key = slice; key < count; key += SLICES) {
      let row = vec4f(v[v_base + key * params.v_row + quad]);
      for (var g = 0u; g < GROUP; g++) {
        let p = probs[g * BLOCK_KEYS + key];
        sum[g] += p * row;
        weight[g] += p;
      }
    }
  }
  for (var g = 0u; g < GROUP; g++) {
    sums[g * WG + lane] = sum[g];
    scalars[g * WG + lane] = weight[g];
  }
  workgroupBarrier();
  if (lane < QUADS) {
    for (var g = 0u; g < GROUP; g++) {
      for (var s = 1u; s < SLICES; s++) {
        let at = g * WG + s * QUADS + lane;
        sum[g] += sums[at];
        weight[g] += scalars[at];
      }
      parts[(part + g) * QUADS + lane] = sum[g];
      if (lane == 0u) {
        stats[part + g] = vec2f(top[g], weight[g]);
      }
    }
  }
}
