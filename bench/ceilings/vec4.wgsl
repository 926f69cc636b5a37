// a -> a * 1 + 1 on vec4, 8 operations; the loop is in chains.wgsl
alias elem = f32;
alias Unit = vec4<elem>;
alias Factor = elem;

fn factor(one: u32) -> Factor {
  return elem(one);
}

fn start(seed: u32) -> Unit {
  return Unit(vec4u(seed, seed + 1u, seed + 2u, seed + 3u));
}

fn step(a: Unit, by: Factor) -> Unit {
  return a * by + by;
}

fn count(a: Unit) -> u32 {
  return u32(a.x) + u32(a.y) + u32(a.z) + u32(a.w);
}
