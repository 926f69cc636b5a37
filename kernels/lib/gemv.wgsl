// Shared by the kernels of matmul for up to ROWS rows and subgroups of at least LANES lanes, which declare the names used here:
// LANES lanes share four columns; each has every LANES-th unit of UNIT words of them, UNROLL at a time, adds its products to
// `sums` in `add_unit`, whatever the row in the same order, and the lanes add up at the end. How x is read says one of lib/x_*.wgsl,
// which may have all lanes do something first (`prepare_rows`) and has a factor for the sums of a row; what follows a sum says one of
// lib/finish*.wgsl, which may have all lanes do something last (`complete`).

// Units that share a scale, and units of one step of all lanes.
const SHARING = GROUP / (4u * QUADS * UNIT);
const STEP = LANES * UNROLL;

/// A unit of four columns, word after word, and their scales.
struct Unit {
  words: array<array<vec4u, 4>, UNIT>,
  scale: vec4f,
}

/// Where a lane's first units lie: their places in w, the words that hold their scales, and by how many bits to shift these.
struct Start {
  cols: vec4u,
  unit: vec4u,
  scale: vec4u,
  bits: vec4u,
}

/// The unit `skip` + `more` behind the first of the lane, both multiples of LANES; `more` is a constant in loops that count.
fn load_unit(start: Start, lane: u32, skip: u32, more: u32) -> Unit {
  var unit: Unit;
  for (var i = 0u; i < UNIT; i++) {
    let at = (start.unit + skip + vec4u(more)) * UNIT + i;
    unit.words[i] = array(w[at.x], w[at.y], w[at.z], w[at.w]);
  }
  if (FORMAT < Q4 || LANES % (2u * SHARING) != 0u) {
    unit.scale = scale(start.cols, (lane + skip + more) * UNIT);
  } else {
    let at = start.scale + skip / (2u * SHARING) + vec4u(more / (2u * SHARING));
    let p = vec4u(scales[at.x], scales[at.y], scales[at.z], scales[at.w]) >> start.bits;
    let xy = vec2f(unpack2x16float(p.x).x, unpack2x16float(p.y).x);
    unit.scale = vec4f(xy, unpack2x16float(p.z).x, unpack2x16float(p.w).x);
  }
  return unit;
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(num_subgroups) subgroups: u32,
  @builtin(subgroup_invocation_id) place: u32,
) {
  let role = subgroup * (WG / subgroups) + place; // subgroup_size may be more than what runs
  prepare_rows(role, place, subgroup);
  let lane = role % LANES;
  let first = (group.x + group.y * groups.x) * (4u * WG / LANES);
  let col = first + role / LANES * 4u;
  let cols = columns(col);
  let units = params.words / UNIT;
  let scale_at = cols * ((units + SHARING - 1u) / SHARING) + lane / SHARING;
  let start = Start(cols, cols * units + lane, scale_at / 2u, scale_at % 2u * 16u);
  var sums: array<vec4f, ROWS>;
  let whole = units / STEP * STEP;
  var skip = 0u;
  if (whole > 0u) { // else Mesa 26's lavapipe, which goes once through a loop of no steps, takes a buffer of the second from there and dies
    for (; skip < whole; skip += STEP) {
      var loaded: array<Unit, UNROLL>;
      for (var u = 0u; u < UNROLL; u++) {
        loaded[u] = load_unit(start, lane, skip, u * LANES);
      }
      for (var u = 0u; u < UNROLL; u++) {
        add_unit(&sums, loaded[u], (lane + skip) + u * LANES, units);
      }
    }
  }
  for (; lane + skip < units; skip += LANES) {
    add_unit(&sums, load_unit(start, lane, skip, 0u), lane + skip, units);
  }
  for (var r = 0u; r < ROWS; r++) {
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
      sums[r] += subgroupShuffleXor(sums[r], step);
    }
    let factor = row_factor(r, subgroups);
    if (lane == r % LANES) {
      finish(r, col, sums[r] * factor);
    }
  }
  complete(role, first);
}

/// The sum and the products of two vectors, added one after the other.
fn add_products(sum: f32, a: vec4f, b: vec4f) -> f32 {
  return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, sum))));
}
