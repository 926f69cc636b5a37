// a -> M a + 1 with a 4 x 4 matrix M that is the identity, 32 operations; the loop is in chains.wgsl
// Versions: lavapipe (Mesa 25.0, 2 cores) fuses multiply and add in products of matrices and nowhere else:
//   86 to 143 GFLOP/s here, 45 to 59 on scalars and vectors, whether written a * b + c or fma(a, b, c)
alias elem = f32;
alias Unit = vec4<elem>;
alias Factor = mat4x4<elem>;

fn factor(one: u32) -> Factor {
  let i = elem(one);
  let o = elem(one - 1u);
  return Factor(i, o, o, o, o, i, o, o, o, o, i, o, o, o, o, i);
}

fn step(a: Unit, by: Factor) -> Unit {
  return by * a + by[0].x;
}
