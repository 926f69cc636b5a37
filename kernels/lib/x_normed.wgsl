// How kernels of lib/gemv.wgsl read x in f32 that an RMSNorm comes before: it is linear but for the row's factor, by which the
// sums are multiplied. The lanes that share columns read all of a row, and add up its squares on the way: for each quad of x one load
// and eight operations beside the 16 of the product. See lib/norm.wgsl; the kernels declare the other names. No workgroup memory.
// Vector instructions a weight of RDNA3's compiler (Mesa 25.0), one row: gemv_half 3.20 (2.35 without), gemv_subgroup of bf16 3.0 (2.2).

var<private> squares: array<f32, ROWS>;

fn prepare_rows(role: u32, place: u32, subgroup: u32) {}

/// Quad `at` of a row of x.
fn row_quad(row: u32, at: u32) -> vec4f {
  let v = input(min(row, params.rows - 1u) * params.quads, at);
  squares[row] += dot(v, v);
  return v * norm[min(at, params.quads - 1u)];
}

/// What the sums of a row are multiplied by; called by all lanes.
fn row_factor(row: u32, subgroups: u32) -> f32 {
  var sum = squares[row];
  for (var step = LANES / 2u; step > 0u; step /= 2u) {
    sum += subgroupShuffleXor(sum, step);
  }
  return inverse_root(sum, 4u * params.quads);
}
