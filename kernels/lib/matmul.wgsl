// Shared by the kernels of matmul: the columns of a block of w, their scales, and what follows the sum. They declare the
// names used here.

const F32: u32 = 0u;
const BF16: u32 = 1u;
const F16: u32 = 2u;
const Q4: u32 = 3u;
const Q8: u32 = 4u;
const GELU_TANH: u32 = 1u;
const GELU_ERF: u32 = 2u;
const SILU_GATE: u32 = 3u;
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

/// Finishes the sums of columns col to col + 3 of the block (col % 4 == 0) and stores those inside the matrix.
fn finish(row: u32, col: u32, sums: vec4f) {
  if (row >= params.rows) {
    return;
  }
  var v = sums;
  for (var i = 0u; BIAS && i < 4u; i++) {
    v[i] += bias[params.first + min(col + i, params.outs - 1u)];
  }
  if (ACTIVATION == SILU_GATE) {
    let gated = v.yw * sigmoid(vec4f(v.xz, 0.0, 0.0)).xy * v.xz;
    for (var i = 0u; i < 2u && col + 2u * i < params.outs; i++) {
      put(row, (params.first + col) / 2u + i, gated[i]);
    }
    return;
  }
  if (ACTIVATION == GELU_TANH) {
    v *= sigmoid(1.5957691216057308 * (v + 0.044715 * v * v * v));
  } else if (ACTIVATION == GELU_ERF) {
    v *= normal_cdf(v);
  }
  if (col + 4u <= params.outs) {
    put_quad(row * params.width + params.first + col, v);
    return;
  }
  for (var i = 0u; i < 4u && col + i < params.outs; i++) {
    put(row, params.first + col + i, v[i]);
  }
}

fn put(row: u32, col: u32, value: f32) {
  let at = row * params.width + col;
  if (RESIDUAL) {
    y[at] = out_elem(value + residual[at]);
  } else {
    y[at] = out_elem(value);
  }
}

/// Four neighbours at once: a compiler may make one access of them, which it does not where each has a condition.
fn put_quad(at: u32, value: vec4f) {
  var v = value;
  if (RESIDUAL) {
    v += vec4f(residual[at], residual[at + 1u], residual[at + 2u], residual[at + 3u]);
  }
  y[at] = out_elem(v.x);
  y[at + 1u] = out_elem(v.y);
  y[at + 2u] = out_elem(v.z);
  y[at + 3u] = out_elem(v.w);
}

fn sigmoid(v: vec4f) -> vec4f {
  return 1.0 / (1.0 + exp(clamp(-v, vec4f(-80.0), vec4f(80.0))));
}

/// (1 + erf(v / sqrt 2)) / 2 by Abramowitz and Stegun 7.1.26, whose error is below 7.5e-8; relative in the left tail.
fn normal_cdf(v: vec4f) -> vec4f {
  let z = min(abs(v) * 0.7071067811865476, vec4f(9.0));
  let t = 1.0 / (1.0 + 0.3275911 * z);
  let series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  let tail = 0.5 * series * exp(-z * z);
  return select(1.0 - tail, tail, v < vec4f());
}
