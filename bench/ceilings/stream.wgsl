// What kernels that go through x once have in common, appended behind them: LOADS loads are under way at once. BLOCKED: each
// workgroup goes through one stretch, else all through memory side by side.
const WG: u32 = 128u;
const LOADS: u32 = 4u;
const BLOCKED: bool = false;
struct Params {
  lanes: u32,
  steps: u32,
}
@group(0) @binding(0) var<storage, read> x: array<vec4u>;
@group(0) @binding(31) var<uniform> params: Params;
