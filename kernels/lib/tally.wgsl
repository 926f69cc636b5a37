// Shared by kernels that count elements and add up their 64-bit weights by bins; with fixed_point.wgsl. They declare WG, which is
// also the number of bins.

var<workgroup> counts: array<atomic<u32>, WG>;
var<workgroup> lows: array<atomic<u32>, WG>;
var<workgroup> highs: array<atomic<u32>, WG>;

fn clear(bin: u32) {
  atomicStore(&counts[bin], 0u);
  atomicStore(&lows[bin], 0u);
  atomicStore(&highs[bin], 0u);
}

/// Adds an element to a bin.
fn tally(bin: u32, weight: vec2u) {
  let old = atomicAdd(&lows[bin], weight.x);
  atomicAdd(&highs[bin], weight.y + u32(old + weight.x < weight.x));
  atomicAdd(&counts[bin], 1u);
}

/// A bin's elements and, low and high, their weight.
fn tallied(bin: u32) -> vec3u {
  return vec3u(atomicLoad(&counts[bin]), atomicLoad(&lows[bin]), atomicLoad(&highs[bin]));
}
