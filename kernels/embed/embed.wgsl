// y[t, i] = table[ids[t] - first_id, i] for every t whose row lies in this block of the table; other rows of y stay
// ids [tokens] u32 read; the table, see lib/table.wgsl and lib/table_quantized.wgsl, read; y [tokens, COLS] elem written
// Grid: one invocation per 8 columns, folded over x and y. Workgroup memory: none. Source: own.
alias elem = f32;
const COLS: u32 = 64u;
const WG: u32 = 64u;
struct Params {
  tokens: u32,
  first_id: u32,
  rows: u32,
}
@group(0) @binding(0) var<storage, read> ids: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<elem>>;
@group(0) @binding(31) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = (group.x + group.y * groups.x) * WG + lane;
  let token = index / (COLS / 8u);
  if (token >= params.tokens) {
    return;
  }
  let row = ids[token] - params.first_id; // wraps to a large number where the id is smaller
  if (row >= params.rows) {
    return;
  }
  let v = widen_chunk(row, index % (COLS / 8u));
  y[2u * index] = vec4<elem>(v[0]);
  y[2u * index + 1u] = vec4<elem>(v[1]);
}
