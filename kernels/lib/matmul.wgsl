// Shared by the kernels of matmul and by what follows their sums: the columns of a block of w, their scales, and the functions of
// activations. The kernels declare the names used here.

const F32: u32 = 0u;
const BF16: u32 = 1u;
const F16: u32 = 2u;
const Q4: u32 = 3u;
const Q8: u32 = 4u;
// Groups of four elements in one 16-byte word of w, by format.
const QUADS = array(1u, 2u, 2u, 8u, 4u)[FORMAT];

/// The columns col to col + 3 of the block; outside it, its last one.
fn columns(col: u32) -> vec4u {
  return min(vec4u(col, col + 1u, col + 2u, col + 3u), vec4u(params.outs - 1u));
}

/// The scales of word k of four columns, 1 where w is not quantised.
fn scale(cols: vec4u, k: u32) -> vec4f {
  if (FORMAT < Q4) {
    return vec4f(1.0);
  }
  let sharing = GROUP / (4u * QUADS);
  let at = cols * ((params.words + sharing - 1u) / sharing) + k / sharing;
  return vec4f(scale_at(at.x), scale_at(at.y), scale_at(at.z), scale_at(at.w));
}

fn scale_at(at: u32) -> f32 {
  return unpack2x16float(scales[at / 2u] >> (at % 2u * 16u)).x;
}

fn sigmoid(v: vec4f) -> vec4f {
  return 1.0 / (1.0 + exp(clamp(-v, vec4f(-80.0), vec4f(80.0))));
}

/// up silu(gate) of two pairs (gate, up).
fn silu_gate(v: vec4f) -> vec2f {
  return v.yw * sigmoid(vec4f(v.xz, 0.0, 0.0)).xy * v.xz;
}

/// (1 + erf(v / sqrt 2)) / 2 by Abramowitz and Stegun 7.1.26, whose error is below 7.5e-8; relative in the left tail.
fn normal_cdf(v: vec4f) -> vec4f {
  let z = min(abs(v) * 0.7071067811865476, vec4f(9.0));
  let t = 1.0 / (1.0 + 0.3275911 * z);
  let series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  let tail = 0.5 * series * exp(-z * z);
  return select(1.0 - tail, tail, v < vec4f());
}
