// y = the first element, in index order, at which the weight of what is kept exceeds floor(u total): the chunk, then the
// element in it. Kept is what is above the threshold and the first state[TIES].x of those equal to it.
// logits [count] f32 read as bits; weights [count, 2], state [6, 2], sums [ceil(count / WG), 4], uniform [2] (floor(2^64 u),
// low and high), largest [2] u32 read; y [2] u32 written, with largest[1] behind the element
// Grid: one workgroup. Workgroup memory: 8196 bytes. Source: own.
const WG: u32 = 256u;
const MAX_CHUNKS: u32 = 512u;
struct Params {
  count: u32,
  chunks: u32,
}
@group(0) @binding(0) var<storage, read> logits: array<u32>;
@group(0) @binding(1) var<storage, read> weights: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> state: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read> sums: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> uniform_number: array<u32>;
@group(0) @binding(5) var<storage, read> largest: array<u32>;
@group(0) @binding(6) var<storage, read_write> y: array<u32>;
@group(0) @binding(31) var<uniform> params: Params;
var<workgroup> entries: array<vec4<u32>, MAX_CHUNKS>;
var<workgroup> chunk: u32;
// Lane 0's: the weight of what was walked past, and how many more ties are kept.
var<private> before: vec2u;
var<private> ties: u32;

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) lane: u32) {
  for (var c = lane; c < params.chunks; c += WG) {
    entries[c] = sums[c];
  }
  workgroupBarrier();
  if (lane == 0u) {
    ties = state[TIES].x;
    chunk = walk(params.chunks);
  }
  workgroupBarrier();
  entries[lane] = entry(chunk * WG + lane);
  workgroupBarrier();
  if (lane == 0u) {
    y[0] = chunk * WG + walk(WG);
    y[1] = largest[1];
  }
}

/// The element i as a chunk of its own.
fn entry(i: u32) -> vec4u {
  if (i >= params.count) {
    return vec4u();
  }
  let key = order(logits[i]);
  let threshold = state[PREFIX].x;
  return vec4u(select(vec2u(), weights[i], key > threshold), u32(key == threshold), 0u);
}

/// The first of the entries at which the sum exceeds the drawn one.
fn walk(length: u32) -> u32 {
  let drawn = high_product(state[TOTAL], vec2u(uniform_number[0], uniform_number[1]));
  var at = 0u;
  for (; at + 1u < length; at++) {
    let kept = min(entries[at].z, ties);
    let next = plus(plus(before, entries[at].xy), times(state[TIE], kept));
    if (less(drawn, next)) {
      break;
    }
    before = next;
    ties -= kept;
  }
  return at;
}
