import { PromptError } from '../runtime/index.ts';

/** The id that stands for a picture among a prompt's token ids. */
export const IMAGE_ID = -200;

/**
 * Replaces the i-th IMAGE_ID by the positions of the i-th picture: `vocab`, `vocab + 1`, ... counted through all
 * pictures, `patches[i]` of them. Throws PromptError for an id outside the vocabulary, or where marks and pictures differ in number.
 */
export function expandImages(ids: Int32Array, patches: readonly number[], vocab: number): Uint32Array {
  const marks = ids.filter((id) => id === IMAGE_ID).length;
  if (marks !== patches.length) {
    throw new PromptError(
      `prompt: pictures: expected ${marks}, one per <image>, got ${patches.length}; give as many pictures as marks`,
    );
  }
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
