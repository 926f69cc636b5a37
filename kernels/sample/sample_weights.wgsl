// weight[i] = 2^46 exp((x_i - max x) / T) to the nearest integer, off by one at most, equal on every adapter
// logits [count] f32 read as bits; largest [2] u32, index of max x first, read; settings [7] u32 read; weights [count, 2] u32
// written; bins [768] and state [6, 2] u32 written: zeros for the passes that follow
// Integers only, since exp is not the same everywhere: differences of logits in fixed point, times log2(e) / T, give an
// exponent to 2^-50; 2^-f of its fraction is Taylor's polynomial at f / 8, squared three times (error below 2^-54).
// Grid: one invocation per element. Workgroup memory: none. Source: own.
const WG: u32 = 256u;
struct Params {
  count: u32,
}
@group(0) @binding(0) var<storage, read> logits: array<u32>;
@group(0) @binding(1) var<storage, read> largest: array<u32>;
@group(0) @binding(2) var<storage, read> settings: array<u32>;
@group(0) @binding(3) var<storage, read_write> weights: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read_write> bins: array<u32>;
@group(0) @binding(5) var<storage, read_write> state: array<vec2<u32>>;
@group(0) @binding(31) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x;
  if (i < WG) {
    bins[i] = 0u;
    bins[WG + i] = 0u;
    bins[2u * WG + i] = 0u;
    if (i <= TOTAL) {
      state[i] = vec2u();
    }
  }
  if (i < params.count) {
    weights[i] = weight(logits[largest[0]], logits[i]);
  }
}

/// The weight of a logit, by the bits of it and of the largest.
fn weight(top: u32, bits: u32) -> vec2u {
  let half_distance = 0.5 * bitcast<f32>(top) - 0.5 * bitcast<f32>(bits);
  if (half_distance > bitcast<f32>(settings[3])) {
    return vec2u();
  }
  let exponent = high_product(minus(fixed(top), fixed(bits)), vec2u(settings[0], settings[1]));
  let whole = exponent.y >> 18u;
  if (whole >= 48u) {
    return vec2u();
  }
  let fraction = shift_left(vec2u(exponent.x, exponent.y & 0x3ffffu), 11u);
  let rounded = plus(shift_right(power(fraction), 16u + whole), vec2u(1u, 0u));
  return shift_right(rounded, 1u);
}

/// The f32 with these bits times 2^settings[2], cut to an integer, modulo 2^64.
fn fixed(bits: u32) -> vec2u {
  let biased = (bits >> 23u) & 0xffu;
  let digits = (bits & 0x7fffffu) | (u32(biased > 0u) << 23u);
  let shift = i32(max(biased, 1u)) - 150 + bitcast<i32>(settings[2]);
  var value = vec2u();
  if (shift >= 0 && shift < 64) {
    value = shift_left(vec2u(digits, 0u), u32(shift));
  } else if (shift < 0 && shift > -32) {
    value = vec2u(digits >> u32(-shift), 0u);
  }
  if (bits >= 0x80000000u) {
    return minus(vec2u(), value);
  }
  return value;
}

/// 2^63 2^-f, where g = 2^64 f / 8.
fn power(g: vec2u) -> vec2u {
  var r = vec2u(0x929e9cafu, 0xdau); // 2^63 ln(2)^k / k! from k = 9 down to 0
  r = minus(vec2u(0x0111d2e4u, 0xb16u), high_product(g, r));
  r = minus(vec2u(0xff1622c3u, 0x7ff2u), high_product(g, r));
  r = minus(vec2u(0x4be1b1e2u, 0x50c24u), high_product(g, r));
  r = minus(vec2u(0xcf14ce62u, 0x2bb0ffu), high_product(g, r));
  r = minus(vec2u(0xfba4e773u, 0x13b2ab6u), high_product(g, r));
  r = minus(vec2u(0xc1282fe3u, 0x71ac235u), high_product(g, r));
  r = minus(vec2u(0x82c58ea8u, 0x1ebfbdffu), high_product(g, r));
  r = minus(vec2u(0xe8e7bcd6u, 0x58b90bfbu), high_product(g, r));
  r = minus(vec2u(0u, 0x80000000u), high_product(g, r));
  r = shift_left(high_product(r, r), 1u);
  r = shift_left(high_product(r, r), 1u);
  return shift_left(high_product(r, r), 1u);
}
