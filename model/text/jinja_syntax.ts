import { parse, tokenize } from '@huggingface/jinja';
import { SPACE } from './python_text.ts';
import { unsupported } from './python_values.ts';

/** A node of a template's syntax tree, of the kind that `type` names. */
// biome-ignore lint/suspicious/noExplicitAny: the package's own types do not resolve in an ES module
export type Node = { type: string } & Record<string, any>;

interface Token {
  type: string;
  value: string;
}

const LEADING_SPACE = new RegExp(`^${SPACE}+`);
const TRAILING_SPACE = new RegExp(`${SPACE}+$`);
const ONLY_SPACE = new RegExp(`^${SPACE}+$`);
const GENERATION = /\{%[-+]?\s*(end)?generation/;

/**
 * The statements of a template. The package's lexer sees one tag at a time: which white space beside tags is text, as
 * trim_blocks and lstrip_blocks have it, is decided here, for it changes string literals and takes along what is text.
 */
export function parseTemplate(source: string): Node[] {
  const tokens: Token[] = [];
  const text = source.replace(/\r\n?/g, '\n').replace(/\n$/, '');
  let at = 0;
  for (const opening of openings(text, () => at)) {
    const [mark, kind, sign] = opening as unknown as [string, string, string];
    const before = textBefore(text, at, opening.index, kind, sign);
    if (before !== '') tokens.push({ type: 'Text', value: before });
    const start = opening.index + mark.length;
    const { end, closing } = kind === '#' ? commentEnd(text, start) : tagEnd(text, start, kind);
    if (kind !== '#') tokens.push(...tagTokens(text.slice(start, end), kind));
    at = end + closing.length;
    if (closing.startsWith('-')) at += LEADING_SPACE.exec(text.slice(at))?.[0].length ?? 0;
    else if (kind !== '{' && !closing.startsWith('+') && text[at] === '\n') at++;
  }
  if (at < text.length) tokens.push({ type: 'Text', value: text.slice(at) });
  return (parse(tokens as never) as unknown as Node).body;
}

/** The marks that open a tag, each from where the one before ended. */
function* openings(text: string, at: () => number): Generator<RegExpExecArray> {
  const pattern = /\{([{%#])([-+]?)/g;
  for (;;) {
    pattern.lastIndex = at();
    const opening = pattern.exec(text);
    if (!opening) return;
    yield opening;
  }
}

/** The text before a tag: without white space before a minus, and without an indentation before a statement or comment. */
function textBefore(text: string, start: number, end: number, kind: string, sign: string): string {
  const before = text.slice(start, end);
  if (sign === '-') return stripEnd(before);
  if (sign === '+' || kind === '{') return before;
  const line = before.lastIndexOf('\n') + 1;
  const isLineStart = line > 0 || start === 0 || text[start - 1] === '\n';
  return isLineStart && ONLY_SPACE.test(before.slice(line)) ? before.slice(0, line) : before;
}

/** Without white space at the end; in time that grows with its length only. */
function stripEnd(text: string): string {
  const kept = text.trimEnd();
  return kept + text.slice(kept.length).replace(TRAILING_SPACE, '');
}

function commentEnd(text: string, start: number): { end: number; closing: string } {
  const pattern = /[-+]?#\}/g;
  pattern.lastIndex = start;
  const closing = pattern.exec(text);
  if (!closing) throw new Error('a comment without its end');
  return { end: closing.index, closing: closing[0] };
}

/** Where a tag closes: outside of brackets and string literals. */
function tagEnd(text: string, start: number, kind: string): { end: number; closing: string } {
  const closing = kind === '{' ? /-?\}\}/y : /[-+]?%\}/y;
  const literal = /'[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*"/sy;
  let depth = 0;
  for (let i = start; i < text.length; i++) {
    const char = text[i]!;
    closing.lastIndex = i;
    const found = depth === 0 ? closing.exec(text) : null;
    if (found) return { end: i, closing: found[0] };
    if ('([{'.includes(char)) depth++;
    if (')]}'.includes(char)) depth--;
    if (char !== '"' && char !== "'") continue;
    literal.lastIndex = i;
    i += (literal.exec(text)?.[0].length ?? 1) - 1;
  }
  throw new Error('a tag without its end');
}

/** The tokens of one tag; transformers' generation block is a call, whose body has variables of its own. */
function tagTokens(content: string, kind: string): Token[] {
  if (GENERATION.test(content)) unsupported('a generation tag in a string');
  if (kind === '{') return checkComparisons(tokenize(`{{ ${content} }}`));
  const blocks: Record<string, string> = { generation: 'call __generation()', endgeneration: 'endcall' };
  return checkComparisons(tokenize(`{% ${blocks[content.trim()] ?? content} %}`));
}

/** Refuses comparisons in a chain, which the parser would take for a comparison of what the first one yields. */
function checkComparisons(tokens: Token[]): Token[] {
  const compared = [false];
  for (const { type, value } of tokens) {
    const top = compared.length - 1;
    if (/^Open(Paren|Square|Curly)/.test(type)) compared.push(false);
    else if (/^Close(Paren|Square|Curly)/.test(type)) compared.length = Math.max(top, 1);
    else if (type === 'ComparisonBinaryOperator' || (type === 'Identifier' && value === 'in')) {
      if (compared[top]) unsupported('a chain of comparisons');
      compared[top] = true;
    } else if (/^(Comma|Colon|Equals)$/.test(type) || (type === 'Identifier' && /^(and|or|if|else)$/.test(value))) {
      compared[top] = false;
    }
  }
  return tokens;
}
