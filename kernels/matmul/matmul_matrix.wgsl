// finish(r, n, sum_k x[r, k] w[n, k]), see lib/finish*.wgsl
// x [rows, inner] f16 in 16-byte words read; w [outs, inner] bf16, f16, q4 or q8 in 16-byte words read; scales [outs,
// groups] f16 in pairs read, of quantised w
// Grid: x over tiles of 2 DOWN M rows (neighbours share the weights in cache), y over tiles of 2 ACROSS N columns.
// Workgroup memory: 2 (DOWN M + ACROSS N) rows of 5 * 16 bytes: 20480 with units of 16 x 16, 10240 of 8 x 8 or DOWN and
// ACROSS 2.
// For matrix units of any size: f16 products, f32 sums. 2 x ACROSS subgroups, each DOWN x 2 matrices of M x N, step 32
// along inner. While a step is multiplied its successor is on the way to registers: widened only when it is stored. A row
// of a tile takes 5 words (4 of f16 and one that skews it); offsets and strides of matrices count words. A subgroup
// passes its sums on to `finish` through the tile, two matrices at a time.
// Precision: bf16 weights become f16, exact from 2^-17 to 65280 in magnitude; smaller ones are rounded to multiples of
// 2^-24, larger ones must not come here (Matrix.fitsF16). quant * scale is rounded to f16. x in f32 is not taken: who
// asks for f32 would lose 13 bits of it.
// Source: own; tile, skew and the loads between the barriers follow what cooperative matrix samples do.
// Versions: vector and memory instructions of the main loop for a product of 16 x 16 x 16 by RDNA3's compiler (Mesa 25.0),
// without robustness checks; f16, bf16, q4, q8 weights
//   64 x 64, copy loops that are not unrolled, widened before the barrier, sums in an array  q4 40, and two inner loops
//   128 x 128, as here, the end of a row looked at in every step  4.7, 6.2, 7.4, 7.9
//   128 x 128, looked at only where PADDED says so (kept)  4.25, 5.75, 7.0, 7.4; 168 registers, 9 subgroups per SIMD
//   64 x 64 (DOWN and ACROSS 2), for few rows  7.25, 10.5, 12.5, 12.9; 120 registers, 12 subgroups per SIMD
//   finish with four neighbours stored at once: 1 store in place of 4 for 4 sums
//   lavapipe (Mesa 26.1, 8 x 8 x 8) 256 x 1024 x 1024: 4 GMAC/s per 2 cores, matmul_subgroup 19; not yet timed on a GPU
enable f16;
enable subgroups;
enable subgroup_size_control;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);
// FORMAT of w: 1 bf16, 2 f16, 3 q4, 4 q8. GROUP: columns that share a scale. PADDED: rows end inside a step. M, N, K and LANES are the unit's.
const FORMAT: u32 = 1u;
const GROUP: u32 = 32u;
const PADDED: bool = false;
const M: u32 = 16u;
const N: u32 = 16u;
const K: u32 = 16u;
const LANES: u32 = 32u;
const DOWN: u32 = 4u;
const ACROSS: u32 = 4u;
const DEPTH = 32u; // columns of a step
const WORDS = DEPTH / 8u; // of f16 in a row of a tile
const STRIDE = WORDS + 1u;
const THREADS = 2u * ACROSS * LANES;
const TILE_ROWS = 2u * DOWN * M;
const TILE_COLS = 2u * ACROSS * N;
const W_TILE = TILE_ROWS * STRIDE;
// Words of a tile that one lane stores.
const X_CHUNKS = TILE_ROWS * WORDS / THREADS;
const W_CHUNKS = TILE_COLS * WORDS / THREADS;
const_assert DEPTH % K == 0u && X_CHUNKS * THREADS == TILE_ROWS * WORDS && W_CHUNKS * THREADS == TILE_COLS * WORDS;
// Chunks in a word of w, and how many of them one lane widens.
const WIDE = array(0u, 1u, 1u, 4u, 2u)[FORMAT];
const SHARE = min(WIDE, W_CHUNKS);
const W_WORDS = W_CHUNKS / SHARE;
const PASS_STRIDE = N / 2u + 1u;
struct Params {
  rows: u32,
  words: u32,
  quads: u32,
  outs: u32,
  first: u32,
  width: u32,
}
@group(0) @binding(0) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> w: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;
@group(0) @binding(31) var<uniform> params: Params;
var<workgroup> tile: array<vec4<u32>, max(W_TILE + TILE_COLS * STRIDE, 2u * ACROSS * M * PASS_STRIDE)>;
alias Left = subgroup_matrix_left<f16, K, M>;
alias Right = subgroup_matrix_right<f16, N, K>;
alias Sum = subgroup_matrix_result<f32, N, M>;

/// A word of a row that ends inside a step.
fn inside(word: u32, pitch: u32) -> u32 {
  return select(word, min(word, pitch - 1u), PADDED);
}

/// Passes two sums side by side on through the tile to finish.
fn pass_on(a: Sum, b: Sum, subgroup: u32, place: u32, row: u32, col: u32) {
  let base = subgroup * M * PASS_STRIDE;
  workgroupBarrier();
  subgroupMatrixStore<row_major>(&tile, base, a, PASS_STRIDE);
  subgroupMatrixStore<row_major>(&tile, base + N / 4u, b, PASS_STRIDE);
  workgroupBarrier();
  for (var i = place; i < M * N / 2u; i += LANES) {
    let line = i / (N / 2u);
    let quad = i % (N / 2u);
    finish(row + line, col + 4u * quad, bitcast<vec4f>(tile[base + line * PASS_STRIDE + quad]));
  }
}

