// y[r, n] = act(sum_k x[r, k] w[n, k] + bias[n]) + residual[r, n]; see lib/matmul.wgsl for act
// x [rows, inner] f16 read; w [outs, inner] bf16, f16, q4 or q8 in 16-byte words read; bias [all outs] f32 read; residual
// [rows, width] f32 read; scales [outs, groups] f16 in pairs read, of quantised w; y [rows, width] out_elem written from
// column `first` on
// Grid: x over tiles of 64 rows, y over tiles of 64 columns.
// Workgroup memory: 2 * 64 * 10 * 8 + 1024 * 4 = 14336 bytes.
// For GPUs with matrix units: four subgroups of 32 lanes, each 32 x 32 as 2 x 2 matrices of 16 x 16, step 32 along inner;
// f16 products, f32 sums. A tile row takes 10 vec4<f16> (8 and two that skew it); offsets and strides of matrices count
// elements of the array, here vec4<f16>. A subgroup passes its sums on through 1 KiB of its own, one matrix at a time.
// Precision: bf16 weights become f16, exact from 2^-17 to 65504 in magnitude; smaller ones are rounded to multiples of
// 2^-24, larger ones overflow, so that only weights known to be smaller may come here; quant * scale is rounded to f16.
// Source: own; tile sizes follow the usual cooperative matrix layout. Versions: compiles; never run on a GPU yet.
enable f16;
enable subgroups;
enable subgroup_size_control;
enable chromium_experimental_subgroup_matrix;
alias elem = f16;
alias out_elem = f32;
// FORMAT of w: 1 bf16, 2 f16, 3 q4, 4 q8. GROUP: columns that share a scale. PADDED: words of quants reach behind a row
// of x. ACTIVATION: 0 none, 1 gelu_tanh, 2 gelu_erf, 3 silu_gate.
const FORMAT: u32 = 1u;
const GROUP: u32 = 32u;
const PADDED: bool = false;
const ACTIVATION: u32 = 0u;
const BIAS: bool = false;
const RESIDUAL: bool = false;
const LANES: u32 = 128u;
const TILE: u32 = 64u;
const DEPTH: u32 = 8u;
const STRIDE: u32 = 10u;
struct Params {
  rows: u32,
  words: u32,
  quads: u32,
  outs: u32,
  first: u32,
  width: u32,
}
@group(0) @binding(0) var<storage, read> x: array<vec4<elem>>;
@group(0) @binding(1) var<storage, read> w: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> residual: array<f32>;
@group(0) @binding(4) var<storage, read> scales: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<out_elem>;
@group(0) @binding(31) var<uniform> params: Params;
var<workgroup> x_tile: array<vec4<f16>, TILE * STRIDE>;
var<workgroup> w_tile: array<vec4<f16>, TILE * STRIDE>;
var<workgroup> passed: array<f32, 1024>;
alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sum = subgroup_matrix_result<f32, 16, 16>;

/// Copies step k (in quads) of the tiles at (row, col); columns behind the end of x become zero.
fn fill(row: u32, col: u32, k: u32, lane: u32) {
  for (var i = lane; i < TILE * DEPTH; i += LANES) {
    let at = k + i % DEPTH;
    let v = x[min(row + i / DEPTH, params.rows - 1u) * params.quads + min(at, params.quads - 1u)];
    x_tile[i / DEPTH * STRIDE + i % DEPTH] = select(vec4<f16>(), vec4<f16>(v), at < params.quads);
  }
  for (var i = lane * 2u; i < TILE * DEPTH; i += LANES * 2u) {
    let column = vec4u(min(col + i / DEPTH, params.outs - 1u));
    let word = min(k + i % DEPTH, params.quads - 2u) / QUADS;
    let p = w[column.x * params.words + word];
    let s = scale(column, word).x;
    let slot = i / DEPTH * STRIDE + i % DEPTH;
    w_tile[slot] = vec4<f16>(widen(p, (k + i) % QUADS, s));
    w_tile[slot + 1u] = vec4<f16>(widen(p, (k + i) % QUADS + 1u, s));
  }
}

@compute @workgroup_size(LANES) @subgroup_size(32)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_invocation_id) place: u32,
) {
  let row = group.x * TILE;
  let col = group.y * TILE;
  let top = subgroup / 2u * 32u;
  let left = subgroup % 2u * 32u;
  var sums: array<array<Sum, 2>, 2>;
  for (var k = 0u; k < params.quads; k += DEPTH) {
    fill(row, col, k, lane);
    workgroupBarrier();
    for (var j = 0u; j < DEPTH; j += 4u) {
      let b = subgroupMatrixLoad<Right, col_major>(&w_tile, left * STRIDE + j, STRIDE);
      let c = subgroupMatrixLoad<Right, col_major>(&w_tile, (left + 16u) * STRIDE + j, STRIDE);
      for (var i = 0u; i < 2u; i++) {
        let a = subgroupMatrixLoad<Left, row_major>(&x_tile, (top + i * 16u) * STRIDE + j, STRIDE);
        sums[i][0] = subgroupMatrixMultiplyAccumulate(a, b, sums[i][0]);
        sums[i][1] = subgroupMatrixMultiplyAccumulate(a, c, sums[i][1]);
      }
    }
    workgroupBarrier();
  }
  for (var i = 0u; i < 4u; i++) {
    subgroupMatrixStore<row_major>(&passed, subgroup * 256u, sums[i / 2u][i % 2u], 16u);
    workgroupBarrier();
    for (var j = place; j < 64u; j += 32u) {
      let at = subgroup * 256u + j * 4u;
      let v = vec4f(passed[at], passed[at + 1u], passed[at + 2u], passed[at + 3u]);
      finish(row + top + i / 2u * 16u + j / 4u, col + left + i % 2u * 16u + j % 4u * 4u, v);
    }
    workgroupBarrier();
  }
}
