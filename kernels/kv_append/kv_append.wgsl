// k_pool[page, h, p % PAGE, i] = k[t, K_COLUMN + h * HEAD_DIM + i] and v_pool likewise, with (p, s) = places[t] and
// page = tables[s, p / PAGE]; rows past the end of their table are dropped
// k [tokens, K_COLS] k_elem read; v [tokens, V_COLS] v_elem read; places [tokens] (position, sequence) u32 read;
// tables [sequences, pages] u32 read; k_pool, v_pool [pages of the pool, KV_HEADS, PAGE, HEAD_DIM] elem written
// Grid: one invocation per 4 columns of k and of v, folded over x and y. Workgroup memory: none. Source: own.
// Versions, CPU time on lavapipe (Mesa 25.0, 2 busy cores), 512 rows of 10 x 128, f32: into a contiguous cache 1; through a
// page table (this one) 1.09 (medians of 9 in turns).
alias elem = f32;
alias k_elem = f32;
alias v_elem = f32;
const K_COLS: u32 = 128u;
const K_COLUMN: u32 = 0u;
const V_COLS: u32 = 128u;
const V_COLUMN: u32 = 0u;
const KV_HEADS: u32 = 1u;
const HEAD_DIM: u32 = 128u;
const PAGE: u32 = 128u;
const WG: u32 = 64u;
struct Params {
  tokens: u32,
  pages: u32,
}
@group(0) @binding(0) var<storage, read> k: array<vec4<k_elem>>;
@group(0) @binding(1) var<storage, read> v: array<vec4<v_elem>>;
@group(0) @binding(2) var<storage, read> places: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read> tables: array<u32>;
@group(0) @binding(4) var<storage, read_write> k_pool: array<vec4<elem>>;
@group(0) @binding(5) var<storage, read_write> v_pool: array<vec4<elem>>;
@group(0) @binding(31) var<uniform> params: Params;

const CHUNKS = HEAD_DIM / 4u; // vec4s in a head

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = (group.x + group.y * groups.x) * WG + lane;
  let token = index / (KV_HEADS * CHUNKS);
  if (token >= params.tokens) {
    return;
  }
  let place = places[token];
  if (place.x >= params.pages * PAGE) {
    return;
  }
  let column = index % (KV_HEADS * CHUNKS);
  let row = (page_of(place.y, place.x, params.pages) * KV_HEADS + column / CHUNKS) * PAGE + place.x % PAGE;
  let slot = row * CHUNKS + column % CHUNKS;
  k_pool[slot] = vec4<elem>(vec4f(k[token * (K_COLS / 4u) + K_COLUMN / 4u + column]));
  v_pool[slot] = vec4<elem>(vec4f(v[token * (V_COLS / 4u) + V_COLUMN / 4u + column]));
}
