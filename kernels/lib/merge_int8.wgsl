// What follows attention_merge.wgsl where rows are quantised, as quantize_rows.wgsl does it, which declares the other names; QUADS is a
// multiple of 8. See lib/quantize.wgsl.
// y [rows, 2, blocks] int8 in words written; y_scales [rows, blocks] f32 written
@group(0) @binding(8) var<storage, read_write> y: array<u32>;
@group(0) @binding(9) var<storage, read_write> y_scales: array<f32>;

/// Quantises a quad of a head of a row with the seven others of its block, where the lane has one; called by all lanes.
fn finish(row: u32, head: u32, quad: u32, has_one: bool, value: vec4f) {
  if (has_one) {
    sums[quad] = value;
  }
  workgroupBarrier();
  if (!has_one) {
    return;
  }
  var top = 0u;
  for (var i = 0u; i < 8u; i++) {
    top = max(top, magnitude(sums[quad / 8u * 8u + i]));
  }
  let block = head * (QUADS / 8u) + quad / 8u;
  let blocks = params.heads * (QUADS / 8u);
  let q = quad % 8u;
  y[quant_word(row, block, q, blocks)] = quantize(value, top);
  if (q == 0u) {
    y_scales[row * blocks + block] = block_scale(top);
  }
}
