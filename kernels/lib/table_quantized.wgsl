// A table of q4 or q8 for the kernels that look rows up, which declare COLS, a multiple of 8; see table.wgsl.
// quants [rows, words] u32 read; scales [rows, groups] f16 in pairs read
const FOUR_BITS: bool = true;
const GROUP: u32 = 32u;
@group(0) @binding(20) var<storage, read> quants: array<u32>;
@group(0) @binding(21) var<storage, read> scales: array<u32>;

const ROW_WORDS = (COLS + 31u) / 32u * select(8u, 4u, FOUR_BITS);
const ROW_GROUPS = (COLS + GROUP - 1u) / GROUP;

/// Columns 8 chunk to 8 chunk + 7 of a row: quant * scale.
fn widen_chunk(row: u32, chunk: u32) -> array<vec4f, 2> {
  let group = row * ROW_GROUPS + chunk * 8u / GROUP;
  let scale = unpack2x16float(scales[group / 2u] >> (group % 2u * 16u)).x;
  if (FOUR_BITS) {
    let word = quants[row * ROW_WORDS + chunk];
    let low = vec4f(unpack4xI8((word << 4u) & 0xf0f0f0f0u)) * 0.0625;
    let high = vec4f(unpack4xI8(word & 0xf0f0f0f0u)) * 0.0625;
    return array(low * scale, high * scale);
  }
  let at = row * ROW_WORDS + 2u * chunk;
  return array(vec4f(unpack4xI8(quants[at])) * scale, vec4f(unpack4xI8(quants[at + 1u])) * scale);
}
