// finish(r, n, sum_k x[r, k] w[n, k]) for x of 8-bit integers, see lib/finish*.wgsl
// x [rows, 8 blocks] words of four int8 read, as quantize_rows.wgsl writes them; x_scales [rows, blocks] f32 read; w [outs, inner] q4 or
// q8 in 16-byte words read; scales [outs, groups] f16 in pairs read
// Grid: x over tiles of ROWS rows (neighbours share the weights in cache), y over tiles of 4 WG columns. Workgroup memory: none.
// For adapters that run on the CPU, where a load costs each lane some ten instructions for every 4 bytes, and dot4I8Packed more than
// twenty: a lane owns 4 columns, SHARE lanes load a word of x each, or two, and the subgroup shuffles them. With q4 one product of i32
// is two of int8 and int4: (a + b 2^16) (d + c 2^16) has a c + b d in its upper half and a d in the lower one, and over 32 columns
// neither leaves its half, 32 * 8 * 127 < 2^15. Sums are integers, exact, within a block of 32 columns of x, and f32 across.
// Source: own. Versions: GMAC/s per 2 cores of CPU time on lavapipe (Mesa 25.0), 64 x 5120 x 2048, group 64, on a day when
// matmul_dot_register had 7 to 9.5 and matmul_subgroup in f32 10 to 12
//   4 rows  18 to 24; 8 rows  21 to 32 (kept; q8 18); 12 rows  17 to 22; 16 rows  16
// 1 x 5120 x 2048 and 7680 take 0.6 to 0.8 of gemv_shuffle's time with x in f32, and 0.4 of gemv_dot_subgroup's; 2, 4 and 8 rows 1.1 to
// 1.2, 1.4 to 1.5 and 2.2 to 2.3 times the time of one (four series of 60 rounds in turns; gemv_shuffle 1.2 to 1.3, 1.7 to 2 and 3 to 3.7).
// Predicted: 60 GMAC/s, of counted instructions at the rate of gemv_shuffle's. Scales of w once a group, in a loop
// around: 64 rows 1.3 to 1.8 times the time, one row 0.8 to 1.2. Of one row's instructions loads of w are some 60 %, its scales 15;
// a kernel that only adds up 16-byte words reads 5 GB/s there, from a buffer as from a texture of rgba32uint.
// Two blocks a step with one load of their scales take 1.0 to 1.15 times the time, four 1.4, x_scales at a uniform address the same, w at
// uniform addresses, spread by shifts, 2.6. In the machine code a 16-byte load is a branch for each lane and component and a vector that goes
// to the stack and back for each lane: some 150 cycles, 72 % of the samples; from the L2 cache it is no faster.
enable subgroups;
// FORMAT of w: 3 q4, 4 q8. GROUP: columns that share a scale.
const FORMAT: u32 = 3u;
const GROUP: u32 = 32u;
const ROWS: u32 = 8u;
const LANES: u32 = 4u;
const WG: u32 = 8u;
struct Params {
  rows: u32,
  words: u32,
  outs: u32,
  first: u32,
  width: u32,
}
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read> x_scales: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> scales: array<u32>;
@group(0) @binding(31) var<uniform> params: Params;