@compute @workgroup_size(THREADS) @subgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_invocation_id) place: u32,
) {
  let row = group.x * TILE_ROWS;
  let col = group.y * TILE_COLS;
  let pitch = params.quads / 2u;
  let steps = (pitch + WORDS - 1u) / WORDS;
  let line = lane / WORDS;
  let quarter = lane % WORDS;
  let groups = (params.words + GROUP / 8u / WIDE - 1u) / (GROUP / 8u / WIDE);
  var x_at = array<u32, X_CHUNKS>();
  var x_next = array<vec4u, X_CHUNKS>();
  for (var i = 0u; i < X_CHUNKS; i++) {
    x_at[i] = min(row + line + i * THREADS / WORDS, params.rows - 1u) * pitch;
    x_next[i] = x[x_at[i] + inside(quarter, pitch)];
  }
  var w_at = array<u32, W_WORDS>();
  var s_at = array<u32, W_WORDS>();
  var w_next = array<vec4u, W_WORDS>();
  var s_next = array<u32, W_WORDS>();
  for (var i = 0u; i < W_WORDS; i++) {
    let chunk = select(lane * W_CHUNKS + i * SHARE, lane + i * THREADS, WIDE == 1u);
    let out = min(col + chunk / WORDS, params.outs - 1u);
    w_at[i] = out * params.words + select(chunk % WORDS / WIDE, 0u, WIDE == 1u);
    s_at[i] = out * groups;
    w_next[i] = w[w_at[i] + select(0u, inside(quarter, pitch), WIDE == 1u)];
    if (FORMAT >= Q4) {
      s_next[i] = scales[s_at[i] / 2u];
    }
  }
  let top = subgroup / ACROSS * DOWN * M;
  let left = subgroup % ACROSS * 2u * N;
  var s00: Sum;
  var s01: Sum;
  var s10: Sum;
  var s11: Sum;
  var s20: Sum;
  var s21: Sum;
  var s30: Sum;
  var s31: Sum;
  for (var k = 0u; k < steps; k++) {
    workgroupBarrier();
    if (PADDED && k * WORDS + WORDS > pitch) {
      for (var i = 0u; i < X_CHUNKS; i++) {
        x_next[i] = select(vec4u(), x_next[i], k * WORDS + quarter < pitch);
      }
    }
    for (var i = 0u; i < X_CHUNKS; i++) {
      tile[(line + i * THREADS / WORDS) * STRIDE + quarter] = ordered(x_next[i]);
    }
    for (var i = 0u; i < W_CHUNKS; i++) {
      let j = i / SHARE;
      let chunk = select(lane * W_CHUNKS + i, lane + i * THREADS, WIDE == 1u);
      let half = (s_at[j] + k * DEPTH / GROUP) % 2u * 16u;
      let scale = bitcast<vec2<f16>>(s_next[j] >> half).xx;
      tile[W_TILE + chunk / WORDS * STRIDE + chunk % WORDS] = widen(w_next[j], chunk % WIDE, scale);
    }
    workgroupBarrier();
    let next = min(k + 1u, steps - 1u);
    let at = inside(next * WORDS + quarter, pitch);
    for (var i = 0u; i < X_CHUNKS; i++) {
      x_next[i] = x[x_at[i] + at];
    }
    for (var i = 0u; i < W_WORDS; i++) {
      w_next[i] = w[w_at[i] + select(next * WORDS / WIDE, at, WIDE == 1u)];
      if (FORMAT >= Q4) {
        s_next[i] = scales[(s_at[i] + next * DEPTH / GROUP) / 2u];
      }
    }
    for (var j = 0u; j < WORDS; j += K / 8u) {
      let b0 = subgroupMatrixLoad<Right, col_major>(&tile, W_TILE + left * STRIDE + j, STRIDE);
      let b1 = subgroupMatrixLoad<Right, col_major>(&tile, W_TILE + (left + N) * STRIDE + j, STRIDE);
      let a0 = subgroupMatrixLoad<Left, row_major>(&tile, top * STRIDE + j, STRIDE);
      s00 = subgroupMatrixMultiplyAccumulate(a0, b0, s00);
      s01 = subgroupMatrixMultiplyAccumulate(a0, b1, s01);
      let a1 = subgroupMatrixLoad<Left, row_major>(&tile, (top + M) * STRIDE + j, STRIDE);
      s10 = subgroupMatrixMultiplyAccumulate(a1, b0, s10);
      s11 = subgroupMatrixMultiplyAccumulate(a1, b1, s11);
      if (DOWN == 4u) {
        let a2 = subgroupMatrixLoad<Left, row_major>(&tile, (top + 2u * M) * STRIDE + j, STRIDE);
        s20 = subgroupMatrixMultiplyAccumulate(a2, b0, s20);
        s21 = subgroupMatrixMultiplyAccumulate(a2, b1, s21);
        let a3 = subgroupMatrixLoad<Left, row_major>(&tile, (top + 3u * M) * STRIDE + j, STRIDE);
        s30 = subgroupMatrixMultiplyAccumulate(a3, b0, s30);
        s31 = subgroupMatrixMultiplyAccumulate(a3, b1, s31);
      }
    }
  }
  pass_on(s00, s01, subgroup, place, row + top, col + left);
  pass_on(s10, s11, subgroup, place, row + top + M, col + left);
  if (DOWN == 4u) {
    pass_on(s20, s21, subgroup, place, row + top + 2u * M, col + left);
    pass_on(s30, s31, subgroup, place, row + top + 3u * M, col + left);
  }
}
