// Shared by the kernels that multiply on matrix units: eight neighbouring columns of w and x as f16, in one order. They
// declare the names used here.

/// Eight columns of w as f16, from part `part` of a word, in the order of `ordered`.
fn widen(p: vec4u, part: u32, scale: vec2<f16>) -> vec4u {
  if (FORMAT == BF16) {
    return vec4u(halves(p.x), halves(p.y), halves(p.z), halves(p.w));
  }
  if (FORMAT == Q4) {
    let q = p[part];
    let low = vec2u(q, q >> 8u) & vec2u(0x000f000fu);
    let high = vec2u(q, q >> 8u) & vec2u(0x00f000f0u);
    return vec4u(
      bitcast<u32>((bitcast<vec2<f16>>(low.x | 0x64006400u) - 1032.0h) * scale),
      bitcast<u32>((bitcast<vec2<f16>>(low.y | 0x64006400u) - 1032.0h) * scale),
      bitcast<u32>(fma(bitcast<vec2<f16>>(high.x | 0x64006400u), vec2<f16>(0.0625h), vec2<f16>(-72.0h)) * scale),
      bitcast<u32>(fma(bitcast<vec2<f16>>(high.y | 0x64006400u), vec2<f16>(0.0625h), vec2<f16>(-72.0h)) * scale),
    );
  }
  if (FORMAT == Q8) {
    let q = select(p.xy, p.zw, part == 1u) ^ vec2u(0x80808080u);
    let even = q & vec2u(0x00ff00ffu);
    let odd = (q >> vec2u(8u)) & vec2u(0x00ff00ffu);
    return vec4u(
      bitcast<u32>((bitcast<vec2<f16>>(even.x | 0x64006400u) - 1152.0h) * scale),
      bitcast<u32>((bitcast<vec2<f16>>(odd.x | 0x64006400u) - 1152.0h) * scale),
      bitcast<u32>((bitcast<vec2<f16>>(even.y | 0x64006400u) - 1152.0h) * scale),
      bitcast<u32>((bitcast<vec2<f16>>(odd.y | 0x64006400u) - 1152.0h) * scale),
    );
  }
  return p;
}

/// Two bf16 as f16.
fn halves(p: u32) -> u32 {
  return pack2x16float(vec2f(bitcast<f32>(p << 16u), bitcast<f32>(p & 0xffff0000u)));
}

/// Eight columns of x in the order in which widen leaves those of w: quants come in pairs two apart.
fn ordered(p: vec4u) -> vec4u {
  if (FORMAT < Q4) {
    return p;
  }
  let a = bitcast<vec4<f16>>(p.xy);
  let b = bitcast<vec4<f16>>(p.zw);
  return vec4u(bitcast<vec2u>(a.xzyw), bitcast<vec2u>(b.xzyw));
}
