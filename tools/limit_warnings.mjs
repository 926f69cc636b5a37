/** What Dawn writes each time it looks for adapters, about limits that nobody asked for; it means nothing. */
export const LIMIT_WARNING =
  /^Warning: maxDynamic(Uniform|Storage)BuffersPerPipelineLayout artificially reduced from \d+ to \d+ to fit dynamic offset allocation limit\.\n/gm;

const BEGINNING = 'Warning: maxDynamic';

/** Shows text as it comes from a stream, save these warnings; only a line that may become one is held until its end. */
export function withoutLimitWarnings(stream, show) {
  let held = '';
  let inLine = false; // whether the beginning of this line has been shown
  stream.on('data', (text) => {
    const lines = (held + text).split(/(?<=\n)/);
    held = '';
    const shown = lines.filter((line) => {
      const begins = !inLine;
      if (begins && !line.endsWith('\n') && mayWarn(line)) held = line;
      if (held || (begins && line.search(LIMIT_WARNING) === 0)) return false;
      inLine = !line.endsWith('\n');
      return true;
    });
    show(shown.join(''));
  });
  stream.on('close', () => show(held));
}

function mayWarn(beginning) {
  return beginning.startsWith(BEGINNING) || BEGINNING.startsWith(beginning);
}
