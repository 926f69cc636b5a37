export { orAborted } from './abort.ts';
export { type AdapterChoice, type AdapterEntry, chooseAdapter } from './adapter.ts';
export { cacheFolder } from './cache_folder.ts';
export type { Device, DeviceInfo, DeviceTensor } from './device.ts';
export { type BufferInUse, DryRunDevice } from './dry_run.ts';
export * from './dtype.ts';
export * from './errors.ts';
export { type Cost, type Decision, type Dispatch, type DispatchStep, Graph, type GraphOptions } from './graph.ts';
export {
  canRun,
  type Feature,
  type ForcedVariants,
  type Grid,
  type Kernel,
  linearGrid,
  loadKernel,
  type MatrixUnit,
  needsOf,
  type Variant,
  variant,
} from './kernel.ts';
export { Owned } from './memory.ts';
export { Pace, type PieceOptions, runInPieces } from './pieces.ts';
export { type MemoryReport, Plan, type PlanOptions } from './plan.ts';
export type { HostSpan, ProfileRow } from './recorder.ts';
export * from './scalar.ts';
export * from './shape.ts';
export * from './tensor.ts';
export { gpuClock, type Recording, Timeline } from './timeline.ts';
export { type DeviceOptions, listAdapters, openDevice } from './webgpu_device.ts';
export { type Constants, reflect, specialise } from './wgsl.ts';
