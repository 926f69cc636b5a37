// sums[c] = (weight of the elements of chunk c above the threshold, low and high, and how many equal it, 0)
// logits [count] f32 read as bits; weights [count, 2], state [6, 2] u32 read; sums [ceil(count / WG), 4] u32 written
// Grid: one workgroup per chunk of WG elements. Workgroup memory: 12 bytes. Source: own.
const WG: u32 = 256u;
struct Params {
  count: u32,
}
@group(0) @binding(0) var<storage, read> logits: array<u32>;
@group(0) @binding(1) var<storage, read> weights: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> state: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read_write> sums: array<vec4<u32>>;
@group(0) @binding(31) var<uniform> params: Params;
var<workgroup> low: atomic<u32>;
var<workgroup> high: atomic<u32>;
var<workgroup> ties: atomic<u32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (lane == 0u) {
    atomicStore(&low, 0u);
    atomicStore(&high, 0u);
    atomicStore(&ties, 0u);
  }
  workgroupBarrier();
  let i = group.x * WG + lane;
  let threshold = state[PREFIX].x;
  let key = select(0u, order(logits[min(i, params.count - 1u)]), i < params.count);
  if (key > threshold) {
    let weight = weights[i];
    let old = atomicAdd(&low, weight.x);
    atomicAdd(&high, weight.y + u32(old + weight.x < weight.x));
  } else if (key == threshold) {
    atomicAdd(&ties, 1u);
  }
  workgroupBarrier();
  if (lane == 0u) {
    sums[group.x] = vec4u(atomicLoad(&low), atomicLoad(&high), atomicLoad(&ties), 0u);
  }
}
