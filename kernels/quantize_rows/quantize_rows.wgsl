// quants[r, i] = round(x[r, i] / scale), scale = max |x| / 127 over the block of 32 columns
// x [rows, 4 quads] elem read; quants, scales: see lib/quantize_block.wgsl
// Grid: one invocation per block, folded over x and y. Workgroup memory: none. Source: own.
alias elem = f32;
const WG: u32 = 64u;
struct Params {
  quads: u32,
  blocks: u32,
  rows: u32,
}
@group(0) @binding(0) var<storage, read> x: array<vec4<elem>>;
@group(0) @binding(31) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let at = (group.x + group.y * groups.x) * WG + lane;
  if (at >= params.rows * params.blocks) {
    return;
  }
  let row = at / params.blocks;
  let block = at % params.blocks;
  var v: array<vec4f, 8>;
  for (var i = 0u; i < 8u; i++) {
    let quad = block * 8u + i;
    let value = vec4f(x[row * params.quads + min(quad, params.quads - 1u)]);
    v[i] = select(vec4f(), value, quad < params.quads);
  }
  write_block(row, block, params.blocks, v);
}
