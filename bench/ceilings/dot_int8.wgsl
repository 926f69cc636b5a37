// a -> dot(bytes of a, bytes of 1) + 1, which counts from -127 to 128 and over again; the loop is in chains.wgsl
// A step has 8 operations: 4 products and 4 sums.
alias Unit = i32;
alias Factor = u32;

fn factor(one: u32) -> Factor {
  return one;
}

fn start(seed: u32) -> Unit {
  return i32(seed);
}

fn step(a: Unit, by: Factor) -> Unit {
  return dot4I8Packed(bitcast<u32>(a), by) + i32(by);
}

fn count(a: Unit) -> u32 {
  return bitcast<u32>(a);
}
