// y = act(x w^T)
enable f16;
enable subgroups;
enable subgroup_size_control;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);
alias out_elem = f32;
const FORMAT: u32 = 1u;
const GROUP: u32 = 32u;
const PADDED: bool = false;
const ACTIVATION: u32 = 0u;
const BIAS: bool = false;
const RESIDUAL: bool = false;
const M: u32 = 16u;
const N: u32 = 16u;
const K: u32 = 16u;
const LANES: u32 = 32u;
const DOWN: u32 = 4u;
const ACROSS: u32 = 4u;
const DEPTH = 32u;
const WORDS = DEPTH / 8u;
const STRIDE = WORDS + 1u;
const THREADS = 2u * ACROSS * LANES;
const TILE_ROWS = 2u * DOWN * M;
const TILE_COLS = 2u * ACROSS * N;
const W_TILE = TILE_ROWS * STRIDE;
const X_CHUNKS = TILE_ROWS * WORDS / THREADS;
const W_CHUNKS = TILE_COLS * WORDS / THREADS;
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
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> residual: array<f32>;
@group(0) @binding(4) var<storage, read> scales: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<out_elem>;
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
