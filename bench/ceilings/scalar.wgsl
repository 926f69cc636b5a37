// a -> a * 1 + 1 on scalars, 2 operations; the step is in madd.wgsl, the loop in chains.wgsl
alias elem = f32;
alias Unit = elem;

fn start(seed: u32) -> Unit {
  return elem(seed);
}

fn count(a: Unit) -> u32 {
  return u32(a);
}
