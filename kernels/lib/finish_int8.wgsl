// What follows the sums of kernels of lib/gemv.wgsl whose result is quantised: the int8 of quantize_rows.wgsl of y[r, i] = up_i silu(gate_i),
// for every pair of columns gate_i, up_i. The 64 columns of a workgroup (WG = 16 LANES) are one block of 32 outputs, which it quantises
// in the end; the first column of a block of w is a multiple of 64. See lib/quantize.wgsl; the kernels declare the other names.
// y [rows, 2, blocks] int8 in words written; y_scales [rows, blocks] f32 written
// Workgroup memory: ROWS * 128 bytes.
const_assert WG == 16u * LANES;
@group(0) @binding(8) var<storage, read_write> y: array<u32>;
@group(0) @binding(9) var<storage, read_write> y_scales: array<f32>;
var<workgroup> gated: array<vec2f, ROWS * 16u>;

/// Keeps the two outputs of columns col to col + 3; behind the last one zero.
fn finish(row: u32, col: u32, sums: vec4f) {
  gated[row * 16u + col / 4u % 16u] = select(vec2f(), silu_gate(sums), col < params.outs);
}

/// Quad q of the outputs of a row.
fn gated_quad(row: u32, q: u32) -> vec4f {
  return vec4f(gated[row * 16u + 2u * q], gated[row * 16u + 2u * q + 1u]);
}

/// Quantises the outputs of a workgroup whose first column is `col`; called by all lanes.
fn complete(role: u32, col: u32) {
  workgroupBarrier();
  let row = role / 8u;
  let q = role % 8u;
  if (row >= min(ROWS, params.rows) || col >= params.outs) {
    return;
  }
  var top = 0u;
  for (var i = 0u; i < 8u; i++) {
    top = max(top, magnitude(gated_quad(row, i)));
  }
  let block = (params.first + col) / 64u;
  let blocks = (params.width + 31u) / 32u;
  y[quant_word(row, block, q, blocks)] = quantize(gated_quad(row, q), top);
  if (q == 0u) {
    y_scales[row * blocks + block] = block_scale(top);
  }
}
