// y = x + 1: as little as a dispatch can do that needs another's result
// x [1] u32 read; y [1] u32 written
// Grid: one workgroup of one lane. Workgroup memory: none.
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(1)
fn main() {
  y[0] = x[0] + 1u;
}
