import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { specs } from '../kernels/specs.ts';
import { needsOf } from '../runtime/index.ts';

const README = fileURLToPath(new URL('../kernels/README.md', import.meta.url));
const [START, END] = ['<!-- catalogue -->', '<!-- /catalogue -->'];

/** The catalogue of ops as a Markdown table: name, formula, variants with the features that they need. */
export function catalogue(): string {
  const rows = specs.map(({ name, formula, variants, cases }) => {
    const shown = variants.map(({ name, kernel }) => {
      const file = name.split('/')[1]!;
      const needs = needsOf(kernel);
      return needs.length > 0 ? `${file} (${needs.join(', ')})` : file;
    });
    return `| ${name} | ${formula.replaceAll('|', '\\|')} | ${shown.join('; ')} | ${cases.length} |`;
  });
  return ['| op | formula | variants (features they need) | cases |', '|---|---|---|---|', ...rows].join('\n');
}

/** A README with the catalogue between its two marks. */
export function withCatalogue(text: string): string {
  const [before, after] = [text.indexOf(START), text.indexOf(END)];
  if (before < 0 || after < before) throw new Error(`${README}: expected ${START} and ${END}`);
  return `${text.slice(0, before)}${START}\n${catalogue()}\n${text.slice(after)}`;
}

const isMain = process.argv[1] === fileURLToPath(import.meta.url);
if (isMain) writeFileSync(README, withCatalogue(readFileSync(README, 'utf8')));
