// Sums S -> S + L R on subgroup matrices: L is 1 and R 1/16 everywhere, so that a step of 8192 operations adds 1
// y [subgroups, 4, 16, 16] f32 written: start + STEPS * params.rounds everywhere, with starts 0 to 3
// Grid: one workgroup per four subgroups of 32 lanes. Workgroup memory: none.
// f16 products and f32 sums, as matmul_subgroup_matrix has them. params.one is 1, which the compiler cannot know.
// Source: own. Versions: compiles; never run on a GPU yet.
enable f16;
enable subgroups;
enable subgroup_size_control;
enable chromium_experimental_subgroup_matrix;
const LANES: u32 = 128u;
const STEPS: u32 = 8u;
struct Params {
  rounds: u32,
  one: u32,
}
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(31) var<uniform> params: Params;
alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sum = subgroup_matrix_result<f32, 16, 16>;

@compute @workgroup_size(LANES) @subgroup_size(32)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_id) subgroup: u32) {
  let left = Left(f16(params.one));
  let right = Right(f16(params.one) / 16.0h);
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
  let base = (group.x * LANES / 32u + subgroup) * 1024u;
  subgroupMatrixStore<row_major>(&y, base, a, 16u);
  subgroupMatrixStore<row_major>(&y, base + 256u, b, 16u);
  subgroupMatrixStore<row_major>(&y, base + 512u, c, 16u);
  subgroupMatrixStore<row_major>(&y, base + 768u, d, 16u);
}
