// y[t, i] = table[ids[t] - first_id, i] for every t whose row lies in this block of the table; other rows of y stay
// ids [tokens] u32 read; table [rows, COLS] f32, bf16 or f16 read, 8 elements at a time; y [tokens, COLS] elem written
// Grid: one invocation per 8 columns, folded over x and y. Workgroup memory: none. Source: own.
alias elem = f32;
const COLS: u32 = 64u;
// Neither of the two: bf16.
const TABLE_F32: bool = false;
const TABLE_F16: bool = false;
const WG: u32 = 64u;
struct Params {
  tokens: u32,
  first_id: u32,
  rows: u32,
}
@group(0) @binding(0) var<storage, read> ids: array<u32>;
@group(0) @binding(1) var<storage, read> table: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<elem>>;
@group(0) @binding(31) var<uniform> params: Params;

const CHUNKS = COLS / 8u; // chunks of 8 columns in a row

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = (group.x + group.y * groups.x) * WG + lane;
  let token = index / CHUNKS;
  if (token >= params.tokens) {
    return;
  }
  let row = ids[token] - params.first_id; // wraps to a large number where the id is smaller
  if (row >= params.rows) {
    return;
  }
  let chunk = row * CHUNKS + index % CHUNKS;
  var low: vec4f;
  var high: vec4f;
  if (TABLE_F32) {
    low = bitcast<vec4f>(table[2u * chunk]);
    high = bitcast<vec4f>(table[2u * chunk + 1u]);
  } else if (TABLE_F16) {
    let packed = table[chunk];
    low = vec4f(unpack2x16float(packed.x), unpack2x16float(packed.y));
    high = vec4f(unpack2x16float(packed.z), unpack2x16float(packed.w));
  } else {
    let packed = table[chunk];
    let even = bitcast<vec4f>(packed << vec4u(16u));
    let odd = bitcast<vec4f>(packed & vec4u(0xffff0000u));
    low = vec4f(even.x, odd.x, even.y, odd.y);
    high = vec4f(even.z, odd.z, even.w, odd.w);
  }
  y[2u * index] = vec4<elem>(low);
  y[2u * index + 1u] = vec4<elem>(high);
}
