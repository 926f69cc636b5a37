import { createContext, Script } from 'node:vm';

const context = createContext({});
const call = new Script('body()');

/** What `body` returns; `fail` makes the error of one that runs longer than `millis`, be it in a loop or a pattern. */
export function withinMillis<T>(millis: number, body: () => T, fail: () => Error): T {
  context.body = body;
  try {
    return call.runInContext(context, { timeout: millis });
  } catch (error) {
    throw (error as NodeJS.ErrnoException | null)?.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT' ? fail() : error;
  }
}
