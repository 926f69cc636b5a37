import { PromptError } from '../../runtime/index.ts';
import type { ModelConfig } from '../checkpoint/config.ts';
import type { Tokenizer } from './tokenizer.ts';

/** The id that stands for a picture among a prompt's token ids. */
export const IMAGE_ID = -200;
/** Where a picture belongs; a backslash before it makes it the text <image>. */
const IMAGE_MARK = /(?<!\\)<image>/;
const ESCAPED_MARK = /\\<image>/g;

/** How many places for pictures a text has. */
export function countImageMarks(text: string): number {
  return text.split(IMAGE_MARK).length - 1;
}

/**
 * The ids of a rendered prompt, IMAGE_ID for each <image> in it: the texts between are encoded each on its own, and
 * `\<image>` in them is the text <image>.
 * PromptError where it is empty, or has not as many marks as there are pictures.
 */
export function encodePrompt(tokenizer: Tokenizer, rendered: string, imageCount: number): Int32Array {
  if (rendered === '') throw new PromptError('prompt: expected text or a picture, got neither; ask something');
  const [first, ...others] = rendered.split(IMAGE_MARK).map((text) => text.replace(ESCAPED_MARK, '<image>'));
  checkMarks(others.length, imageCount);
  const ids = others.map((text) => [IMAGE_ID, ...tokenizer.encode(text)]);
  return Int32Array.from([tokenizer.encode(first!), ...ids].flat());
}

/**
 * Refuses a prompt of more positions than `context` (by default the config's own limit), and a context that is no
 * integer or more than the model's maxPositions, with a PromptError.
 */
export function checkLength(promptPositions: number, context: number | undefined, config: ModelConfig): void {
  const { maxPositions } = config.decoder;
  const limit = context === undefined ? config.contextLimit : context;
  if (!(Number.isInteger(limit) && limit <= maxPositions)) {
    throw new PromptError(
      `context: expected at most ${maxPositions} positions, got ${limit}; ask for a whole number up to that`,
    );
  }
  if (promptPositions > limit) {
    throw new PromptError(
      `prompt: expected at most ${limit} positions, got ${promptPositions}; shorten it, give fewer pictures or allow a longer context (at most ${maxPositions})`,
    );
  }
}

/**
 * Replaces the i-th IMAGE_ID by the positions of the i-th picture: `vocab`, `vocab + 1`, ... counted through all
 * pictures, `patches[i]` of them. Throws PromptError for an id outside the vocabulary, or where marks and pictures differ in number.
 */
export function expandImages(ids: Int32Array, patches: readonly number[], vocab: number): Uint32Array {
  const marks = ids.filter((id) => id === IMAGE_ID).length;
  checkMarks(marks, patches.length);
  const expanded: number[] = [];
  let picture = 0;
  let row = 0;
  for (const id of ids) {
    if (id === IMAGE_ID) {
      for (let i = 0; i < patches[picture]!; i++) expanded.push(vocab + row++);
      picture++;
    } else if (id < 0 || id >= vocab) {
      throw new PromptError(`prompt: ids: expected 0 to ${vocab - 1}, got ${id}; is the tokenizer of this model?`);
    } else expanded.push(id);
  }
  return Uint32Array.from(expanded);
}

function checkMarks(marks: number, pictures: number): void {
  if (marks === pictures) return;
  throw new PromptError(
    `prompt: pictures: expected ${marks}, one per <image>, got ${pictures}; give as many pictures as marks, and write \\<image> for the text <image>`,
  );
}
