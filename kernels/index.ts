export { advance, type DecodeState } from './advance/advance.ts';
export { argmax } from './argmax/argmax.ts';
export { cast } from './cast/cast.ts';
export { type EmbedTable, embed } from './embed/embed.ts';
export { kvAppend } from './kv_append/kv_append.ts';
export { layerNorm } from './layer_norm/layer_norm.ts';
export { resizePosition } from './resize_position/resize_position.ts';
export { rmsNorm } from './rms_norm/rms_norm.ts';
export { type RopeOptions, rope, ropeTable } from './rope/rope.ts';
