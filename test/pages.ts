import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** A fenced block: its language, the words behind it, and its text. */
export interface Block {
  readonly language: string;
  readonly words: readonly string[];
  readonly text: string;
  /** What the page shows as its output, right behind it. */
  readonly output: string | undefined;
}

/** A page of the project's documents. */
export interface Page {
  /** Its path in the checkout. */
  readonly file: string;
  readonly text: string;
  /** The same without its blocks. */
  readonly prose: string;
  readonly blocks: readonly Block[];
}

const FENCE = /^```(\w*)(.*)\n([\s\S]*?)^```$\n?/gm;

/** Every page of the checkout. */
export function readPages(): Page[] {
  const inside = ['bench', 'kernels', 'model', 'runtime', 'test', 'tools'].flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).map((name) => join(folder, name)),
  );
  const files = [...readdirSync(ROOT), ...inside].filter((name) => name.endsWith('.md')).sort();
  return files.map((file) => {
    const text = readFileSync(join(ROOT, file), 'utf8');
    return { file, text, prose: text.replace(FENCE, '\n'), blocks: blocksOf(text) };
  });
}

function blocksOf(text: string): Block[] {
  const matches = [...text.matchAll(FENCE)];
  return matches.map(([whole, language, words, body], i) => {
    const next = matches[i + 1];
    const shown = next?.[1] === 'text' && next.index === matches[i]!.index + whole.length;
    return {
      language: language!,
      words: words!.trim().split(/\s+/).filter(Boolean),
      text: body!,
      output: shown ? next[3] : undefined,
    };
  });
}

/** Writes the blocks of a page that are files, each under its name, as a reader saves them. */
export function saveFiles({ blocks }: Page, folder: string): void {
  for (const { language, words, text } of blocks)
    if (language !== 'sh' && words[0]) writeFileSync(join(folder, words[0]), text);
}

/** The commands of a block of shell, without comments, variables set before them, and what runs them elsewhere. */
export function commandsOf({ text }: Block): string[] {
  const lines = text.replaceAll('\\\n', ' ').split('\n');
  const commands = lines.flatMap((line) => line.replace(/(^|\s+)#.*$/, '').split(/ && |; /));
  return commands
    .map((command) => command.replace(/^((\s*[A-Z_]+=(\$\([^)]*\)|\S*)|\.ci\/mesa26)\s+)+/, '').trim())
    .filter(Boolean);
}

/** The anchors that headings of a page have. */
export function anchorsOf({ prose }: Page): string[] {
  const headings = [...prose.matchAll(/^#+ (.+)$/gm)].map(([, heading]) => heading!.toLowerCase());
  return headings.map((heading) => heading.replace(/[^\w\- ]/g, '').replaceAll(' ', '-'));
}
