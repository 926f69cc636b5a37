// Shared by the libraries that norm x as it is read: RMSNorm(x)_i = norm_i x_i / sqrt(mean(x^2) + EPS).
// norm [inner] f32 read
const EPS: f32 = 1e-5f;
@group(0) @binding(7) var<storage, read> norm: array<vec4<f32>>;

/// What each element of a row with this sum of squares is multiplied by; NaN where the sum is not finite.
fn inverse_root(squares: f32, cols: u32) -> f32 {
  let factor = inverseSqrt(squares / f32(cols) + EPS);
  return bitcast<f32>(select(bitcast<u32>(factor), 0x7fc00000u, (bitcast<u32>(squares) & 0x7f800000u) == 0x7f800000u));
}
