// y = y + 1: as little as a dispatch can do that needs the one before
// y [1] u32 read and written
// Grid: one workgroup of one lane. Workgroup memory: none.
@group(0) @binding(0) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(1)
fn main() {
  y[0] += 1u;
}
