// quants and scales of w: of each group's candidate scales the first with the least sum of squared errors; quants that fit it
// w [rows, inner] bf16, f16 or f32 in 16-byte words read; quants [rows, blocks] q4 or q8 in 16-byte words written;
// scales [rows, groups] f16 in pairs written, NaN where a weight of the group is no number within 65504
// Grid: one invocation per two groups, folded over x and y. Workgroup memory: none.
// Bits are those of quantizeWeightsHost on every adapter: no operation here may be rounded in more than one way. Products of
// quants and scales are exact, and so are squares of errors cut to 12 bits; the reciprocal comes from a division of integers.
// Source: own. Versions: Mweights/s per 2 cores of CPU time on lavapipe (Mesa 25.0), bf16 1024 x 5120: q4 120, 160 and 190
// with groups of 32, 64 and 128; q8 210, 270 and 290. Not yet timed on a GPU.
// FORMAT of w: 0 f32, 1 bf16, 2 f16.
const FORMAT: u32 = 1u;
const FOUR_BITS: bool = true;
const GROUP: u32 = 32u;
const WG: u32 = 64u;
struct Params {
  inner: u32,
  groups: u32,
  all_groups: u32,
  candidates: u32,
}
@group(0) @binding(0) var<storage, read> w: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> quants: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> scales: array<u32>;
@group(0) @binding(31) var<uniform> params: Params;
const QUADS = GROUP / 4u;
const LOW = select(-127.0, -8.0, FOUR_BITS);
const HIGH = select(127.0, 7.0, FOUR_BITS);
const STEP = select(1.0 / 32512.0, 1.0 / 320.0, FOUR_BITS);
const LARGEST: u32 = 0x477fe000u; // the bits of 65504
var<private> v: array<vec4f, QUADS>;

/// Quad `at` of the elements of w.
fn element_quad(at: u32) -> vec4f {
  if (FORMAT == 0u) {
    return bitcast<vec4f>(w[at]);
  }
  let word = w[at / 2u];
  let p = select(word.zw, word.xy, at % 2u == 0u);
  if (FORMAT == 2u) {
    return vec4f(unpack2x16float(p.x), unpack2x16float(p.y));
  }
  return bitcast<vec4f>(vec4u(p.x << 16u, p.x & 0xffff0000u, p.y << 16u, p.y & 0xffff0000u));
}

/// The bits of the nearest f16, ties to even, without negative zero.
fn half_bits(value: f32) -> u32 {
  let bits = bitcast<u32>(value);
  let size = bits & 0x7fffffffu;
  let normal = (size - 0x38000000u + 0xfffu + ((size >> 13u) & 1u)) >> 13u;
  let half = select(normal, u32(round(abs(value) * 0x1p24)), size < 0x38800000u);
  return select(half | ((bits >> 16u) & 0x8000u), 0u, half == 0u);
}

fn half_value(half: u32) -> f32 {
  let size = half & 0x7fffu;
  let value = select(bitcast<f32>((size << 13u) + 0x38000000u), f32(size) * 0x1p-24, size < 0x400u);
  return select(value, -value, half > 0x8000u);
}

/// 1 / scale to 20 bits, 0 for 0.
fn reciprocal(scale: f32) -> f32 {
  let bits = bitcast<u32>(scale);
  let quotient = 0x80000000u / (((bits >> 13u) & 0x3ffu) | 0x400u);
  let power = bitcast<f32>((233u - ((bits >> 23u) & 0xffu)) << 23u);
  let value = f32(quotient) * power;
  return select(select(value, -value, scale < 0.0), 0.0, scale == 0.0);
}

fn quantum(value: vec4f, inverse: f32) -> vec4f {
  return round(clamp(value * inverse, vec4f(LOW), vec4f(HIGH)));
}

fn squared_error(scale: f32) -> f32 {
  let inverse = reciprocal(scale);
  var sums = vec4f();
  for (var i = 0u; i < QUADS; i++) {
    let error = v[i] - quantum(v[i], inverse) * scale;
    let cut = bitcast<vec4f>(bitcast<vec4u>(error) & vec4u(0xfffff000u));
    sums += cut * cut;
  }
  return (sums.x + sums.y) + (sums.z + sums.w);
}

fn multiplier(i: u32) -> f32 {
  if (FOUR_BITS) {
    return f32(select(2 * i32(i), i32(i) - 42, i < 16u)) * STEP;
  }
  return f32(249u + i) * STEP;
}

/// Loads a group; returns its first weight of the largest magnitude, or NaN bits where one is too large.
fn extreme(row: u32, start: u32) -> f32 {
  var largest = 0.0;
  var valid = true;
  for (var i = 0u; i < QUADS; i++) {
    v[i] = vec4f();
    if (start + 4u * i < params.inner) {
      v[i] = element_quad((row * params.inner + start) / 4u + i);
    }
    for (var j = 0u; j < 4u; j++) {
      let value = v[i][j];
      valid &= (bitcast<u32>(value) & 0x7fffffffu) <= LARGEST;
      largest = select(largest, value, abs(value) > abs(largest));
    }
  }
  return select(bitcast<f32>(LARGEST + 1u), largest, valid);
}

/// Quantises a group; returns the bits of its scale.
fn quantize(row: u32, group: u32) -> u32 {
  let start = group * GROUP;
  let largest = extreme(row, start);
  var best = 0u;
  var least = 0x1p126;
  for (var i = 0u; i < params.candidates; i++) {
    let half = half_bits(largest * multiplier(i));
    let error = squared_error(half_value(half));
    best = select(best, half, error < least);
    least = min(least, error);
  }
  let inverse = reciprocal(half_value(best));
  let blocks = (params.inner + 31u) / 32u;
  for (var b = 0u; b < GROUP / 32u && start / 32u + b < blocks; b++) {
    let at = row * blocks + start / 32u + b;
    store(at, b * 8u, inverse);
  }
  return select(best, 0x7e00u, bitcast<u32>(largest) == LARGEST + 1u);
}

/// Stores the block of 32 weights from quad `first` of the group on.
fn store(at: u32, first: u32, inverse: f32) {
  var bytes: array<u32, 8>;
  for (var i = 0u; i < 8u; i++) {
    bytes[i] = pack4xI8(vec4i(quantum(v[first + i], inverse)));
  }
  if (FOUR_BITS) {
    var words: vec4u;
    for (var i = 0u; i < 4u; i++) {
      let low = bytes[2u * i] & 0x0f0f0f0fu;
      let high = bytes[2u * i + 1u] & 0x0f0f0f0fu;
      words[i] = (low | (high << 4u)) ^ 0x88888888u;
    }
    quants[at] = words;
    return;
  }
  quants[2u * at] = vec4u(bytes[0], bytes[1], bytes[2], bytes[3]);
  quants[2u * at + 1u] = vec4u(bytes[4], bytes[5], bytes[6], bytes[7]);
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let pair = (group.x + group.y * groups.x) * WG + lane;
  var halves = 0u;
  for (var i = 0u; i < 2u; i++) {
    let at = 2u * pair + i;
    if (at < params.all_groups) {
      halves |= quantize(at / params.groups, at % params.groups) << (16u * i);
    }
  }
  if (2u * pair < params.all_groups) {
    scales[pair] = halves;
  }
}
