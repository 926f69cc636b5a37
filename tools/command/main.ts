import { CommanderError } from 'commander';
import { watchOutput } from '../../bench/report.ts';
import { DaybreakError, PromptError, UsageError } from '../../runtime/errors.ts';
import { commands, DONE, FAILED, USAGE } from './commands.ts';
import { INTERRUPTED } from './interrupt.ts';
import { say, write } from './terminal.ts';

const told = { code: DONE, verbose: Boolean(process.env.DAYBREAK_DEBUG) };

watchOutput(FAILED);
await commands(told)
  .parseAsync()
  .catch((error) => {
    told.code = error instanceof CommanderError ? (error.exitCode === 0 ? DONE : USAGE) : explain(error);
  });
process.exitCode = told.code;
if (told.code === INTERRUPTED) process.exit(); // what was begun is not waited for

/** Tells an error in one sentence; returns the exit code. */
function explain(error: Error): number {
  const expected = error instanceof DaybreakError;
  const advice = told.verbose ? '' : '; DAYBREAK_DEBUG=1 shows where';
  write(process.stderr, 'error: ', 'red');
  say(expected ? error.message : `${error.message ?? error}; this is a fault of the program${advice}`);
  if (told.verbose) say(`${error.stack}`);
  return error instanceof UsageError || error instanceof PromptError ? USAGE : FAILED;
}
