import { type HostTensor, narrow } from '../../runtime/index.ts';
import type { OnnxGraph, OnnxNode, OnnxShape, OnnxTensor, OnnxType } from './onnx.ts';

/** ONNX operators that compute what an op of ours does from the same inputs. */
export interface Counterpart {
  /** The operators, joined by +. */
  name: string;
  graph: OnnxGraph;
  /** What each run reads beside the graph's constants. */
  feeds: Record<string, OnnxTensor>;
  /** Outputs that are written into an input's memory. */
  inPlace: Record<string, string>;
  /** The first output in the order of our result. */
  arrange(y: Float32Array): Float32Array;
}

/** The inputs that a spec made for a case, by name. */
export type Inputs = Record<string, HostTensor>;

/** The element types that both sides compute in. */
export type Float = 'f32' | 'f16';

/** Their names in ONNX. */
export const TYPES = { f32: 'float32', f16: 'float16' } as const;

/** y = x w^T of one or two blocks of rows of w; a model holds w transposed, as exporters write it. */
export function matMul({ x, w, rest }: Inputs): Counterpart[] {
  const [rows, inner] = x!.shape as [number, number];
  const blocks = rest ? [w!, rest] : [w!];
  const outs = blocks.reduce((sum, { shape }) => sum + shape[0]!, 0);
  const data = w!.dtype === 'f32' ? new Float32Array(inner * outs) : new Uint16Array(inner * outs);
  let column = 0;
  for (const { shape, data: block } of blocks) {
    for (let at = 0, n = 0; n < shape[0]!; n++, column++) {
      for (let k = 0; k < inner; k++, at++) data[k * outs + column] = block[at]!;
    }
  }
  const constants = { w: { type: TYPES[w!.dtype as Float], dims: [inner, outs], data } };
  const nodes = [{ op: 'MatMul', inputs: ['x', 'w'], outputs: ['y'] }];
  return [counterpart({ nodes, feeds: { x: tensor(x!) }, constants, dims: [rows, outs] })];
}

/** y = w x / sqrt(mean(x^2) + eps). */
export function rmsNorm({ x, w }: Inputs): Counterpart[] {
  const attributes = { axis: -1, epsilon: { float: 1e-5 }, stash_type: 1 };
  const nodes = [{ op: 'SimplifiedLayerNormalization', inputs: ['x', 'w'], outputs: ['y'], attributes }];
  return [counterpart({ nodes, feeds: { x: tensor(x!) }, constants: { w: tensor(w!) } })];
}

/** y = w (x - mean(x)) / sqrt(var(x) + eps) + b. */
export function layerNorm({ x, w, b }: Inputs): Counterpart[] {
  const attributes = { axis: -1, epsilon: { float: 1e-6 } };
  const nodes = [{ op: 'LayerNormalization', inputs: ['x', 'w', 'b'], outputs: ['y'], attributes }];
  return [counterpart({ nodes, feeds: { x: tensor(x!) }, constants: { w: tensor(w!), b: tensor(b!) } })];
}

/** Rotation of x [tokens, heads * headDim] from position 0 on. */
export function rotaryEmbedding({ x, table }: Inputs, headDim: number): Counterpart[] {
  const [tokens, width] = x!.shape as [number, number];
  const half = headDim / 2;
  const part = (offset: number) =>
    floats(
      x!.dtype as Float,
      [tokens, half],
      Float32Array.from(
        { length: tokens * half },
        (_, i) => table!.data[Math.floor(i / half) * headDim + offset + (i % half)]!,
      ),
    );
  const positions = { type: 'int64', dims: [1], data: BigInt64Array.of(0n) } as const;
  const attributes = { interleaved: 1, num_heads: width / headDim };
  const inputs = ['x', 'positions', 'cos', 'sin'];
  const nodes = [{ op: 'RotaryEmbedding', domain: 'com.microsoft', inputs, outputs: ['y'], attributes } as const];
  const feeds = { x: { ...tensor(x!), dims: [1, tokens, width] } };
  return [counterpart({ nodes, feeds, constants: { positions, cos: part(0), sin: part(half) } })];
}

/** Rows of a table. */
export function gather({ ids, block0 }: Inputs): Counterpart[] {
  const rows = { type: 'int64', dims: ids!.shape, data: BigInt64Array.from(ids!.data, BigInt) } as const;
  const nodes = [{ op: 'Gather', inputs: ['table', 'ids'], outputs: ['y'] }];
  const dims = [ids!.shape[0]!, block0!.shape[1]!];
  return [counterpart({ nodes, feeds: { table: tensor(block0!) }, constants: { ids: rows }, dims })];
}

/** The index of the largest element. */
export function argMax({ x }: Inputs): Counterpart[] {
  const nodes = [{ op: 'ArgMax', inputs: ['x'], outputs: ['y'], attributes: { axis: -1, keepdims: 0 } }];
  return [counterpart({ nodes, feeds: { x: tensor(x!) }, dims: [1], type: 'int64' })];
}

/** What a counterpart is made of; its output y has the first feed's type and shape unless others are given. */
interface Parts {
  nodes: readonly OnnxNode[];
  feeds: Record<string, OnnxTensor>;
  constants?: OnnxGraph['constants'];
  type?: OnnxType;
  dims?: readonly number[];
}

/** A counterpart whose graph reads the feeds and gives y, in the order of our result. */
export function counterpart({ nodes, feeds, constants = {}, ...output }: Parts): Counterpart {
  const shape = ({ type, dims }: OnnxTensor): OnnxShape => ({ type, dims });
  const inputs = Object.fromEntries(Object.entries(feeds).map(([name, value]) => [name, shape(value)]));
  const graph = { nodes, constants, inputs, outputs: { y: { ...shape(Object.values(feeds)[0]!), ...output } } };
  const name = nodes.map(({ op }) => op).join('+');
  return { name, graph, feeds, inPlace: {}, arrange: (y) => y };
}

/** Values as an ONNX tensor of a dtype. */
export function floats(dtype: Float, dims: readonly number[], values: Float32Array): OnnxTensor {
  return { type: TYPES[dtype], dims, data: narrow(dtype, values) as OnnxTensor['data'] };
}

function tensor({ shape, dtype, data }: HostTensor): OnnxTensor {
  return { type: TYPES[dtype as Float], dims: shape, data: data as OnnxTensor['data'] };
}
