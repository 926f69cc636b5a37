/**
 * Devices, tensors, kernels, graphs and plans; knows no op and no model.
 * @module daybreak/runtime
 */
export { orAborted } from './abort.ts';
export { type AdapterChoice, type AdapterEntry, chooseAdapter, type ListedUnit } from './adapter.ts';
export { cacheFolder, readCached, writeCached } from './cache_folder.ts';
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
  type KernelOptions,
  kernel,
  linearGrid,
  loadKernel,
  type MatrixTypes,
  type MatrixUnit,
  matrixUnit,
  needsOf,
  unitConstants,
  type Variant,
  variant,
  type WgslSource,
} from './kernel.ts';
export type { UnusableUnit } from './matrix_units.ts';
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
