// finish(r, n, sum_k x[r, k] w[n, k]) for up to ROWS rows of 8-bit integers, see lib/finish*.wgsl
// x in 16-byte words read, see lib/x_int8.wgsl and lib/x_int8_normed.wgsl; w [outs, inner] q4 or q8 in 16-byte words read; scales
// [outs, groups] f16 in pairs read
// Grid: one workgroup per 4 WG / LANES columns, folded over x and y. Workgroup memory: what these have.
// lib/gemv.wgsl with sums that are integers within a block of 32 columns of x and f32 across. The upper and the lower nibbles
// of a q4 word, times 16, are words of int8 after one mask and one shift more.
// Source: own. Versions: vector instructions a weight, registers and subgroups per SIMD of RDNA3's compiler (Mesa 25.0) for the
// main loop, one row, group 64; it has 8 loads of 16 bytes of w and 4 of x under way
//   q4 stored + 8, places of scales worked out in the loop  1.09, 48, 32
//   two's complement  0.80, 84, 18 (kept; q8 0.42, 120, 12; 2, 4 and 8 rows 1.23, 2.05 and 3.58, at most 120 registers)
// Gweights/s per 2 cores of CPU time on lavapipe (Mesa 25.0), 1 x 5120 x 7680 q4, group 64: 5.8; 2, 4 and 8 rows in 1.6, 2.2 and 3.0
// times the time of one. Not yet timed on a GPU.
enable subgroups;
// FORMAT of w: 3 q4, 4 q8. GROUP: columns that share a scale.
const FORMAT: u32 = 3u;
const GROUP: u32 = 32u;
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
@group(0) @binding(2) var<storage, read> w: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> scales: array<u32>;
@group(0) @binding(31) var<uniform> params: Params;
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
