import { basename } from 'node:path';
import type { Tokenizer } from '../../model/index.ts';
import type { ExpectedPrompt } from '../expected.ts';

/** Characters of a question or an answer that a line has. */
const SHOWN = 60;

/** What a prompt asks last, of which pictures, and what was answered. */
export interface Answer {
  pictures: readonly string[];
  question: string;
  text: string;
}

/** A prompt's last turn of a user in words, without the marks of the chat template, and the answer of some tokens. */
export function answerOf(
  tokenizer: Tokenizer,
  { ids, images }: ExpectedPrompt,
  picture: (index: number) => string,
  tokens: Iterable<number>,
): Answer {
  const turns = tokenizer.decode(ids.filter((id) => id >= 0)).split('<|im_end|>');
  const question = turns.at(-2)?.split('<|im_sep|>').at(-1) ?? '';
  const text = tokenizer.decode(tokens).split('<|im_end|>')[0]!;
  return { pictures: images.map((index) => basename(picture(index))), question: question.trim(), text: text.trim() };
}

/** An answer in one line. */
export function showAnswer({ pictures, question, text }: Answer): string {
  return `  ${[...pictures, JSON.stringify(short(question))].join(' ')} -> ${JSON.stringify(short(text))}`;
}

function short(text: string): string {
  return text.length > SHOWN ? `${text.slice(0, SHOWN)}...` : text;
}
