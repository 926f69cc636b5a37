// quants[r, i] = round(x[r, i] / scale), scale = max |x| / 127 over the block of 32 columns
// x [rows, 4 quads] elem read; quants [rows, 2, blocks] int8 in 16-byte words written, the first half of every block of a row
// and then the second, zero behind the last column; scales [rows, blocks] f32 written, NaN where a value of the block is not
// finite
// Grid: one invocation per block, folded over x and y. Workgroup memory: none. Source: own. See lib/quantize.wgsl.
alias elem = f32;
const WG: u32 = 64u;
struct Params {
  quads: u32,
  blocks: u32,
  rows: u32,
}
@group(0) @binding(0) var<storage, read> x: array<vec4<elem>>;
@group(0) @binding(1) var<storage, read_write> quants: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> scales: array<f32>;
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
  let first = block * 8u;
  var v: array<vec4f, 8>;
  var top = 0u;
  for (var i = 0u; i < 8u; i++) {
    let inside = first + i < params.quads;
    v[i] = select(vec4f(), vec4f(x[row * params.quads + min(first + i, params.quads - 1u)]), inside);
    top = max(top, magnitude(v[i]));
  }
  var words: array<u32, 8>;
  for (var i = 0u; i < 8u; i++) {
    words[i] = quantize(v[i], top);
  }
  let near = 2u * row * params.blocks + block;
  quants[near] = vec4u(words[0], words[1], words[2], words[3]);
  quants[near + params.blocks] = vec4u(words[4], words[5], words[6], words[7]);
  scales[at] = block_scale(top);
}
