// Shared by the kernels of matmul that multiply 8-bit integers: blocks of 32 of them. They declare the names used here.

const UPPER_NIBBLES: u32 = 0xf0f0f0f0u;
// Words of w in a block, and what its quants are of the bytes that are multiplied: those of q4 stand in the upper halves.
const WORDS = 8u / QUADS;
const QUANTUM = select(1.0, 0.0625, FORMAT == Q4);

/// The 32 bytes of a block, four by four.
struct Bytes {
  near: vec4u,
  far: vec4u,
}

/// The bytes of a q4 word, in the order of columns.
fn unpack(p: vec4u) -> Bytes {
  let low = (p << vec4u(4u)) & vec4u(UPPER_NIBBLES);
  let high = p & vec4u(UPPER_NIBBLES);
  return Bytes(vec4u(low.x, high.x, low.y, high.y), vec4u(low.z, high.z, low.w, high.w));
}

/// Block b of a column of w.
fn weights(col: u32, b: u32) -> Bytes {
  let at = col * params.words + b * WORDS;
  if (FORMAT == Q8) {
    return Bytes(w[at], w[at + 1u]);
  }
  return unpack(w[at]);
}

fn dot_bytes(a: Bytes, b: Bytes) -> i32 {
  return dot4I8Packed(a.near.x, b.near.x) + dot4I8Packed(a.near.y, b.near.y) + dot4I8Packed(a.near.z, b.near.z) +
    dot4I8Packed(a.near.w, b.near.w) + dot4I8Packed(a.far.x, b.far.x) + dot4I8Packed(a.far.y, b.far.y) +
    dot4I8Packed(a.far.z, b.far.z) + dot4I8Packed(a.far.w, b.far.w);
}
