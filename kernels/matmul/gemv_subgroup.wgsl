// finish(r, n, sum_k x[r, k] w[n, k]) for up to ROWS rows, see lib/finish*.wgsl
// x [rows, inner] elem read, see lib/x_rows.wgsl and lib/x_normed.wgsl; w [outs, inner] of any format in 16-byte words read; scales [outs, groups] f16 in pairs
// read, of quantised w
// Grid: one workgroup per 4 WG / LANES columns, folded over x and y. Workgroup memory: none.
// lib/gemv.wgsl for floats: values of w are widened once for all rows, and a unit's sum is multiplied by its scale.
// Source: own. Versions: vector instructions a weight and registers of RDNA3's compiler (Mesa 25.0) for the main loop, one row of f16
//   q4 with 8 taken off each product of quant and scale  4.5, 84
//   bit fields with their sign  3.11, 84 (kept; q8 1.63, 84; bf16 2.3, 60)
// Not yet timed on a GPU.
enable subgroups;
alias elem = f32;
// FORMAT of w: 0 f32, 1 bf16, 2 f16, 3 q4, 4 q8. GROUP: columns that share a scale. PADDED: words of quants reach behind
// a row of x.
const FORMAT: u32 = 1u;
const GROUP: u32 = 32u;
const PADDED: bool = false;
const ROWS: u32 = 1u;
const LANES: u32 = 4u;
const UNROLL: u32 = 2u;
const WG: u32 = 64u;
struct Params {
  rows: u32,
  words: u32,
  quads: u32,
  outs: u32,
  first: u32,
  width: u32,
}
@group(0) @binding(0) var<storage, read> x: array<vec4<elem>>;
@group(0) @binding(1) var<storage, read> w: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;
@group(0) @binding(31) var<uniform> params: Params;
const UNIT = 1u;

/// Adds the products of word k of x and of four columns.
fn add_unit(sums: ptr<function, array<vec4f, ROWS>>, unit: Unit, k: u32, words: u32) {
  var products: array<vec4f, ROWS>;
  let p = unit.words[0];
  for (var q = 0u; q < QUADS; q++) {
    let values = array(widen(p[0], q, 1.0), widen(p[1], q, 1.0), widen(p[2], q, 1.0), widen(p[3], q, 1.0));
    for (var r = 0u; r < ROWS; r++) {
      let v = row_quad(r, k * QUADS + q);
      for (var i = 0u; i < 4u; i++) {
        products[r][i] = add_products(products[r][i], v, values[i]);
      }
    }
  }
  for (var r = 0u; r < ROWS; r++) {
    (*sums)[r] = fma(products[r], unit.scale, (*sums)[r]);
  }
}
