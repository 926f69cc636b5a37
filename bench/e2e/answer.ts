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
  tokens: readonly number[],
): Answer {
  const turns = tokenizer.decode(ids.filter((id) => id >= 0)).split('<|im_end|>');
  const question = turns.at(-2)?.split('<|im_sep|>').at(-1) ?? '';
  const end = tokens.indexOf(tokenizer.idOf('<|im_end|>') ?? -1);
  const text = tokenizer.decode(end < 0 ? tokens : tokens.slice(0, end), { skipSpecial: true });
  return { pictures: images.map((index) => basename(picture(index))), question: question.trim(), text: text.trim() };
}

/** An answer in one line. */
export function showAnswer({ pictures, question, text }: Answer): string {
  const asked = question ? [JSON.stringify(short(question))] : [];
  return `  ${[...pictures, ...asked].join(' ')} -> ${JSON.stringify(short(text))}`;
}

function short(text: string): string {
  return text.length > SHOWN ? `${text.slice(0, SHOWN)}...` : text;
}
