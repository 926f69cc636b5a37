// What follows attention_merge.wgsl where rows stay as they are, which declares the other names.
// y [rows, heads, QUADS * 4] elem written
alias elem = f32;
@group(0) @binding(8) var<storage, read_write> y: array<vec4<elem>>;

/// Stores a quad of a head of a row, where the lane has one; called by all lanes.
fn finish(row: u32, head: u32, quad: u32, has_one: bool, value: vec4f) {
  if (has_one) {
    y[(row * params.heads + head) * QUADS + quad] = vec4<elem>(value);
  }
}
