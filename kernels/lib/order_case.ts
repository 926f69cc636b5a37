/** An integer that orders as an f32 does, as lib/order.wgsl has it, both zeros being one; for specs and tests. */
export function orderOf(x: number): number {
  const word = new Uint32Array(Float32Array.of(x + 0).buffer)[0]!; // -0 becomes 0
  return word >= 2 ** 31 ? 2 ** 32 - 1 - word : 2 ** 31 + word;
}

/** An element of `largest` of logits(). */
export function orderOfFour(four: Float32Array): number {
  return four.every(Number.isFinite) ? Math.max(...[...four].map(orderOf)) : 2 ** 32 - 1;
}
