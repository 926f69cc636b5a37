export { rmsNorm } from './rms_norm/rms_norm.ts';
