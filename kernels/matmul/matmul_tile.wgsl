// finish(r, n, sum_k x[r, k] w[n, k]), see lib/finish*.wgsl
// x [rows, inner] elem read; w [outs, inner] of any format in 16-byte words read; scales [outs, groups] f16 in pairs
// read, of quantised w
// Grid: x over tiles of 64 rows, y over tiles of 64 columns. Workgroup memory: 2 * 64 * 5 * 16 = 10240 bytes.
// For GPUs: 16 x 16 lanes, each 4 rows x 4 neighbouring columns, step 16 along inner. A tile row takes 5 vec4f (4 and one
// that skews it), and column 4 t + j lies in slot 16 j + t, so that lanes side by side read different banks.
// Source: own. Versions: not yet timed on a GPU; a third of matmul_register's speed on lavapipe, half on SwiftShader.
alias elem = f32;
// FORMAT of w: 0 f32, 1 bf16, 2 f16, 3 q4, 4 q8. GROUP: columns that share a scale. PADDED: words of quants reach behind
// a row of x.
const FORMAT: u32 = 1u;
const GROUP: u32 = 32u;
const PADDED: bool = false;
const TILE: u32 = 64u;
const STRIDE: u32 = 5u;
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
var<workgroup> x_tile: array<vec4f, TILE * STRIDE>;
var<workgroup> w_tile: array<vec4f, TILE * STRIDE>;

@compute @workgroup_size(16, 16)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_id) id: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = group.x * TILE;
  let col = group.y * TILE;
  let line = lane / 4u;
  let part = lane % 4u;
  let x_base = min(row + line, params.rows - 1u) * params.quads;
  let column = vec4u(min(col + line, params.outs - 1u));
  let slot = (line % 4u * 16u + line / 4u) * STRIDE;
  var sums: array<vec4f, 4>;
  for (var k = 0u; k < params.quads; k += 4u) {
    let at = min(k + part, params.quads - 1u);
    x_tile[line * STRIDE + part] = select(vec4f(), vec4f(x[x_base + at]), k + part < params.quads);
    w_tile[slot + part] = widen(w[column.x * params.words + at / QUADS], at % QUADS, scale(column, at / QUADS).x);
    workgroupBarrier();
    for (var j = 0u; j < 4u; j++) {
      let at = id.x * STRIDE + j;
      let b = mat4x4f(w_tile[at], w_tile[at + 16u * STRIDE], w_tile[at + 32u * STRIDE], w_tile[at + 48u * STRIDE]);
      for (var i = 0u; i < 4u; i++) {
        sums[i] += x_tile[(id.y * 4u + i) * STRIDE + j] * b;
      }
    }
    workgroupBarrier();
  }
  for (var i = 0u; i < 4u; i++) {
    finish(row + id.y * 4u + i, col + id.x * 4u, sums[i]);
  }
}
