// What follows the sums of a row of logits: the logits, and of every four of them the order() of the largest, or STRAY where one is not
// finite. A block of w begins at a multiple of four columns. See lib/order.wgsl; kernels of matmul declare params.
// y [1, columns] f32 written; largest [ceil(columns / 4)] u32 written
@group(0) @binding(8) var<storage, read_write> y: array<f32>;
@group(0) @binding(9) var<storage, read_write> largest: array<u32>;
const STRAY = 0xffffffffu;

/// Stores the columns col to col + 3 of the block (col % 4 == 0) that lie inside the matrix.
fn finish(row: u32, col: u32, sums: vec4f) {
  if (row >= params.rows || col >= params.outs) {
    return;
  }
  var top = 0u;
  for (var i = 0u; i < 4u && col + i < params.outs; i++) {
    let bits = bitcast<u32>(sums[i]);
    y[params.first + col + i] = sums[i];
    top = max(top, select(order(bits), STRAY, (bits & EXPONENT) == EXPONENT));
  }
  largest[(params.first + col) / 4u] = top;
}

fn complete(role: u32, col: u32) {}
