// What follows the sums of op qkv: columns 2 i and 2 i + 1 of a head of q or k are rotated by angle i of the row's position; then q is
// stored, and k and v go to their pages; rows past the end of their table are dropped. Appended to a kernel of matmul, which
// declares params; the rows of w are cut into blocks at multiples of 4. See lib/rotary.wgsl and lib/pages.wgsl.
// table [capacity, HEAD_DIM] f32 read, cos then sin; places [rows] (position, sequence) u32 read; tables [sequences, width] u32
// read; q [rows, HEADS * HEAD_DIM] out_elem written; k_pool, v_pool [pages of the pool, KV_HEADS, PAGE, HEAD_DIM] pool_elem written
alias out_elem = f32;
alias pool_elem = f32;
const HEADS: u32 = 1u;
const KV_HEADS: u32 = 1u;
const HEAD_DIM: u32 = 128u;
const PAGE: u32 = 128u;
@group(0) @binding(8) var<storage, read> table: array<vec2<f32>>;
@group(0) @binding(9) var<storage, read> places: array<vec2<u32>>;
@group(0) @binding(10) var<storage, read> tables: array<u32>;
@group(0) @binding(11) var<storage, read_write> q: array<vec4<out_elem>>;
@group(0) @binding(12) var<storage, read_write> k_pool: array<vec4<pool_elem>>;
@group(0) @binding(13) var<storage, read_write> v_pool: array<vec4<pool_elem>>;

/// Finishes the sums of columns col to col + 3 of the block (col % 4 == 0): two pairs of a head of q or k, or four columns of v.
fn finish(row: u32, col: u32, sums: vec4f) {
  if (row >= params.rows || col >= params.outs) {
    return;
  }
  let place = places[row];
  let head = (params.first + col) / HEAD_DIM;
  if (head >= HEADS && place.x >= params.width * PAGE) {
    return;
  }
  let i = (params.first + col) % HEAD_DIM;
  var v = sums;
  if (head < HEADS + KV_HEADS) {
    v = rotated(place.x, i, v);
  }
  if (head < HEADS) {
    q[(row * HEADS + head) * (HEAD_DIM / 4u) + i / 4u] = vec4<out_elem>(v);
    return;
  }
  let page = page_of(place.y, place.x, params.width);
  let slot = ((page * KV_HEADS + (head - HEADS) % KV_HEADS) * PAGE + place.x % PAGE) * (HEAD_DIM / 4u) + i / 4u;
  if (head < HEADS + KV_HEADS) {
    k_pool[slot] = vec4<pool_elem>(v);
  } else {
    v_pool[slot] = vec4<pool_elem>(v);
  }
}

/// What kernels of lib/gemv.wgsl do last.
fn complete(role: u32, first: u32) {}
