// finish(r, n, sum_k x[r, k] w[n, k]) for up to ROWS rows and quantised w, see lib/finish*.wgsl
// x [rows, inner] elem read; w [outs, inner] q4 or q8 in 16-byte words read; scales [outs, groups] f16 in pairs read
// Grid: one workgroup per 4 WG columns, folded over x and y. Workgroup memory: none.
// For adapters that run on the CPU, where a load costs each lane some ten instructions for every 4 bytes: a lane owns 4 columns,
// SHARE lanes load one quad of x each, or two, and the subgroup shuffles them; in larger ones each SHARE load the same. Words of
// w are loaded first, while few vectors are live, and nibbles are converted where they stand: x is divided by what that gives too
// much, and the 8s that make them positive are taken off the sum.
// Source: own. Versions: Gweights/s per 2 cores of CPU time on lavapipe (Mesa 25.0), 1 x 5120 x 7680 q4, group 64
//   4 lanes share x; quants widened by shift, mask, conversion, product, difference  7.4 to 7.9
//   8 lanes share x, nibbles where they stand  8.2; 8 columns a lane  6.7 to 7.5 (vectors are spilled)
//   the same, w loaded before x  9.4 to 10.7 (kept; 2, 4 and 8 rows in 1.25, 2.1 and 3.7 times the time of one)
//   quants moved to the top of the word: no division, nothing to take off  7.8 to 9.9; scales once a group  8.0
//   index of the shuffle in a loop  4.4 (too long to be unrolled, and a shuffle by a variable is slow)
enable subgroups;
alias elem = f32;
// FORMAT of w: 3 q4, 4 q8. GROUP: columns that share a scale. PADDED: words of quants reach behind a row of x.
const FORMAT: u32 = 3u;
const GROUP: u32 = 32u;
const PADDED: bool = false;
const ROWS: u32 = 1u;
const LANES: u32 = 4u;
const WG: u32 = 8u;
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

// Lanes that hold different quads of a word of x, and how many quads each of them has.
const SHARE = min(QUADS, LANES);
const PARTS = QUADS / SHARE;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_invocation_id) place: u32,
) {
  let col = ((group.x + group.y * groups.x) * WG + lane) * 4u;
  let cols = columns(col);
  var sums: array<vec4f, ROWS>;
  for (var k = 0u; k < params.words; k++) {
    let at = cols * params.words + k;
    let p = array(w[at.x], w[at.y], w[at.z], w[at.w]);
    var x = array<array<vec4f, PARTS>, ROWS>();
    var products = array<vec4f, ROWS>();
    for (var r = 0u; r < ROWS; r++) {
      for (var i = 0u; i < PARTS; i++) {
        x[r][i] = input(min(r, params.rows - 1u) * params.quads, k * QUADS + i * SHARE + place % SHARE);
      }
      products[r] = vec4f(prepare(&x[r], place % 2u == 1u));
    }
    add_quad(&products, &x, p, 0u);
    add_quad(&products, &x, p, 1u);
    add_quad(&products, &x, p, 2u);
    add_quad(&products, &x, p, 3u);
    if (FORMAT == Q4) {
      add_quad(&products, &x, p, 4u);
      add_quad(&products, &x, p, 5u);
      add_quad(&products, &x, p, 6u);
      add_quad(&products, &x, p, 7u);
    }
    let by = scale(cols, k);
    for (var r = 0u; r < ROWS; r++) {
      sums[r] += products[r] * by;
    }
  }
  for (var r = 0u; r < ROWS; r++) {
    finish(r, col, sums[r]);
  }
}

/// Divides a lane's quads, all odd or all even ones, by what `values` gives too much, and returns what takes its 8s off again.
fn prepare(x: ptr<function, array<vec4f, PARTS>>, odd: bool) -> f32 {
  if (FORMAT == Q8) {
    return 0.0;
  }
  let eights = vec4f(-8.0, -8.0, -8.0, select(-8.0, 0.0, odd));
  let divided = select(vec4f(1.0, 0x1p-8, 0x1p-16, 0x1p-24), vec4f(0x1p-4, 0x1p-12, 0x1p-20, 0x1p-28), odd);
  var sum = 0.0;
  for (var i = 0u; i < PARTS; i++) {
    sum += dot((*x)[i], eights);
    (*x)[i] *= divided;
  }
  sum += subgroupShuffleXor(sum, 1u);
  sum += subgroupShuffleXor(sum, 2u);
  if (SHARE == 8u) {
    sum += subgroupShuffleXor(sum, 4u);
  }
  return sum;
}

/// Quad q of a word: of q4 each value + 8, where it stands in the word, but for the topmost.
fn values(p: vec4u, q: u32) -> vec4f {
  if (FORMAT == Q8) {
    return vec4f(unpack4xI8(p[q]));
  }
  let low = vec4u(p[q / 2u] ^ 0x88888888u) & vec4u(0xfu, 0xf00u, 0xf0000u, 0xf000000u);
  let high = vec4u(p[q / 2u] ^ 0x08888888u) & vec4u(0xf0u, 0xf000u, 0xf00000u, 0xf0000000u);
  return vec4f(vec4i(select(low, high, q % 2u == 1u)));
}

/// Adds the products of quad q, a literal: a shuffle by a variable is slow, and loops of this length stay loops.
fn add_quad(
  products: ptr<function, array<vec4f, ROWS>>,
  x: ptr<function, array<array<vec4f, PARTS>, ROWS>>,
  p: array<vec4u, 4>,
  q: u32,
) {
  let quads = mat4x4f(values(p[0], q), values(p[1], q), values(p[2], q), values(p[3], q));
  for (var r = 0u; r < ROWS; r++) {
    (*products)[r] += subgroupShuffle((*x)[r][q / SHARE], q % SHARE) * quads;
  }
}
