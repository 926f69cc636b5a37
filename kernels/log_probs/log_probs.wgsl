// lse = log sum_i exp(x_i); ids[0] = choice, ids[j] = the j-th likeliest i (the lowest of equals first), values[j] = x[ids[j]] - lse
// x [count] f32 read; choice [2] u32 read, its first; ids [1 + MOST] u32 written up to index top, values [1 + MOST] f32 likewise
// Grid: one workgroup. Workgroup memory: WG * 8 bytes. One pass over x for the largest, one for the sum, one per likeliest.
// Source: own.
const WG: u32 = 256u;
const LOWEST: f32 = -3.4028234e38f;
struct Params {
  count: u32,
  top: u32,
}
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> choice: array<u32>;
@group(0) @binding(2) var<storage, read_write> ids: array<u32>;
@group(0) @binding(3) var<storage, read_write> values: array<f32>;
@group(0) @binding(31) var<uniform> params: Params;
var<workgroup> best: array<f32, WG>;
var<workgroup> places: array<u32, WG>;

/// The largest of the elements that come behind (value, place) in order of likelihood, and where it stands; the same in all lanes.
fn next(lane: u32, value: f32, place: u32) -> vec2u {
  var largest = LOWEST;
  var at = params.count;
  for (var i = lane; i < params.count; i += WG) {
    let v = x[i];
    let behind = v < value || (v == value && i > place);
    if (behind && (v > largest || at == params.count)) {
      largest = v;
      at = i;
    }
  }
  workgroupBarrier();
  best[lane] = largest;
  places[lane] = at;
  for (var step = WG / 2u; step > 0u; step /= 2u) {
    workgroupBarrier();
    if (lane < step) {
      let other = best[lane + step];
      let other_place = places[lane + step];
      let none = places[lane] == params.count;
      let better = other > best[lane] || (other == best[lane] && other_place < places[lane]);
      if (other_place < params.count && (none || better)) {
        best[lane] = other;
        places[lane] = other_place;
      }
    }
  }
  workgroupBarrier();
  return vec2u(bitcast<u32>(best[0]), places[0]);
}

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) lane: u32) {
  var found = next(lane, -LOWEST, 0u);
  let top = bitcast<f32>(found.x);
  var sum = 0.0;
  for (var i = lane; i < params.count; i += WG) {
    sum += exp(x[i] - top);
  }
  workgroupBarrier();
  best[lane] = sum;
  for (var step = WG / 2u; step > 0u; step /= 2u) {
    workgroupBarrier();
    if (lane < step) {
      best[lane] += best[lane + step];
    }
  }
  workgroupBarrier();
  let shift = top + log(best[0]);
  if (lane == 0u) {
    ids[0] = choice[0];
    values[0] = x[choice[0]] - shift;
  }
  for (var j = 1u; j <= params.top; j++) {
    if (lane == 0u) {
      ids[j] = found.y;
      values[j] = bitcast<f32>(found.x) - shift;
    }
    if (j < params.top) {
      found = next(lane, bitcast<f32>(found.x), found.y);
    }
  }
}
