import { ShapeError } from './errors.ts';

/** Sizes of the dimensions, outermost first. */
export type Shape = readonly number[];

/** The number of elements of a shape. */
export function elements(shape: Shape): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** Whether two shapes are equal. */
export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((size, i) => size === b[i]);
}

/** A shape as text: [2, 3]. */
export function showShape(shape: Shape): string {
  return `[${shape.join(', ')}]`;
}

/** n / d rounded up to an integer. */
export function ceilDiv(n: number, d: number): number {
  return Math.ceil(n / d);
}

/** n rounded up to a multiple of d. */
export function roundUp(n: number, d: number): number {
  return ceilDiv(n, d) * d;
}

/** Throws a ShapeError `<op>: <what>: expected ..., got ...` unless the condition holds. */
export function expect(
  condition: boolean,
  op: string,
  what: string,
  expected: unknown,
  got: unknown,
  hint = '',
): asserts condition {
  if (!condition) throw new ShapeError(`${op}: ${what}: expected ${expected}, got ${got}${hint ? `; ${hint}` : ''}`);
}
