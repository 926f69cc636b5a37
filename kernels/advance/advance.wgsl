// s = step: history[s] = choice; token = s < forced_count ? forced[s] : choice.x; step = s + 1; places.x = places.x + 1
// choice [2], forced [capacity], forced_count [1] u32 read; history [capacity, 2], token [1], step [1], places [2] u32 updated
// A step past the capacity leaves no history. Grid: one invocation. Workgroup memory: none. Source: own.
struct Params {
  capacity: u32,
}
@group(0) @binding(0) var<storage, read> choice: array<vec2<u32>>;
@group(0) @binding(1) var<storage, read> forced: array<u32>;
@group(0) @binding(2) var<storage, read> forced_count: array<u32>;
@group(0) @binding(3) var<storage, read_write> history: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read_write> token: array<u32>;
@group(0) @binding(5) var<storage, read_write> step: array<u32>;
@group(0) @binding(6) var<storage, read_write> places: array<u32>;
@group(0) @binding(31) var<uniform> params: Params;

@compute @workgroup_size(1)
fn main() {
  let s = step[0];
  var next = choice[0].x;
  if (s < params.capacity) {
    history[s] = choice[0];
    if (s < forced_count[0]) {
      next = forced[s];
    }
  }
  token[0] = next;
  step[0] = s + 1u;
  places[0] += 1u;
}
