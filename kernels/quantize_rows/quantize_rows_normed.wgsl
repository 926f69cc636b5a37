// quants[r, i] = round(y[r, i] / scale), scale = max |y| / 127 over the block of 32 columns, y = RMSNorm(x): see lib/norm.wgsl
// x [rows, 4 quads] f32 read; norm [4 quads] f32 read; quants, scales: see lib/quantize_block.wgsl
// Grid: one workgroup per row, folded over x and y. Workgroup memory: WG * 4 bytes. Source: own.
// Versions: microseconds on lavapipe (Mesa 25.0, medians) for 1 x 1024 | 512 x 1024 | 512 x 5120, beside rms_norm_subgroup and then
// quantize_rows: 120 to 170 | 2600 | 9800
//   WG 64: 60 to 84 | 3700 | 10400; the same with sums by subgroups 64 to 190 | 3300
//   WG 32: 87 to 160 | 3100 | 8500 (kept: no lane without a block in 1024 columns); WG 128: 11800 for the last
// A dispatch alone is some 50 there. Not measured on a GPU.
const WG: u32 = 32u;
struct Params {
  quads: u32,
  blocks: u32,
  rows: u32,
}
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(31) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = group.x + group.y * groups.x;
  if (row >= params.rows) {
    return;
  }
  let first = row * params.quads;
  var squares = 0.0;
  for (var i = lane; i < params.quads; i += WG) {
    let value = x[first + i];
    squares += dot(value, value);
  }
  let factor = inverse_root(sum_lanes(lane, squares), 4u * params.quads);
  for (var block = lane; block < params.blocks; block += WG) {
    var v: array<vec4f, 8>;
    for (var i = 0u; i < 8u; i++) {
      let quad = block * 8u + i;
      let at = min(quad, params.quads - 1u);
      v[i] = select(vec4f(), norm[at] * (x[first + at] * factor), quad < params.quads);
    }
    write_block(row, block, params.blocks, v);
  }
}
