// a -> a * 1 + 1 on vec2, 4 operations; the step is in madd.wgsl, the loop in chains.wgsl
alias elem = f32;
alias Unit = vec2<elem>;

fn start(seed: u32) -> Unit {
  return Unit(elem(seed), elem(seed + 1u));
}

fn count(a: Unit) -> u32 {
  return u32(a.x) + u32(a.y);
}
