/**
 * The parts below load() and generate(): checkpoints, pictures, prompts, sessions, quantisation.
 * @module daybreak/model
 */
export {
  DEFAULT_FORMATS,
  expectedTensors,
  loadConfig,
  type ModelConfig,
  type StoredFormats,
} from './checkpoint/config.ts';
export { Checkpoint, SafetensorsFile, type TensorSource } from './checkpoint/safetensors.ts';
export { formatOf, modernise, partNames } from './checkpoint/stored_tensors.ts';
export { type SynthesizeOptions, synthesizeCheckpoint } from './checkpoint/synthesize.ts';
export {
  openSynthetic,
  type SyntheticFormat,
  type SyntheticModel,
  SyntheticSource,
  shapeFolder,
} from './checkpoint/synthetic.ts';
export {
  type Answer,
  type AnswerPart,
  answerSteps,
  decode,
  type GenerateOptions,
  generate,
  generateParts,
} from './generate.ts';
export type { Picture } from './image/image_file.ts';
export { type Patches, processImage, type RgbImage } from './image/patches.ts';
export { type ReadOptions, readImage } from './image/read_image.ts';
export type { LogProb } from './log_probs.ts';
export { assertFits, type MemoryPlan, type MemoryRow, planMemory, type Workload } from './memory_plan.ts';
export { type ImageFeatures, type LoadOptions, Phi4Vision, PromptPicture, usualActivations } from './phi4_vision.ts';
export { Processor, type Prompt, type PromptOptions } from './processor.ts';
export type { PromptImage } from './prompt_images.ts';
export type { TensorReport } from './quantize/folder.ts';
export { quantizeOnDevice } from './quantize/on_device.ts';
export { type QuantizeOptions, quantizeCheckpoint } from './quantize/quantize.ts';
export { checkSampling, sampleHost } from './sampler.ts';
export type {
  DecodedToken,
  DecodeOptions,
  PrefillOptions,
  Session,
  SessionOptions,
} from './session.ts';
export type { Taps } from './taps.ts';
export { ChatTemplate, type Message, type Mode, splitAnswer } from './text/chat.ts';
export { checkLength, countImageMarks, encodePrompt, expandImages, IMAGE_ID } from './text/prompt.ts';
export { Tokenizer, type TokenStream } from './text/tokenizer.ts';
export { readTokenizerFile } from './text/tokenizer_file.ts';
