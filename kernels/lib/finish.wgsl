// What follows the sums of matmul: y[r, first + n] = act(sum + bias[first + n]) + residual[r, first + n] for column n of a block of w;
// of silu_gate, y[r, (first + n) / 2] for every pair of columns. Appended to a kernel of matmul, which declares params.
// bias [all columns] f32 read; residual [rows, width] f32 read; y [rows, width] out_elem written
alias out_elem = f32;
// 0 none, 1 gelu_tanh, 2 gelu_erf, 3 silu_gate.
const ACTIVATION: u32 = 0u;
const BIAS: bool = false;
const RESIDUAL: bool = false;
@group(0) @binding(8) var<storage, read> bias: array<f32>;
@group(0) @binding(9) var<storage, read> residual: array<f32>;
@group(0) @binding(10) var<storage, read_write> y: array<out_elem>;

const GELU_TANH = 1u;
const GELU_ERF = 2u;
const SILU_GATE = 3u;

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
    let gated = silu_gate(v);
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

/// What kernels of lib/gemv.wgsl do last.
fn complete(role: u32, first: u32) {}
