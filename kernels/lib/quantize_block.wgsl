// Shared by the kernels of quantize_rows: how a block of 32 values of a row is written. Needs lib/quantize.wgsl.
// quants [rows, 2, blocks] int8 in 16-byte words written, the first half of every block of a row and then the second; scales
// [rows, blocks] f32 written, NaN where a value of the block is not finite
@group(0) @binding(1) var<storage, read_write> quants: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> scales: array<f32>;

/// Quantises a block of a row of so many; `v` is zero behind the last column.
fn write_block(row: u32, block: u32, blocks: u32, v: array<vec4f, 8>) {
  var top = 0u;
  for (var i = 0u; i < 8u; i++) {
    top = max(top, magnitude(v[i]));
  }
  var words: array<u32, 8>;
  for (var i = 0u; i < 8u; i++) {
    words[i] = quantize(v[i], top);
  }
  let near = 2u * row * blocks + block;
  quants[near] = vec4u(words[0], words[1], words[2], words[3]);
  quants[near + blocks] = vec4u(words[4], words[5], words[6], words[7]);
  scales[row * blocks + block] = block_scale(top);
}
