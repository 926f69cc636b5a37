// y[i] = x[i] in another dtype; narrowing rounds to nearest even, and values past 65504 become infinite
// x [count] f32, f16 or bf16 read as words; y [count] f32 or f16 written as words
// Grid: one invocation per 8 elements, folded over x and y. Workgroup memory: none. Source: own.
// Versions, 5242880 elements on lavapipe (Mesa 25.0.7, 2 cores), best ms of 11 alternating runs, f32 to f16 / bf16 to f32:
//   2 elements per invocation, words       80 / 117
//   8 elements per invocation, vec4 (this) 40 / 25
// Neither of the first two: from bf16; not the third: to f32.
const FROM_F32: bool = true;
const FROM_F16: bool = false;
const TO_F16: bool = true;
const WG: u32 = 64u;
struct Params {
  count: u32,
}
@group(0) @binding(0) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<u32>>;
@group(1) @binding(0) var<uniform> params: Params;

// Elements 8 chunk to 8 chunk + 7; behind the end of x, any values.
fn load(chunk: u32) -> array<vec4f, 2> {
  if (FROM_F32) {
    let last = (params.count - 1u) / 4u;
    return array(bitcast<vec4f>(x[2u * chunk]), bitcast<vec4f>(x[min(2u * chunk + 1u, last)]));
  }
  let packed = x[chunk];
  if (FROM_F16) {
    return array(
      vec4f(unpack2x16float(packed.x), unpack2x16float(packed.y)),
      vec4f(unpack2x16float(packed.z), unpack2x16float(packed.w)),
    );
  }
  let even = bitcast<vec4f>(packed << vec4u(16u));
  let odd = bitcast<vec4f>(packed & vec4u(0xffff0000u));
  return array(vec4f(even.x, odd.x, even.y, odd.y), vec4f(even.z, odd.z, even.w, odd.w));
}

// Writes the first `count` words of a value.
fn store(at: u32, value: vec4u, count: i32) {
  if (count >= 4) {
    y[at] = value;
    return;
  }
  for (var i = 0; i < count; i++) {
    y[at][i] = value[i];
  }
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let chunk = (group.x + group.y * groups.x) * WG + lane;
  if (8u * chunk >= params.count) {
    return;
  }
  let value = load(chunk);
  let left = i32(params.count - 8u * chunk);
  if (TO_F16) {
    let low = vec2u(pack2x16float(value[0].xy), pack2x16float(value[0].zw));
    let high = vec2u(pack2x16float(value[1].xy), pack2x16float(value[1].zw));
    store(chunk, vec4u(low, high), (left + 1) / 2);
    return;
  }
  store(2u * chunk, bitcast<vec4u>(value[0]), left);
  store(2u * chunk + 1u, bitcast<vec4u>(value[1]), left - 4);
}
