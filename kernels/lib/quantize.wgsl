// Shared by the kernels that quantise blocks of 32 values to 8-bit integers with a scale each: quant = round(value / scale),
// scale = max |value| / 127, NaN where a value is not finite. `top` is the largest magnitude of a block.

/// The largest magnitude of four values, as its bits: by these what is not finite is the largest, which max() of floats need not keep.
fn magnitude(v: vec4f) -> u32 {
  let bits = bitcast<vec4u>(v) & vec4u(0x7fffffffu);
  return max(max(bits.x, bits.y), max(bits.z, bits.w));
}

/// The quants of four values of a block, the first in the lowest byte: beside 1.5 * 2^23 they are the lowest bits of a float.
fn quantize(v: vec4f, top: u32) -> u32 {
  let largest = bitcast<f32>(top);
  let inverse = select(0.0, 127.0 / largest, largest > 1e-30);
  let quants = bitcast<vec4u>(fma(v, vec4f(inverse), vec4f(12582912.0))) & vec4u(255u);
  return quants.x | (quants.y << 8u) | (quants.z << 16u) | (quants.w << 24u);
}

/// Where quad q of a block of a row stands among the words of rows of so many blocks: see quantize_rows.wgsl.
fn quant_word(row: u32, block: u32, q: u32, blocks: u32) -> u32 {
  return ((2u * row + q / 4u) * blocks + block) * 4u + q % 4u;
}

/// The scale of a block.
fn block_scale(top: u32) -> f32 {
  return bitcast<f32>(select(bitcast<u32>(bitcast<f32>(top) / 127.0), 0x7fc00000u, top >= 0x7f800000u));
}
