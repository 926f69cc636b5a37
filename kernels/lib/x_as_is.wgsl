// For kernels of lib/gemv.wgsl whose x is ready to be multiplied: nothing is done before, and sums are as they should be.

fn prepare_rows(role: u32, place: u32, subgroup: u32) {}

fn row_factor(row: u32, subgroups: u32) -> f32 {
  return 1.0;
}
