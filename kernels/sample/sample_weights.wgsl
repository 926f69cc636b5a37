// weight[i] = 2^46 exp((x_i - max x) / T) to the nearest integer, off by one at most, equal on every adapter; and of the
// elements of each workgroup whose weight is not 0, by their distance from the largest: how many, their weight, the least order()
// logits [count] f32 read as bits; largest [parts, 3] u32 (argmax) read; settings [6] u32 read; weights [count, 2] u32 written;
// bins [groups, WG, 4] u32 (count, weight low and high, order) written
// Integers only, since exp is not the same everywhere: differences of logits in fixed point, times log2(e) / T, give an
// exponent to 2^-50; 2^-f of its fraction is Taylor's polynomial at f / 8, squared three times (error below 2^-54).
// Grid: one workgroup per WG * EACH elements. Workgroup memory: 32 WG bytes. Source: own.
const WG: u32 = 256u;
const EACH: u32 = 8u;
struct Params {
  count: u32,
  parts: u32,
}
@group(0) @binding(0) var<storage, read> logits: array<u32>;
@group(0) @binding(1) var<storage, read> largest: array<u32>;
@group(0) @binding(2) var<storage, read> settings: array<u32>;
@group(0) @binding(3) var<storage, read_write> weights: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read_write> bins: array<vec4<u32>>;
@group(0) @binding(31) var<uniform> params: Params;
var<workgroup> least: array<atomic<u32>, WG>;
const NEVER = vec2u(0xffffffffu); // an exponent beyond all that have a weight

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  clear(lane);
  atomicStore(&least[lane], 0xffffffffu);
  var own = NONE;
  for (var p = lane; p < params.parts; p += WG) {
    own = join(own, vec3u(largest[3u * p], largest[3u * p + 1u], largest[3u * p + 2u]));
  }
  let top = logits[join_lanes(lane, own).x];
  for (var j = 0u; j < EACH; j++) {
    let i = (group.x * EACH + j) * WG + lane;
    if (i < params.count) {
      let exponent = half_lives(top, logits[i]);
      let own_weight = weight(exponent);
      weights[i] = own_weight;
      if (any(own_weight != vec2u())) {
        tally(bin(exponent), own_weight);
        atomicMin(&least[bin(exponent)], order(logits[i]));
      }
    }
  }
  workgroupBarrier();
  bins[group.x * WG + lane] = vec4u(tallied(lane), atomicLoad(&least[lane]));
}

/// How often the weight is halved from the largest logit to one, by the bits of both, times 2^50.
fn half_lives(top: u32, bits: u32) -> vec2u {
  let half_distance = 0.5 * bitcast<f32>(top) - 0.5 * bitcast<f32>(bits);
  if (half_distance > bitcast<f32>(settings[3])) {
    return NEVER;
  }
  return high_product(minus(fixed(top), fixed(bits)), vec2u(settings[0], settings[1]));
}

fn weight(exponent: vec2u) -> vec2u {
  let whole = exponent.y >> 18u;
  if (whole >= 48u) {
    return vec2u();
  }
  let fraction = shift_left(vec2u(exponent.x, exponent.y & 0x3ffffu), 11u);
  let rounded = plus(shift_right(power(fraction), 16u + whole), vec2u(1u, 0u));
  return shift_right(rounded, 1u);
}

/// Bins are eighths of octaves of the exponent, of which there are 32 from 2^-26 on, so that they suit wide and narrow rows.
fn bin(exponent: vec2u) -> u32 {
  let units = (exponent.y << 8u) | (exponent.x >> 24u);
  return (bitcast<u32>(f32(max(units, 1u))) >> 20u) - 8u * 127u;
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
