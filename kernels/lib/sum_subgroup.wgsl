// Sums over the lanes of a workgroup by subgroups of any size. The kernel says `enable subgroups;` and declares WG.

var<workgroup> subgroup_sums: array<f32, WG>;

/// The sum of every lane's value, in every lane; called by all lanes with their place in the subgroup, its id and the number of
/// subgroups: separately and not as one struct, since Dawn would take none of its members for uniform.
fn sum_lanes(place: u32, subgroup: u32, subgroups: u32, value: f32) -> f32 {
  let sum = subgroupAdd(value);
  if (subgroups == 1u) {
    return sum;
  }
  workgroupBarrier();
  if (place == 0u) {
    subgroup_sums[subgroup] = sum;
  }
  workgroupBarrier();
  var total = 0.0;
  for (var i = 0u; i < subgroups; i++) {
    total += subgroup_sums[i];
  }
  return total;
}
