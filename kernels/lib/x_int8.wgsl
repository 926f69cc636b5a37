// How kernels read x of 8-bit integers as quantize_rows.wgsl writes it; they declare the names used here.
// x_scales [rows, blocks] f32 read
@group(0) @binding(1) var<storage, read> x_scales: array<f32>;

/// Block b of a row of x, of so many.
fn activations(row: u32, b: u32, blocks: u32) -> Bytes {
  let at = 2u * row * blocks + b;
  return Bytes(x[at], x[at + blocks]);
}
