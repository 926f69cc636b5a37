// How a Unit of four starts and counts, appended behind a kernel that names it
fn start(seed: u32) -> Unit {
  return Unit(vec4u(seed, seed + 1u, seed + 2u, seed + 3u));
}

fn count(a: Unit) -> u32 {
  return u32(a.x) + u32(a.y) + u32(a.z) + u32(a.w);
}
