import * as assert from 'uvu/assert';

/** What a promise is rejected with; fails where it is not. */
export async function rejection(promise: Promise<unknown>): Promise<Error> {
  const outcome = await promise.then(
    (value) => ({ value }),
    (error: Error) => ({ error }),
  );
  assert.ok('error' in outcome, `expected a rejection, got ${'value' in outcome && outcome.value}`);
  return (outcome as { error: Error }).error;
}

/** Expects a promise to be rejected with an error of a kind whose message matches all patterns. */
export async function rejects(
  promise: Promise<unknown>,
  kind: new (...args: never[]) => Error,
  ...patterns: RegExp[]
): Promise<void> {
  const error = await rejection(promise);
  assert.instance(error, kind, String(error));
  for (const pattern of patterns) assert.match(error.message, pattern);
}
