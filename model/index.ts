export { ChatTemplate, type Message, type Mode, splitAnswer } from './chat.ts';
export { loadConfig, type ModelConfig } from './config.ts';
export {
  type Answer,
  type DecodedToken,
  type DecodeOptions,
  decode,
  type GenerateOptions,
  generate,
} from './generate.ts';
export { type Patches, processImage, type RgbImage } from './image.ts';
export { type ImageFeatures, joinFeatures, type LoadOptions, Phi4Vision } from './phi4_vision.ts';
export { Processor, type Prompt, type PromptOptions } from './processor.ts';
export { checkLength, encodePrompt, expandImages, IMAGE_ID } from './prompt.ts';
export { readImage } from './read_image.ts';
export { Checkpoint, SafetensorsFile } from './safetensors.ts';
export { checkSampling, sampleHost } from './sampler.ts';
export type { Session, SessionOptions } from './session.ts';
export { Tokenizer, type TokenStream } from './tokenizer.ts';
