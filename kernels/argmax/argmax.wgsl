// y[p] = (the lowest i whose x[i] is the largest of the finite elements of part p, how many are not finite, order(x[i]))
// x [count] f32 read as bits, 4 elements at a time; y [parts, 3] u32 written
// part: elements of a part, a multiple of 4, fewer in the last
// Grid: one workgroup per part. Workgroup memory: WG * 16 bytes. Source: own.
const WG: u32 = 256u;
struct Params {
  count: u32,
  part: u32,
}
@group(0) @binding(0) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@group(0) @binding(31) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let first = group.x * params.part;
  let end = min(first + params.part, params.count);
  var own = NONE;
  for (var at = first + lane * 4u; at < end; at += WG * 4u) {
    let four = x[at / 4u];
    for (var i = 0u; i < 4u && at + i < end; i++) {
      own = join(own, element(four[i], at + i));
    }
  }
  let all = join_lanes(lane, own);
  if (lane == 0u) {
    y[3u * group.x] = all.x;
    y[3u * group.x + 1u] = all.y;
    y[3u * group.x + 2u] = all.z;
  }
}
