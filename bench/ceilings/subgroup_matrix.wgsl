// Sums S -> S + L R on subgroup matrices: L is 1 and R 1/K everywhere, so that a step of 8 M N K operations adds 1
// y [subgroups, 4, M, N] f32 written: start + STEPS * params.rounds everywhere, with starts 0 to 3
// Grid: one workgroup per four subgroups. Workgroup memory: none.
// f16 products and f32 sums, as matmul_matrix has them. M, N, K and the LANES of a subgroup are the unit's. params.one is
// 1, which the compiler cannot know.
// Source: own. Versions: right on lavapipe (Mesa 26.1, 8x8x8); not yet timed on a GPU.
enable f16;
enable subgroups;
enable subgroup_size_control;
enable chromium_experimental_subgroup_matrix;
const M: u32 = 16u;
const N: u32 = 16u;
const K: u32 = 16u;
const LANES: u32 = 32u;
const STEPS: u32 = 8u;
struct Params {
  rounds: u32,
  one: u32,
}
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(31) var<uniform> params: Params;
alias Left = subgroup_matrix_left<f16, K, M>;
alias Right = subgroup_matrix_right<f16, N, K>;
alias Sum = subgroup_matrix_result<f32, N, M>;

@compute @workgroup_size(4u * LANES) @subgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_id) subgroup: u32) {
  let left = Left(f16(params.one));
  let right = Right(f16(params.one) / f16(K));
  var a = Sum(0.0);
  var b = Sum(1.0);
  var c = Sum(2.0);
  var d = Sum(3.0);
  for (var i = 0u; i < params.rounds; i++) {
    for (var j = 0u; j < STEPS; j++) {
      a = subgroupMatrixMultiplyAccumulate(left, right, a);
      b = subgroupMatrixMultiplyAccumulate(left, right, b);
      c = subgroupMatrixMultiplyAccumulate(left, right, c);
      d = subgroupMatrixMultiplyAccumulate(left, right, d);
    }
  }
  let base = (group.x * 4u + subgroup) * 4u * M * N;
  subgroupMatrixStore<row_major>(&y, base, a, N);
  subgroupMatrixStore<row_major>(&y, base + M * N, b, N);
  subgroupMatrixStore<row_major>(&y, base + 2u * M * N, c, N);
  subgroupMatrixStore<row_major>(&y, base + 3u * M * N, d, N);
}
