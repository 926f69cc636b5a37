// finish(r, n, sum_k x[r, k] w[n, k]), see lib/finish*.wgsl
// x [rows, inner] elem read; w [outs, inner] of any format in 16-byte words read; scales [outs, groups] f16 in pairs
// read, of quantised w
// Grid: x over tiles of ROWS rows (neighbours share the weights in cache), y over tiles of 8 LANES columns.
// Workgroup memory: none. For adapters that run on the CPU and pay for every lane of a load: matmul_register, but each of
// four lanes loads another quarter of SHARE neighbouring vec4 of a row of x and the subgroup shuffles them. Four lanes
// are the smallest subgroup there is; in larger ones each four load the same, so that any size is right.
// Source: own.
// Versions: GMAC/s per 2 cores of CPU time on lavapipe (Mesa 25.0), 64 x 1024 x 1024 bf16 (f32), matmul_register 9.8 (6.8)
//   4 rows, 4 columns a lane  11.3
//   4 rows, 8 columns  12.8
//   8 rows, 4 columns  13.5
//   8 rows, 8 columns  16.3 to 16.9 (13.5) (kept); 18.2 at 256 x 1152 x 4304, 18.8 at 256 x 4304 x 1152; compiles in 0.6 s
//   8 rows, 8 columns, subgroupBroadcast  12.1; quadBroadcast  14.0
//   8 rows, 8 columns, SHARE 8  18.5 (14.7), wrong in subgroups of 4
//   8 rows, 12 or 16 columns; 16 rows, 4 or 8 columns  5.7 to 6.9 (spills)
//   a quad at a time in place of two (kept): 252 registers on RDNA3 and none spilled (q4 spilled 9), CPU time for bf16, q4
//     and q8 1.02, 0.87 and 0.85 of before
//   q4, every word loaded for both its halves  15.5 to 17.2 (kept), once, in a variable  16.2, but bf16 then 0.88 of its speed;
//     q8 14.3; dequantised once to f16: 12.3 at 256 rows, 10.4 at 64, 3.5 at 8 (15.5 here), so that it never pays
//   SwiftShader (subgroups of 4), 64 x 512 x 512: 1.0 times matmul_register, f32 1.1; an array of arrays for the sums  0.9
enable subgroups;
alias elem = f32;
// FORMAT of w: 0 f32, 1 bf16, 2 f16, 3 q4, 4 q8. GROUP: columns that share a scale. PADDED: words of quants reach behind
// a row of x.
const FORMAT: u32 = 1u;
const GROUP: u32 = 32u;
const PADDED: bool = false;
const LANES: u32 = 8u;
const ROWS: u32 = 8u;
const SHARE: u32 = 4u;
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

/// A block whose words begin with the quads of step k: words of q4 have those of two steps.
fn part(b: Block, k: u32) -> Block {
  if (QUADS <= SHARE) {
    return b;
  }
  let later = k % QUADS != 0u;
  return Block(
    select(b.p, b.p.zwzw, later),
    select(b.q, b.q.zwzw, later),
    select(b.r, b.r.zwzw, later),
    select(b.s, b.s.zwzw, later),
    b.scale,
  );
}

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_invocation_id) place: u32,
) {
  let row = group.x * ROWS;
  let col = (group.y * LANES + lane) * 8u;
  let left_cols = columns(col);
  let right_cols = columns(col + 4u);
  var left: array<vec4f, ROWS>;
  var right: array<vec4f, ROWS>;
  for (var k = 0u; k < params.quads; k += SHARE) {
    let at = k + place % SHARE;
    var mine = array<vec4f, ROWS>();
    for (var i = 0u; i < ROWS; i++) {
      let line = min(row + i, params.rows - 1u) * params.quads;
      mine[i] = select(vec4f(), vec4f(x[line + min(at, params.quads - 1u)]), at < params.quads);
    }
    for (var j = 0u; j < SHARE; j += min(QUADS, SHARE)) {
      let word = min((k + j) / QUADS, params.words - 1u);
      let a = part(load(left_cols, word), k);
      let b = part(load(right_cols, word), k);
      for (var q = 0u; q < min(QUADS, SHARE); q++) {
        let a_quad = quad(a, q);
        let b_quad = quad(b, q);
        for (var i = 0u; i < ROWS; i++) {
          let v = subgroupShuffle(mine[i], j + q);
          left[i] += v * a_quad;
          right[i] += v * b_quad;
        }
      }
    }
  }
  var sums: array<vec4f, 2u * ROWS>; // finished in a loop that is not unrolled: 16 copies of finish take long to compile
  for (var i = 0u; i < ROWS; i++) {
    sums[2u * i] = left[i];
    sums[2u * i + 1u] = right[i];
  }
  for (var i = 0u; i < 2u * min(ROWS, params.rows - row); i++) {
    finish(row + i / 2u, col + i % 2u * 4u, sums[i]);
  }
}
