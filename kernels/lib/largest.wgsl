// Shared by the kernels that look for the largest of many numbers, which declare WG, a power of two. What is known of some
// elements: (index of the largest finite one, the lowest of equals; how many are not finite; order() of it, 0 for none).

const NONE = vec3u(0xffffffffu, 0u, 0u);
const EXPONENT: u32 = 0x7f800000u; // all of these bits: an infinity or NaN, which comparisons need not tell
var<workgroup> known: array<vec3u, WG>;

/// An integer that orders as the f32 with these bits does; both zeros are one.
fn order(bits: u32) -> u32 {
  if (bits == 0x80000000u) {
    return 0x80000000u;
  }
  return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}

/// What is known of the element i with these bits.
fn element(bits: u32, i: u32) -> vec3u {
  if ((bits & EXPONENT) == EXPONENT) {
    return vec3u(i, 1u, 0u);
  }
  return vec3u(i, 0u, order(bits));
}

/// What is known of two sets of elements together.
fn join(a: vec3u, b: vec3u) -> vec3u {
  let first = a.z > b.z || (a.z == b.z && a.x <= b.x);
  return vec3u(select(b.x, a.x, first), a.y + b.y, max(a.z, b.z));
}

/// What is known of the elements of all lanes, in every lane; called by all lanes.
fn join_lanes(lane: u32, own: vec3u) -> vec3u {
  known[lane] = own;
  for (var step = WG / 2u; step > 0u; step /= 2u) {
    workgroupBarrier();
    if (lane < step) {
      known[lane] = join(known[lane], known[lane + step]);
    }
  }
  return workgroupUniformLoad(&known[0]);
}
