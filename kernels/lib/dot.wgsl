// Shared by the kernels of matmul that multiply 8-bit integers: blocks of 32 of them. They declare the names used here.

const NIBBLES: u32 = 0x0f0f0f0fu;
// Words of w in a block, and what its bytes stand above the quants.
const WORDS = 8u / QUADS;
const OFFSET = select(0.0, 8.0, FORMAT == Q4);

/// The 32 bytes of a block, four by four.
struct Bytes {
  near: vec4u,
  far: vec4u,
}

/// Block b of a column of w.
fn weights(col: u32, b: u32) -> Bytes {
  let at = col * params.words + b * WORDS;
  if (FORMAT == Q8) {
    return Bytes(w[at], w[at + 1u]);
  }
  let low = w[at] & vec4u(NIBBLES);
  let high = (w[at] >> vec4u(4u)) & vec4u(NIBBLES);
  return Bytes(vec4u(low.x, high.x, low.y, high.y), vec4u(low.z, high.z, low.w, high.w));
}

/// Block b of all of x.
fn activations(b: u32) -> Bytes {
  return Bytes(x[2u * b], x[2u * b + 1u]);
}

/// The products of a block of x, whose scale and scaled sum are m, and of block b of four columns.
fn products(v: Bytes, m: vec2f, cols: vec4u, b: u32) -> vec4f {
  let sums = vec4i(
    dot_bytes(v, weights(cols.x, b)),
    dot_bytes(v, weights(cols.y, b)),
    dot_bytes(v, weights(cols.z, b)),
    dot_bytes(v, weights(cols.w, b)),
  );
  return (vec4f(sums) * m.x - OFFSET * m.y) * scale(cols, b * WORDS);
}

fn dot_bytes(a: Bytes, b: Bytes) -> i32 {
  return dot_words(a.near, b.near) + dot_words(a.far, b.far);
}

fn dot_words(a: vec4u, b: vec4u) -> i32 {
  return dot4I8Packed(a.x, b.x) + dot4I8Packed(a.y, b.y) + dot4I8Packed(a.z, b.z) + dot4I8Packed(a.w, b.w);
}
