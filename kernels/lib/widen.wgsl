// Shared by the kernels of matmul that multiply floats: reading x and w. They declare the names used here.

const UPPER: u32 = 0xffff0000u;

/// Quad `at` of the row of x that starts at `base`. Words of quants may reach behind its end: there it is zero.
fn input(base: u32, at: u32) -> vec4f {
  if (PADDED) {
    return select(vec4f(), vec4f(x[base + min(at, params.quads - 1u)]), at < params.quads);
  }
  return vec4f(x[base + at]);
}

/// One word of each of four columns, and their scales.
struct Block {
  p: vec4u,
  q: vec4u,
  r: vec4u,
  s: vec4u,
  scale: vec4f,
}

/// Word k of four columns.
fn load(cols: vec4u, k: u32) -> Block {
  let at = cols * params.words + k;
  return Block(w[at.x], w[at.y], w[at.z], w[at.w], scale(cols, k));
}

/// Quad q of the words of a block; elements along the matrix columns.
fn quad(b: Block, q: u32) -> mat4x4f {
  return mat4x4f(
    widen(b.p, q, b.scale.x),
    widen(b.q, q, b.scale.y),
    widen(b.r, q, b.scale.z),
    widen(b.s, q, b.scale.w),
  );
}

/// Quad q of a word of w; a quantised one times its scale, which is exact.
fn widen(p: vec4u, q: u32, scale: f32) -> vec4f {
  if (FORMAT == F32) {
    return bitcast<vec4f>(p);
  }
  if (FORMAT == Q4) {
    let word = i32(p[q / 2u]);
    let at = q % 2u * 4u;
    let low = vec2i(extractBits(word, at, 4u), extractBits(word, at + 8u, 4u));
    let high = vec2i(extractBits(word, at + 16u, 4u), extractBits(word, at + 24u, 4u));
    return vec4f(vec4i(low, high)) * scale;
  }
  if (FORMAT == Q8) {
    return vec4f(unpack4xI8(p[q])) * scale;
  }
  let v = select(p.zw, p.xy, q == 0u);
  if (FORMAT == F16) {
    return vec4f(unpack2x16float(v.x), unpack2x16float(v.y));
  }
  return bitcast<vec4f>(vec4u(v.x << 16u, v.x & UPPER, v.y << 16u, v.y & UPPER));
}
