// How kernels of lib/gemv.wgsl read x of floats as they are; they declare the names used here.

/// Quad `at` of a row of x.
fn row_quad(row: u32, at: u32) -> vec4f {
  return input(min(row, params.rows - 1u) * params.quads, at);
}
