export { ChatTemplate, type Message, type Mode, splitAnswer } from './chat.ts';
export { DEFAULT_FORMATS, expectedTensors, loadConfig, type ModelConfig, type StoredFormats } from './config.ts';
export {
  type Answer,
  answerCapacity,
  type DecodedToken,
  type DecodeOptions,
  decode,
  type GenerateOptions,
  generate,
} from './generate.ts';
export { type Patches, processImage, type RgbImage } from './image.ts';
export { assertFits, type MemoryPlan, type MemoryRow, planMemory, type Workload } from './memory_plan.ts';
export { type ImageFeatures, joinFeatures, type LoadOptions, Phi4Vision } from './phi4_vision.ts';
export { Processor, type Prompt, type PromptOptions } from './processor.ts';
export { checkLength, encodePrompt, expandImages, IMAGE_ID } from './prompt.ts';
export { type QuantizeOptions, quantizeCheckpoint } from './quantize.ts';
export type { TensorReport } from './quantize_folder.ts';
export { quantizeOnDevice } from './quantize_on_device.ts';
export { readImage } from './read_image.ts';
export { Checkpoint, SafetensorsFile, type TensorSource } from './safetensors.ts';
export { checkSampling, sampleHost } from './sampler.ts';
export type { Session, SessionOptions } from './session.ts';
export { formatOf, isQuantized, partNames } from './stored_tensors.ts';
export { type SynthesizeOptions, synthesizeCheckpoint } from './synthesize.ts';
export { openSynthetic, type SyntheticFormat, type SyntheticModel, SyntheticSource, shapeFolder } from './synthetic.ts';
export type { Taps } from './taps.ts';
export { Tokenizer, type TokenStream } from './tokenizer.ts';
export { readTokenizerFile } from './tokenizer_file.ts';
