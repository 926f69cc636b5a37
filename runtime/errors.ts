/** Base of every error this project raises on purpose: its message names what was expected, what came and what to do. */
export class DaybreakError extends Error {
  override name = 'DaybreakError'; // in words, here and below: a bundler may give classes other names
}

/** A tensor has the wrong shape or dtype for an op. */
export class ShapeError extends DaybreakError {
  override name = 'ShapeError';
}
/** A kernel's source does not parse, does not compile, or disagrees with the dispatch that uses it. */
export class WgslError extends DaybreakError {
  override name = 'WgslError';
}
/** The adapter lacks a feature or a limit that was asked for. */
export class CapabilityError extends DaybreakError {
  override name = 'CapabilityError';
}
/** No adapter matches the request. */
export class NoDeviceError extends DaybreakError {
  override name = 'NoDeviceError';
}
/** The device went away while in use. */
export class DeviceLostError extends DaybreakError {
  override name = 'DeviceLostError';
}
/** Device or host memory does not suffice. */
export class OutOfMemoryError extends DaybreakError {
  override name = 'OutOfMemoryError';
}
/** A file of a model folder is missing, damaged or contradicts another one. */
export class CheckpointError extends DaybreakError {
  override name = 'CheckpointError';
}
/** A picture cannot be read or has no valid size. */
export class ImageError extends DaybreakError {
  override name = 'ImageError';
}
/** A prompt cannot be turned into tokens, or does not fit. */
export class PromptError extends DaybreakError {
  override name = 'PromptError';
}
/** A result is infinite or no number: a value passed what its type holds, or a weight is damaged. */
export class NotFiniteError extends DaybreakError {
  override name = 'NotFiniteError';
}
/** A command line argument is unknown, missing or out of range. */
export class UsageError extends DaybreakError {
  override name = 'UsageError';
}
