// y[r, i] = quant[start + r, i] * scale[start + r, i / GROUP]
// quants [*, words] q4 or q8 read; scales [*, groups] f16 in pairs read; y [rows, COLS] f16 or f32 written as words
// Grid: one invocation per 8 columns, folded over x and y. Workgroup memory: none. Source: own.
const FOUR_BITS: bool = true;
const GROUP: u32 = 32u;
const COLS: u32 = 64u;
const TO_F16: bool = true;
const WG: u32 = 64u;
struct Params {
  rows: u32,
  start: u32,
}
@group(0) @binding(0) var<storage, read> quants: array<u32>;
@group(0) @binding(1) var<storage, read> scales: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<u32>>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = (group.x + group.y * groups.x) * WG + lane;
  let row = index / (COLS / 8u);
  if (row >= params.rows) {
    return;
  }
  let v = widen_chunk(params.start + row, index % (COLS / 8u));
  if (TO_F16) {
    let low = vec2u(pack2x16float(v[0].xy), pack2x16float(v[0].zw));
    let high = vec2u(pack2x16float(v[1].xy), pack2x16float(v[1].zw));
    y[index] = vec4u(low, high);
  } else {
    y[2u * index] = bitcast<vec4u>(v[0]);
    y[2u * index + 1u] = bitcast<vec4u>(v[1]);
  }
}
