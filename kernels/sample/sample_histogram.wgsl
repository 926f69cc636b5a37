// One pass of the radix search for a threshold: of the elements whose key begins as the threshold's does, counts and weights
// by the next 8 bits of the key: bins[d] += 1, (bins[256 + d], bins[512 + d]) += weight as one 64-bit number
// logits [count] f32 read as bits; weights [count, 2], state [6, 2] u32 read; bins [768] u32 updated
// known: the bits of the key that are decided; shift: where the next 8 begin
// Grid: one workgroup per WG * EACH elements. Workgroup memory: 3072 bytes. Source: own.
// Versions, 100352 logits, ms a pass on lavapipe and SwiftShader: EACH 4: 3.3, 50; EACH 16: 2.0 (first digit) to 0.7, 15: a
// workgroup with barriers costs SwiftShader 0.5 ms however little it does
const WG: u32 = 256u;
const EACH: u32 = 16u;
struct Params {
  count: u32,
  known: u32,
  shift: u32,
}
@group(0) @binding(0) var<storage, read> logits: array<u32>;
@group(0) @binding(1) var<storage, read> weights: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> state: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read_write> bins: array<atomic<u32>>;
@group(0) @binding(31) var<uniform> params: Params;
var<workgroup> counts: array<atomic<u32>, WG>;
var<workgroup> lows: array<atomic<u32>, WG>;
var<workgroup> highs: array<atomic<u32>, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  atomicStore(&counts[lane], 0u);
  atomicStore(&lows[lane], 0u);
  atomicStore(&highs[lane], 0u);
  workgroupBarrier();
  for (var j = 0u; j < EACH; j++) {
    let i = (group.x * EACH + j) * WG + lane;
    if (i < params.count) {
      tally(order(logits[i]), i);
    }
  }
  workgroupBarrier();
  let count = atomicLoad(&counts[lane]);
  if (count > 0u) {
    let low = atomicLoad(&lows[lane]);
    let old = atomicAdd(&bins[WG + lane], low);
    atomicAdd(&bins[lane], count);
    atomicAdd(&bins[2u * WG + lane], atomicLoad(&highs[lane]) + u32(old + low < low));
  }
}

fn tally(key: u32, i: u32) {
  if (((key ^ state[PREFIX].x) & params.known) != 0u) {
    return;
  }
  let digit = (key >> params.shift) & 0xffu;
  let weight = weights[i];
  let old = atomicAdd(&lows[digit], weight.x);
  atomicAdd(&highs[digit], weight.y + u32(old + weight.x < weight.x));
  atomicAdd(&counts[digit], 1u);
}
