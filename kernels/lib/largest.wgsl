// Shared by the kernels that look for the largest of many numbers, which declare WG, a power of two; with order.wgsl. What is known of some
// elements: (index of the largest finite one, the lowest of equals; how many are not finite; order() of it, 0 for none).

const NONE = vec3u(0xffffffffu, 0u, 0u);
var<workgroup> known: array<vec3u, WG>;

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
