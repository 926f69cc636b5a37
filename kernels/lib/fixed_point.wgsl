// Shared by kernels that count exactly: unsigned 64-bit integers as vec2u(low, high).

fn plus(a: vec2u, b: vec2u) -> vec2u {
  let low = a.x + b.x;
  return vec2u(low, a.y + b.y + u32(low < a.x));
}

fn minus(a: vec2u, b: vec2u) -> vec2u {
  return vec2u(a.x - b.x, a.y - b.y - u32(a.x < b.x));
}

fn less(a: vec2u, b: vec2u) -> bool {
  return a.y < b.y || (a.y == b.y && a.x < b.x);
}

/// a << s for s < 64.
fn shift_left(a: vec2u, s: u32) -> vec2u {
  if (s >= 32u) {
    return vec2u(0u, a.x << (s - 32u));
  }
  return vec2u(a.x << s, (a.y << s) | ((a.x >> 1u) >> (31u - s)));
}

/// a >> s for s < 64.
fn shift_right(a: vec2u, s: u32) -> vec2u {
  if (s >= 32u) {
    return vec2u(a.y >> (s - 32u), 0u);
  }
  return vec2u((a.x >> s) | ((a.y << 1u) << (31u - s)), a.y >> s);
}

/// All 64 bits of a b.
fn product(a: u32, b: u32) -> vec2u {
  let x = vec2u(a & 0xffffu, a >> 16u);
  let y = vec2u(b & 0xffffu, b >> 16u);
  let low = x.x * y.x;
  let first = x.y * y.x + (low >> 16u);
  let second = x.x * y.y + (first & 0xffffu);
  return vec2u((second << 16u) | (low & 0xffffu), x.y * y.y + (first >> 16u) + (second >> 16u));
}

/// The upper 64 bits of a b: floor(a b / 2^64).
fn high_product(a: vec2u, b: vec2u) -> vec2u {
  let first = plus(product(a.x, b.y), vec2u(product(a.x, b.x).y, 0u));
  let second = plus(product(a.y, b.x), vec2u(first.x, 0u));
  return plus(product(a.y, b.y), plus(vec2u(first.y, 0u), vec2u(second.y, 0u)));
}
