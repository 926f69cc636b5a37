// y[i] = x[i] + sin(A x[i])^2 / A
// x [count] f32 read; y [count] f32 written
// Grid: one invocation per element, WG to a workgroup, folded over x and y.
// Source: Ziyin, Hartwig and Ueda 2020, arXiv 2006.08195.
const A: f32 = 1.0f;
const WG: u32 = 64u;
struct Params {
  count: u32,
}
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(31) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  if (i < params.count) {
    let s = sin(A * x[i]);
    y[i] = x[i] + s * s / A;
  }
}
