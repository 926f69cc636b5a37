// y[i] = x[i]; every word once
// x [words] vec4 of u32 read; y [words] vec4 of u32 written
// Grid: one workgroup per WG lanes, so that lanes * LOADS * steps = words. Workgroup memory: none.
// Source: own. WG, LOADS, BLOCKED and x are in stream.wgsl.
@group(0) @binding(1) var<storage, read_write> y: array<vec4u>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let stride = select(params.lanes, WG, BLOCKED);
  var at = lane + group.x * select(WG, WG * LOADS * params.steps, BLOCKED);
  for (var i = 0u; i < params.steps; i++) {
    var words = array<vec4u, LOADS>();
    for (var j = 0u; j < LOADS; j++) {
      words[j] = x[at + j * stride];
    }
    for (var j = 0u; j < LOADS; j++) {
      y[at + j * stride] = words[j];
    }
    at += LOADS * stride;
  }
}
