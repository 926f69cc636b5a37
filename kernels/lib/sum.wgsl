// Sums over the lanes of a workgroup without subgroups. The kernel declares WG, a power of two.

var<workgroup> partial_sums: array<f32, WG>;

/// The sum of every lane's value, in every lane; called by all lanes.
fn sum_lanes(lane: u32, value: f32) -> f32 {
  partial_sums[lane] = value;
  for (var step = WG / 2u; step > 0u; step /= 2u) {
    workgroupBarrier();
    if (lane < step) {
      partial_sums[lane] += partial_sums[lane + step];
    }
  }
  return workgroupUniformLoad(&partial_sums[0]);
}
