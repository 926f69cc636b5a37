// A table of f32, bf16 or f16 for the kernels that look rows up, which declare COLS, a multiple of 8; table_quantized.wgsl has others.
// table [rows, COLS] read, 8 elements at a time
// Neither of the two: bf16.
const TABLE_F32: bool = false;
const TABLE_F16: bool = false;
@group(0) @binding(20) var<storage, read> table: array<vec4<u32>>;

/// Columns 8 chunk to 8 chunk + 7 of a row.
fn widen_chunk(row: u32, chunk: u32) -> array<vec4f, 2> {
  let at = row * (COLS / 8u) + chunk;
  if (TABLE_F32) {
    return array(bitcast<vec4f>(table[2u * at]), bitcast<vec4f>(table[2u * at + 1u]));
  }
  let packed = table[at];
  if (TABLE_F16) {
    let low = vec4f(unpack2x16float(packed.x), unpack2x16float(packed.y));
    return array(low, vec4f(unpack2x16float(packed.z), unpack2x16float(packed.w)));
  }
  let even = bitcast<vec4f>(packed << vec4u(16u));
  let odd = bitcast<vec4f>(packed & vec4u(0xffff0000u));
  return array(vec4f(even.x, odd.x, even.y, odd.y), vec4f(even.z, odd.z, even.w, odd.w));
}
