// Shared by the kernels of query rows over a block of keys, which declare the names used here: which keys a row
// sees, and what 16 bytes of them hold.

// Quads in 16 bytes of k and of v, and words of 16 bytes in a row of them.
const K_QUADS = select(1u, 2u, K_HALVES);
const V_QUADS = select(1u, 2u, V_HALVES);
const K_WORDS = QUADS / K_QUADS;
const V_WORDS = QUADS / V_QUADS;

/// Quad i of a word of k or v.
fn quad(halves: bool, word: vec4u, i: u32) -> vec4f {
  if (!halves) {
    return bitcast<vec4f>(word);
  }
  let p = select(word.xy, word.zw, i == 1u);
  return vec4f(unpack2x16float(p.x), unpack2x16float(p.y));
}

/// The number of keys that a row sees.
fn visible(row: u32) -> u32 {
  return min(params.len, select(places[row].y - places[row].x, places[row].x + 1u, CAUSAL));
}

/// Where the block from key `first` on begins in k and v for a row, relative to its head.
fn block_at(row: u32, first: u32) -> vec2u {
  if (CAUSAL) {
    return vec2u(page_of(places[row].y, first, params.pages) * params.page) + first % PAGE * vec2u(params.k_row, params.v_row);
  }
  return (places[row].x + first) * vec2u(params.k_row, params.v_row);
}
