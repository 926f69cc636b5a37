// How kernels of lib/gemv.wgsl read x of 8-bit integers where x is f32 and an RMSNorm comes before: each workgroup norms and quantises
// all of its rows first. Quants do not depend on the row's factor, by which the sums are multiplied. See lib/norm.wgsl and
// lib/quantize.wgsl; the kernels declare the other names. SPAN lanes share a block.
// Workgroup memory: ROWS (36 blocks + 4 WG / SPAN) bytes: 5888 for a row of 5120 and 256 lanes, SPAN 8.
// Versions: vector instructions of a lane before the product of RDNA3's compiler (Mesa 25.0), a row of 5120, WG 256; the product of 64
// columns takes 1030, 0.80 a weight as without (84 registers, 18 subgroups per SIMD)
//   quants rounded, converted and packed, gathered to 16 bytes by shuffles  430
//   quants as the lowest bits of a float, stored word by word; no bounds where every lane has columns  222 (kept: 18 % of all)
const COLS: u32 = 32u;
const SPAN: u32 = 4u;
const BLOCKS = (COLS + 31u) / 32u;
const PARTS = 8u / SPAN; // quads of a block that a lane has
const SUBGROUPS = WG / SPAN; // at most
const WHOLE = COLS % 32u == 0u && BLOCKS * SPAN % WG == 0u; // no lane is without columns
var<workgroup> x_quants: array<u32, 8u * ROWS * BLOCKS>;
var<workgroup> x_scales: array<f32, ROWS * BLOCKS>;
var<workgroup> squares: array<f32, ROWS * SUBGROUPS>;

/// Norms and quantises the rows; called by all lanes.
fn prepare_rows(role: u32, place: u32, subgroup: u32) {
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
    let at = select(min(quad, COLS / 4u - 1u), quad, WHOLE);
    let value = select(vec4f(), bitcast<vec4f>(x[base + at]), WHOLE || quad == at);
    sum += dot(value, value);
    v[i] = value * norm[at];
    top = max(top, magnitude(v[i]));
  }
  for (var step = SPAN / 2u; step > 0u; step /= 2u) {
    top = max(top, subgroupShuffleXor(top, step));
  }
  for (var i = 0u; i < PARTS; i++) {
    let quad = i * SPAN + part;
    if (WHOLE || block < BLOCKS) {
      x_quants[quant_word(row, block, quad, BLOCKS)] = quantize(v[i], top);
    }
  }
  if (part == 0u && (WHOLE || block < BLOCKS)) {
    x_scales[row * BLOCKS + block] = block_scale(top);
  }
  return sum;
}

/// Block b of a row of x, of so many.
fn activations(row: u32, b: u32, blocks: u32) -> Bytes {
  let at = 2u * row * BLOCKS + b;
  return Bytes(x_words(at), x_words(at + BLOCKS));
}

fn x_words(at: u32) -> vec4u {
  return vec4u(x_quants[4u * at], x_quants[4u * at + 1u], x_quants[4u * at + 2u], x_quants[4u * at + 3u]);
}

/// What the sums of a row are multiplied by.
fn row_factor(row: u32, subgroups: u32) -> f32 {
  var sum = 0.0;
  for (var i = 0u; i < subgroups; i++) {
    sum += squares[row * SUBGROUPS + i];
  }
  return inverse_root(sum, COLS);
}
