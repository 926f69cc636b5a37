// Starts a program of this checkout, `node tools/start.mjs [--import MODULE] PROGRAM [ARGUMENT...]`.
// Plain JavaScript: in a folder with a ? in its name, tsx cannot translate anything.
import { runFiltered } from './run_filtered.mjs';

if (import.meta.url.includes('%3F')) {
  const folder = decodeURIComponent(new URL('..', import.meta.url).pathname);
  console.error(`error: checkout: expected a path without ?, got ${folder}; rename the folder`);
  process.exit(2);
}

runFiltered(['--import', import.meta.resolve('tsx'), ...process.argv.slice(2)]);
