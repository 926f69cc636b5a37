/** A number that may differ from run to run of a plan: an integer from 0 to `most`. */
export interface Scalar {
  readonly name: string;
  readonly most: number;
}

/** A number that is known, or a scalar. */
export type Amount = number | Scalar;

/** What an amount is in one run. */
export type ValueOf = (amount: Amount) => number;

/** The value of every amount where each scalar is as large as it may be. */
export const atMost: ValueOf = (amount) => (typeof amount === 'number' ? amount : amount.most);
