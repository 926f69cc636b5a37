// a -> a * 1 + 1, appended behind a kernel that names elem and Unit
alias Factor = elem;

fn factor(one: u32) -> Factor {
  return elem(one);
}

fn step(a: Unit, by: Factor) -> Unit {
  return a * by + by;
}
