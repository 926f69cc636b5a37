// Shared by kernels that need random numbers; with fixed_point.wgsl.

const ROUNDS: u32 = 10u;

/// The first 53 bits of Philox 4x32-10 (Salmon et al. 2011) with key (seed, 0) and counter (step, 0, 0, 0), as 2^64 u.
fn uniform_number(seed: u32, step: u32) -> vec2u {
  var counter = vec4u(step, 0u, 0u, 0u);
  var key = vec2u(seed, 0u);
  for (var round = 0u; round < ROUNDS; round++) {
    let a = product(0xd2511f53u, counter.x);
    let b = product(0xcd9e8d57u, counter.z);
    counter = vec4u(b.y ^ counter.y ^ key.x, b.x, a.y ^ counter.w ^ key.y, a.x);
    key += vec2u(0x9e3779b9u, 0xbb67ae85u);
  }
  return vec2u(counter.y & 0xfffff800u, counter.x);
}
