// Shared by kernels that compare f32 by their bits.

const EXPONENT: u32 = 0x7f800000u; // all of these bits: an infinity or NaN, which comparisons need not tell

/// An integer that orders as the f32 with these bits does; both zeros are one.
fn order(bits: u32) -> u32 {
  if (bits == 0x80000000u) {
    return 0x80000000u;
  }
  return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}
