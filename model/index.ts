export { loadConfig, type ModelConfig } from './config.ts';
export { type DecodedToken, type DecodeOptions, decode } from './generate.ts';
export { type Patches, processImage, type RgbImage } from './image.ts';
export { type ImageFeatures, joinFeatures, type LoadOptions, Phi4Vision } from './phi4_vision.ts';
export { readImage } from './png.ts';
export { expandImages, IMAGE_ID } from './prompt.ts';
export { Checkpoint, SafetensorsFile } from './safetensors.ts';
export type { Session } from './session.ts';