// Lanes that hold different words of a block of x, and how many each of them has; so with the scales of rows.
const SHARE = min(8u, LANES);
const PARTS = 8u / SHARE;
// Words of w in a block of x.
const WORDS = 8u / QUADS;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_invocation_id) place: u32,
) {
  let row = group.x * ROWS;
  let col = (group.y * WG + lane) * 4u;
  let cols = columns(col);
  let blocks = params.words / WORDS;
  var sums: array<vec4f, ROWS>;
  for (var b = 0u; b < blocks; b++) {
    var x: array<array<vec4i, PARTS>, ROWS>;
    var by: array<f32, PARTS>;
    var dots = array<vec4i, ROWS>();
    for (var i = 0u; i < PARTS; i++) {
      let mine = i * SHARE + place % SHARE;
      for (var r = 0u; r < ROWS; r++) {
        x[r][i] = factors(line(row + r), b, blocks, mine);
      }
      by[i] = x_scales[line(row + mine) * blocks + b];
    }
    let p = words(cols, b * WORDS);
    add_word(&dots, &x, p, 0u);
    add_word(&dots, &x, p, 1u);
    add_word(&dots, &x, p, 2u);
    add_word(&dots, &x, p, 3u);
    if (FORMAT == Q8) {
      let q = words(cols, b * WORDS + 1u);
      add_word(&dots, &x, q, 4u);
      add_word(&dots, &x, q, 5u);
      add_word(&dots, &x, q, 6u);
      add_word(&dots, &x, q, 7u);
    }
    let scales = scale(cols, b * WORDS);
    for (var r = 0u; r < ROWS; r++) {
      sums[r] += vec4f(sums_of(dots[r])) * (subgroupShuffle(by[r / SHARE], r % SHARE) * scales);
    }
  }
  for (var r = 0u; r < ROWS; r++) {
    finish(row + r, col, sums[r]);
  }
}

/// A row that there is.
fn line(row: u32) -> u32 {
  return min(row, params.rows - 1u);
}

/// Word k of four columns.
fn words(cols: vec4u, k: u32) -> array<vec4u, 4> {
  let at = cols * params.words + k;
  return array(w[at.x], w[at.y], w[at.z], w[at.w]);
}

/// Columns 4 k to 4 k + 3 of block b of x; for q4 the third and 2^16 of the first, and the fourth and 2^16 of the second.
fn factors(row: u32, b: u32, blocks: u32, k: u32) -> vec4i {
  let half = 2u * row + k / 4u;
  let v = unpack4xI8(x[(half * blocks + b) * 4u + k % 4u]);
  return select(v, vec4i(v.zw + (v.xy << vec2u(16u)), 0, 0), FORMAT == Q4);
}

/// Adds the products of word j of a block of w; j is a literal, as a shuffle by a variable is slow.
fn add_word(
  dots: ptr<function, array<vec4i, ROWS>>,
  x: ptr<function, array<array<vec4i, PARTS>, ROWS>>,
  p: array<vec4u, 4>,
  j: u32,
) {
  let word = vec4u(p[0][j % 4u], p[1][j % 4u], p[2][j % 4u], p[3][j % 4u]);
  if (FORMAT == Q8) {
    let bytes = vec4i(word);
    add(dots, x, j, 0u, extractBits(bytes, 0u, 8u));
    add(dots, x, j, 1u, extractBits(bytes, 8u, 8u));
    add(dots, x, j, 2u, extractBits(bytes, 16u, 8u));
    add(dots, x, j, 3u, extractBits(bytes, 24u, 8u));
  } else {
    let nibbles = word ^ vec4u(0x88888888u);
    add(dots, x, 2u * j, 0u, pair(nibbles));
    add(dots, x, 2u * j + 1u, 0u, pair(nibbles >> vec4u(4u)));
    add(dots, x, 2u * j, 1u, pair(nibbles >> vec4u(8u)));
    add(dots, x, 2u * j + 1u, 1u, pair(nibbles >> vec4u(12u)));
  }
}

/// The lowest nibbles of the halves, which have 8 too much: the lower one and 2^16 of the upper one.
fn pair(nibbles: vec4u) -> vec4i {
  return vec4i(nibbles & vec4u(0x000f000fu)) - vec4i(0x00080008);
}

/// Adds the products of factor i of word k of x.
fn add(
  dots: ptr<function, array<vec4i, ROWS>>,
  x: ptr<function, array<array<vec4i, PARTS>, ROWS>>,
  k: u32,
  i: u32,
  quants: vec4i,
) {
  for (var r = 0u; r < ROWS; r++) {
    (*dots)[r] += subgroupShuffle((*x)[r][k / SHARE][i], k % SHARE) * quants;
  }
}

/// The sums of products: of pairs the upper halves, below which the lower ones have a sign.
fn sums_of(dots: vec4i) -> vec4i {
  let pairs = (dots - ((dots << vec4u(16u)) >> vec4u(16u))) >> vec4u(16u);
  return select(dots, pairs, FORMAT == Q4);
}
