import type { WriteStream } from 'node:tty';

/** Characters that move, erase, recolour or reorder what a terminal shows; all control characters but tab and line feed. */
const CONTROL = /(?![\t\n])[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu;

/** A text in which a terminal finds no command: each control character as its escape, as \u001b. */
export function printable(text: string): string {
  return text.replace(CONTROL, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

const STYLES = {
  faint: ['\x1b[2m', '\x1b[22m'],
  red: ['\x1b[31m', '\x1b[39m'],
} as const;

/** Writes a text: a terminal gets it printable, anything else as it is; in a style where colours are wanted. */
export function write(stream: NodeJS.WriteStream, text: string, style?: keyof typeof STYLES): void {
  const shown = stream.isTTY ? printable(text) : text;
  const [on, off] = style && wantsColour(stream) ? STYLES[style] : ['', ''];
  if (text !== '') stream.write(on + shown + off);
}

/** Writes a line to standard error, where all goes that is no answer. */
export function say(line: string): void {
  write(process.stderr, `${line}\n`);
}

/** As NO_COLOR says, else FORCE_COLOR, else on a terminal that can. */
export function wantsColour({ isTTY }: Pick<WriteStream, 'isTTY'>, env = process.env): boolean {
  if (env.NO_COLOR) return false;
  if (env.FORCE_COLOR !== undefined) return env.FORCE_COLOR !== '0' && env.FORCE_COLOR !== 'false';
  return isTTY === true && env.TERM !== 'dumb';
}
