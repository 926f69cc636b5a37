/** Base of every error this project raises on purpose: its message names what was expected, what came and what to do. */
export class DaybreakError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** A tensor has the wrong shape or dtype for an op. */
export class ShapeError extends DaybreakError {}
/** A kernel's source does not parse, does not compile, or disagrees with the dispatch that uses it. */
export class WgslError extends DaybreakError {}
/** The adapter lacks a feature or a limit that was asked for. */
export class CapabilityError extends DaybreakError {}
/** No adapter matches the request. */
export class NoDeviceError extends DaybreakError {}
/** The device went away while in use. */
export class DeviceLostError extends DaybreakError {}
/** Device or host memory does not suffice. */
export class OutOfMemoryError extends DaybreakError {}
/** A file of a model folder is missing, damaged or contradicts another one. */
export class CheckpointError extends DaybreakError {}
/** A picture cannot be read or has no valid size. */
export class ImageError extends DaybreakError {}
/** A prompt cannot be turned into tokens, or does not fit. */
export class PromptError extends DaybreakError {}
/** A result is infinite or no number: a value passed what its type holds, or a weight is damaged. */
export class NotFiniteError extends DaybreakError {}
/** A command line argument is unknown, missing or out of range. */
export class UsageError extends DaybreakError {}
