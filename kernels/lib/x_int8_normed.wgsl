// How kernels of lib/gemv.wgsl read x of 8-bit integers where x is f32 and an RMSNorm comes before: each workgroup norms and quantises
// all of its rows first. Quants do not depend on the row's factor, by which the sums are multiplied. See lib/norm.wgsl and
// lib/quantize.wgsl; the kernels declare the other names. SPAN lanes share a block.
// Workgroup memory: ROWS (36 blocks + 4 WG / SPAN) bytes: 5888 for a row of 5120 and 256 lanes, SPAN 8.
const COLS: u32 = 32u;
const SPAN: u32 = 4u;
const BLOCKS = (COLS + 31u) / 32u;
const PARTS = 8u / SPAN; // quads of a block that a lane has
const SUBGROUPS = WG / SPAN; // at most
var<workgroup> x_quants: array<vec4u, 2u * ROWS * BLOCKS>;
var<workgroup> x_scales: array<f32, ROWS * BLOCKS>;
var<workgroup> squares: array<f32, ROWS * SUBGROUPS>;

/// Norms and quantises the rows; called by all lanes.
fn prepare_rows(place: u32, subgroup: u32, subgroups: u32) {
  let role = subgroup * (WG / subgroups) + place;
  for (var r = 0u; r < ROWS; r++) {
    var sum = 0.0;
    for (var first = 0u; first < BLOCKS * SPAN; first += WG) {
      sum += quantize_part(r, (first + role) / SPAN, role % SPAN);
    }
    let total = subgroupAdd(sum);
    if (place == 0u) {
      squares[r * SUBGROUPS + subgroup] = total;
    }
  }
  workgroupBarrier();
}

/// Quantises what a lane has of a block, and returns the sum of its squares.
fn quantize_part(row: u32, block: u32, part: u32) -> f32 {
  let base = min(row, params.rows - 1u) * (COLS / 4u);
  var v: array<vec4f, PARTS>;
  var sum = 0.0;
  var top = 0u;
  for (var i = 0u; i < PARTS; i++) {
    let quad = block * 8u + i * SPAN + part;
    let at = min(quad, COLS / 4u - 1u);
    let value = select(vec4f(), bitcast<vec4f>(x[base + at]), quad == at);
    sum += dot(value, value);
    v[i] = value * norm[at];
    top = max(top, magnitude(v[i]));
  }
  for (var step = SPAN / 2u; step > 0u; step /= 2u) {
    top = max(top, subgroupShuffleXor(top, step));
  }
  for (var i = 0u; i < PARTS; i++) {
    let word = quantize(v[i], top);
    let words = vec4u(word, subgroupShuffleXor(word, 1u), subgroupShuffleXor(word, 2u), subgroupShuffleXor(word, 3u));
    if (part % 4u == 0u && block < BLOCKS) {
      x_quants[(2u * row + (i * SPAN + part) / 4u) * BLOCKS + block] = words;
    }
  }
  if (part == 0u && block < BLOCKS) {
    x_scales[row * BLOCKS + block] = block_scale(top);
  }
  return sum;
}

/// Block b of a row of x, of so many.
fn activations(row: u32, b: u32, blocks: u32) -> Bytes {
  let at = 2u * row * blocks + b;
  return Bytes(x_quants[at], x_quants[at + blocks]);
}

/// What the sums of a row are multiplied by.
fn row_factor(row: u32, subgroups: u32) -> f32 {
  var sum = 0.0;
  for (var i = 0u; i < subgroups; i++) {
    sum += squares[row * SUBGROUPS + i];
  }
  return inverse_root(sum, COLS);
}
