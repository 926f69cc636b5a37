// quants[r, i] = round(x[r, i] / scale), scale = max |x| / 127 over the block of 32 columns
// x [rows, 4 quads] elem read; quants [rows, 8 blocks] int8, four to a word, in 16-byte words written, zero behind the last
// column; scales [rows, blocks] of (scale, scale * sum of quants) f32 written, NaN where a value of the block is not finite
// Grid: one invocation per block, folded over x and y. Workgroup memory: none. Source: own.
alias elem = f32;
const WG: u32 = 64u;
struct Params {
  quads: u32,
  blocks: u32,
  rows: u32,
}
@group(0) @binding(0) var<storage, read> x: array<vec4<elem>>;
@group(0) @binding(1) var<storage, read_write> quants: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> scales: array<vec2<f32>>;
@group(0) @binding(31) var<uniform> params: Params;
const EXPONENT = vec4u(0x7f800000u); // all of these bits: an infinity or NaN, which max() need not keep

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
  let first = at % params.blocks * 8u;
  var v: array<vec4f, 8>;
  var largest = vec4f();
  var stray = false;
  for (var i = 0u; i < 8u; i++) {
    let inside = first + i < params.quads;
    v[i] = select(vec4f(), vec4f(x[row * params.quads + min(first + i, params.quads - 1u)]), inside);
    largest = max(largest, abs(v[i]));
    stray |= any((bitcast<vec4u>(v[i]) & EXPONENT) == EXPONENT);
  }
  let top = max(max(largest.x, largest.y), max(largest.z, largest.w));
  let inverse = select(0.0, 127.0 / top, top > 1e-30);
  var words: array<u32, 8>;
  var sums = vec4i();
  for (var i = 0u; i < 8u; i++) {
    let quant = vec4i(round(v[i] * inverse));
    words[i] = pack4xI8(quant);
    sums += quant;
  }
  let scale = bitcast<f32>(select(bitcast<u32>(top / 127.0), 0x7fc00000u, stray));
  quants[2u * at] = vec4u(words[0], words[1], words[2], words[3]);
  quants[2u * at + 1u] = vec4u(words[4], words[5], words[6], words[7]);
  scales[at] = vec2f(scale, scale * f32(sums.x + sums.y + sums.z + sums.w));
}
