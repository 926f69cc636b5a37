// y = (the lowest i whose x[i] is the largest of the finite elements, how many are not finite)
// x [count] f32 read as bits, 4 elements at a time; y [2] u32 written
// Grid: one workgroup. Workgroup memory: WG * 12 bytes. Source: own.
const WG: u32 = 256u;
struct Params {
  count: u32,
}
@group(0) @binding(0) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@group(0) @binding(31) var<uniform> params: Params;
var<workgroup> values: array<f32, WG>;
var<workgroup> indices: array<u32, WG>;
var<workgroup> strays: array<u32, WG>;
const EXPONENT: u32 = 0x7f800000u; // all of these bits: an infinity or NaN, which comparisons need not tell

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) lane: u32) {
  var value = -3.4028234e38;
  var index = 0u;
  var stray = 0u;
  for (var at = lane * 4u; at < params.count; at += WG * 4u) {
    let four = x[at / 4u];
    for (var i = 0u; i < 4u && at + i < params.count; i++) {
      if ((four[i] & EXPONENT) == EXPONENT) {
        stray++;
      } else if (bitcast<f32>(four[i]) > value) {
        value = bitcast<f32>(four[i]);
        index = at + i;
      }
    }
  }
  values[lane] = value;
  indices[lane] = index;
  strays[lane] = stray;
  for (var step = WG / 2u; step > 0u; step /= 2u) {
    workgroupBarrier();
    if (lane < step) {
      let other = values[lane + step];
      let other_index = indices[lane + step];
      if (other > values[lane] || (other == values[lane] && other_index < indices[lane])) {
        values[lane] = other;
        indices[lane] = other_index;
      }
      strays[lane] += strays[lane + step];
    }
  }
  if (lane == 0u) {
    y[0] = indices[0];
    y[1] = strays[0];
  }
}
