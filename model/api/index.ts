/**
 * A model that answers: load() it, then generate() or chat().
 * @module daybreak
 */
export * from '../../runtime/errors.ts';
export { type Device, kernel, openDevice } from '../../runtime/index.ts';
export type { LogProb, Picture } from '../index.ts';
export { type Box, boxes, type Point } from './boxes.ts';
export type { Chat } from './chat.ts';
export type { AnswerOptions, Generation, Part, Result } from './generation.ts';
export { type LoadOptions, load } from './load.ts';
export type { ChatMessage, Content, ContentPart } from './messages.ts';
export type { GenerateOptions, ImageEmbedding, Model } from './model.ts';
export { type PictureOptions, type PictureSource, type RgbPicture, readPicture } from './picture.ts';
