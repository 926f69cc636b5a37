import { PromptError } from '../../runtime/index.ts';
import type { Message } from '../index.ts';
import type { PictureSource } from './picture.ts';

/** A piece of a message: text, or a picture as OpenAI's image_url or under its own name. */
export type ContentPart =
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'image'; readonly image: PictureSource }
  | { readonly type: 'image_url'; readonly image_url: { readonly url: PictureSource } };

/** What a message says: a text, or texts and pictures in order, each of them a line of its own where no white space parts them. */
export type Content = string | readonly ContentPart[];

/**
 * One turn of a conversation. What becomes of a system message is the template's choice: that of the published model has a system
 * text of its own and leaves the message out.
 */
export interface ChatMessage {
  readonly role: 'user' | 'assistant' | 'system';
  readonly content: Content;
}

const PICTURE = '<image>';

/** Messages with marks for pictures, and these in order; throws a PromptError for what is no part of a message. */
export function markPictures(messages: readonly ChatMessage[]): { messages: Message[]; pictures: PictureSource[] } {
  if (!Array.isArray(messages)) throw refuse('messages', 'an array of { role, content }', typeof messages);
  const pictures: PictureSource[] = [];
  const marked = messages.map((message, i) => {
    if (!message || typeof message !== 'object') throw refuse(`messages[${i}]`, '{ role, content }', typeof message);
    return { role: message.role, content: textOf(message.content, `messages[${i}].content`, pictures) };
  });
  return { messages: marked, pictures };
}

function textOf(content: Content, where: string, pictures: PictureSource[]): string {
  if (typeof content === 'string') return withoutMarks(content);
  if (!Array.isArray(content)) throw refuse(where, 'a string or an array of parts', typeof content);
  const pieces = (content as readonly ContentPart[]).map((part, i) => {
    if (part?.type === 'text' && typeof part.text === 'string') return withoutMarks(part.text);
    if (part?.type === 'image') pictures.push(part.image);
    else if (part?.type === 'image_url' && part.image_url) pictures.push(part.image_url.url);
    else throw refuse(`${where}[${i}]`, PARTS, `type ${JSON.stringify(part?.type)}`);
    return PICTURE;
  });
  return pieces.reduce((all, piece) => (/\S$/.test(all) && /^\S/.test(piece) ? `${all}\n${piece}` : all + piece), '');
}

const PARTS = "{ type: 'text', text }, { type: 'image', image } or { type: 'image_url', image_url: { url } }";

/** A text that holds no mark. */
function withoutMarks(text: string): string {
  return text.replaceAll(PICTURE, `\\${PICTURE}`);
}

function refuse(where: string, expected: string, got: string): PromptError {
  return new PromptError(`chat: ${where}: expected ${expected}, got ${got.slice(0, 80)}; write it so`);
}
