// a -> a * 1 + 1 on vec2, 4 operations; the loop is in chains.wgsl
alias elem = f32;
alias Unit = vec2<elem>;
alias Factor = elem;

fn factor(one: u32) -> Factor {
  return elem(one);
}

fn start(seed: u32) -> Unit {
  return Unit(elem(seed), elem(seed + 1u));
}

fn step(a: Unit, by: Factor) -> Unit {
  return a * by + by;
}

fn count(a: Unit) -> u32 {
  return u32(a.x) + u32(a.y);
}
