// Appended behind a kernel that names Unit, Factor and how to start, step and count a Unit.
// y[lane] = the sum, as integers, over CHAINS independent chains of what STEPS * params.rounds steps make of a start
// y [lanes] u32 written
// Grid: one workgroup per WG lanes. Workgroup memory: none.
// Source: own. params.one is 1: a number that the compiler cannot know, so that no step can be left out of the loop.
const WG: u32 = 128u;
const CHAINS: u32 = 8u;
const STEPS: u32 = 8u;
struct Params {
  rounds: u32,
  one: u32,
}
@group(0) @binding(0) var<storage, read_write> y: array<u32>;
@group(0) @binding(31) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let by = factor(params.one);
  let seed = lane % 4u;
  var a = start(seed);
  var b = start(seed + 4u);
  var c = start(seed + 8u);
  var d = start(seed + 12u);
  var e = start(seed + 16u);
  var f = start(seed + 20u);
  var g = start(seed + 24u);
  var h = start(seed + 28u);
  for (var i = 0u; i < params.rounds; i++) {
    for (var j = 0u; j < STEPS; j++) {
      a = step(a, by);
      b = step(b, by);
      if (CHAINS > 2u) {
        c = step(c, by);
        d = step(d, by);
      }
      if (CHAINS > 4u) {
        e = step(e, by);
        f = step(f, by);
        g = step(g, by);
        h = step(h, by);
      }
    }
  }
  y[group.x * WG + lane] = count(a) + count(b) + count(c) + count(d) + count(e) + count(f) + count(g) + count(h);
}
