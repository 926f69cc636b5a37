// a -> a * 1 + 1 on scalars, 2 operations; the loop is in chains.wgsl
alias elem = f32;
alias Unit = elem;
alias Factor = elem;

fn factor(one: u32) -> Factor {
  return elem(one);
}

fn start(seed: u32) -> Unit {
  return elem(seed);
}

fn step(a: Unit, by: Factor) -> Unit {
  return a * by + by;
}

fn count(a: Unit) -> u32 {
  return u32(a);
}
