// Shared by the kernels that rotate pairs of neighbours by angles of a position; they declare HEAD_DIM and table [capacity, HEAD_DIM]
// f32, cos then sin, as array<vec2<f32>>.

/// Columns i to i + 3 of a head (i % 4 == 0), rotated for a position.
fn rotated(position: u32, i: u32, v: vec4f) -> vec4f {
  let angles = (position * HEAD_DIM + i / 2u) / 2u;
  let cosine = table[angles];
  let sine = table[angles + HEAD_DIM / 4u];
  return v * cosine.xxyy + v.yxwz * vec4f(-sine.x, sine.x, -sine.y, sine.y);
}
