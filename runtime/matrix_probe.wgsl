// y[s, m, n] = 2 sum_k x[m, k] w[n, k] on a matrix unit, once in every subgroup s
// x [M, ROW_WORDS] and w [N, ROW_WORDS] component in 16-byte words, zero behind K, read; y [4, M, N] result written
// Grid: one workgroup of four subgroups. Workgroup memory: two arrays of rows, a word of skew behind each.
// As kernels use matrix units: from workgroup memory in 16-byte words, x by rows and w by columns, and added to a sum.
// Source: own.
enable subgroups;
enable subgroup_size_control;
enable chromium_experimental_subgroup_matrix;
alias component = f16;
alias result = f32;
const M: u32 = 16u;
const N: u32 = 16u;
const K: u32 = 16u;
const LANES: u32 = 32u;
const ROW_WORDS: u32 = 2u;
const STRIDE = ROW_WORDS + 1u;
struct Params {
  times: u32,
}
@group(0) @binding(0) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> w: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> y: array<result>;
@group(0) @binding(31) var<uniform> params: Params;
var<workgroup> x_tile: array<vec4<u32>, M * STRIDE>;
var<workgroup> w_tile: array<vec4<u32>, N * STRIDE>;
alias Left = subgroup_matrix_left<component, K, M>;
alias Right = subgroup_matrix_right<component, N, K>;
alias Sum = subgroup_matrix_result<result, N, M>;

@compute @workgroup_size(4u * LANES) @subgroup_size(LANES)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(subgroup_id) subgroup: u32) {
  for (var i = lane; i < M * ROW_WORDS; i += 4u * LANES) {
    x_tile[i / ROW_WORDS * STRIDE + i % ROW_WORDS] = x[i];
  }
  for (var i = lane; i < N * ROW_WORDS; i += 4u * LANES) {
    w_tile[i / ROW_WORDS * STRIDE + i % ROW_WORDS] = w[i];
  }
  workgroupBarrier();
  let left = subgroupMatrixLoad<Left, row_major>(&x_tile, 0u, STRIDE);
  let right = subgroupMatrixLoad<Right, col_major>(&w_tile, 0u, STRIDE);
  var sum: Sum;
  for (var i = 0u; i < params.times; i++) {
    sum = subgroupMatrixMultiplyAccumulate(left, right, sum);
  }
  subgroupMatrixStore<row_major>(&y, subgroup * M * N, sum, N);
}
