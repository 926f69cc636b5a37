// HEADER
enable subgroups;
alias out_elem = f32;
// FORMAT of w: 3 q4, 4 q8. GROUP: columns that share a scale. ACTIVATION: 0 none, 1 gelu_tanh, 2 gelu_erf, 3 silu_gate.
const FORMAT: u32 = 3u;
const GROUP: u32 = 32u;
const ACTIVATION: u32 = 0u;
const BIAS: bool = false;
const RESIDUAL: bool = false;
const ROWS: u32 = 1u;
const LANES: u32 = 4u;
const UNROLL: u32 = 2u;
const WG: u32 = 64u;
struct Params {
  rows: u32,
  words: u32,
  outs: u32,
  first: u32,
  width: u32,
}
@group(0) @binding(0) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x_scales: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read> scales: array<u32>;
@group(0) @binding(6) var<storage, read_write> y: array<out_elem>;
@group(1) @binding(0) var<uniform> params: Params;
const UNIT = WORDS;

/// Adds the products of a block of x and of four columns.
fn add_unit(sums: ptr<function, array<vec4f, ROWS>>, unit: Unit, b: u32, blocks: u32) {
  var bytes: array<Bytes, 4>;
  for (var i = 0u; i < 4u; i++) {
    if (FORMAT == Q8) {
      bytes[i] = Bytes(unit.words[0][i], unit.words[UNIT - 1u][i]);
    } else {
      bytes[i] = unpack(unit.words[0][i]);
    }
  }
  for (var r = 0u; r < ROWS; r++) {
    let row = min(r, params.rows - 1u);
    let v = activations(row, b, blocks);
    let dots = vec4i(dot_bytes(v, bytes[0]), dot_bytes(v, bytes[1]), dot_bytes(v, bytes[2]), dot_bytes(v, bytes[3]));
    (*sums)[r] = fma(vec4f(dots) * (x_scales[row * blocks + b] * QUANTUM), unit.scale, (*sums)[r]);
  }
}
