// finish(r, n, sum_k x[r, k] w[n, k]) for up to ROWS rows and q4, see lib/finish*.wgsl
// x [rows, inner] elem read, see lib/x_rows.wgsl and lib/x_normed.wgsl; w [outs, inner] q4 in 16-byte words read; scales [outs, groups] f16 in pairs read
// Grid: one workgroup per 4 WG / LANES columns, folded over x and y. Workgroup memory: none.
// lib/gemv.wgsl where there is f16: two nibbles at once become the lowest bits of two f16 of which a number is taken off, exactly;
// products and sums are f32.
// Source: own. Versions: vector instructions a weight, registers and subgroups per SIMD of RDNA3's compiler (Mesa 25.0) for the
// main loop, one row of f16, group 64: 2.35, 84, 18 (gemv_subgroup 3.11; 2, 4 and 8 rows 3.4, 5.7 and 10.1, at most 120 registers).
// Not yet timed on a GPU; 2.8 Gweights/s on lavapipe, which has no f16 arithmetic of its own (gemv_shuffle 10).
enable f16;
enable subgroups;
alias elem = f32;
// FORMAT of w: 3 q4. GROUP: columns that share a scale. PADDED: words of quants reach behind a row of x.
const FORMAT: u32 = 3u;
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


/// Adds the products of the 32 columns from 32 k on of x and of four columns.
fn add_unit(sums: ptr<function, array<vec4f, ROWS>>, unit: Unit, k: u32, words: u32) {
  var products: array<vec4f, ROWS>;
  for (var q = 0u; q < 4u; q++) {
    var low: array<vec4f, 4>;
    var high: array<vec4f, 4>;
    for (var i = 0u; i < 4u; i++) {
      let even = unit.words[0][i][q] ^ 0x88888888u;
      let odd = even >> 8u;
      low[i] = vec4f(quants(even & 0x000f000fu, 0x64006400u, 1032.0h), quants(odd & 0x000f000fu, 0x64006400u, 1032.0h)).xzyw;
      high[i] = vec4f(quants(even & 0x00f000f0u, 0x54005400u, 72.0h), quants(odd & 0x00f000f0u, 0x54005400u, 72.0h)).xzyw;
    }
    for (var r = 0u; r < ROWS; r++) {
      let near = row_quad(r, 8u * k + 2u * q);
      let far = row_quad(r, 8u * k + 2u * q + 1u);
      for (var i = 0u; i < 4u; i++) {
        products[r][i] = add_products(add_products(products[r][i], near, low[i]), far, high[i]);
      }
    }
  }
  for (var r = 0u; r < ROWS; r++) {
    (*sums)[r] = fma(products[r], unit.scale, (*sums)[r]);
  }
}

/// Two nibbles in the bits of two f16, which these make a number that is `above` the quants, exactly.
fn quants(nibbles: u32, exponents: u32, above: f16) -> vec2f {
  return vec2f(bitcast<vec2<f16>>(nibbles | exponents) - above);
}
