// y = the first 53 bits of Philox 4x32-10 (Salmon et al. 2011) with key (seed, 0) and counter (step, 0, 0, 0), as 2^64 u
// settings [7] u32, seed last, and step [1] u32 read; y [2] u32 written: the low and the high word
// Grid: one invocation. Workgroup memory: none. Source: own.
const ROUNDS: u32 = 10u;
@group(0) @binding(0) var<storage, read> settings: array<u32>;
@group(0) @binding(1) var<storage, read> step: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(1)
fn main() {
  var counter = vec4u(step[0], 0u, 0u, 0u);
  var key = vec2u(settings[6], 0u);
  for (var round = 0u; round < ROUNDS; round++) {
    let a = product(0xd2511f53u, counter.x);
    let b = product(0xcd9e8d57u, counter.z);
    counter = vec4u(b.y ^ counter.y ^ key.x, b.x, a.y ^ counter.w ^ key.y, a.x);
    key += vec2u(0x9e3779b9u, 0xbb67ae85u);
  }
  y[0] = counter.y & 0xfffff800u;
  y[1] = counter.x;
}
