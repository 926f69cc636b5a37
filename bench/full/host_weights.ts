import { dequantizeWeightsHost, isQuantized } from '../../kernels/index.ts';
import { formatOf, type ModelConfig, modernise, partNames, type TensorSource } from '../../model/index.ts';
import { BYTES, hostArray, widen } from '../../runtime/index.ts';

/** Rows of a weight of the official layout on the host, as the values that the device computes with. */
export class HostWeights {
  #source: TensorSource;
  #config: ModelConfig;

  constructor(source: TensorSource, config: ModelConfig) {
    this.#source = source;
    this.#config = config;
  }

  /** Whether gate_up_proj has its rows alternating; see model/checkpoint/config.ts. */
  get interleaved(): boolean {
    return this.#config.formats !== undefined;
  }

  /** A whole small tensor. */
  vector(name: string): Float32Array {
    const { dtype, data } = this.#source.read(name);
    return widen(dtype, data);
  }

  /** Row `row` of `name` [rows, inner]. */
  row(name: string, row: number, inner: number): Float32Array {
    const { formats } = this.#config;
    const format = formats && formatOf(name, formats);
    if (!isQuantized(format)) return widen(...this.#read(name, row));
    const names = partNames(name, format);
    const [, quants] = this.#read(names.quants, row);
    const [, scales] = this.#read(names.scales, row);
    const parts = { quants: quants as Uint32Array, scales: scales as Uint16Array };
    return dequantizeWeightsHost(parts, 1, inner, { format, group: formats!.group });
  }

  /** y[t][i] = sum_k x[t][k] name[rows[i]][k], in float64. */
  times(x: readonly Float64Array[], name: string, rows: Iterable<number>): Float64Array[] {
    const inner = x[0]!.length;
    const order = [...rows];
    const y = x.map(() => new Float64Array(order.length));
    order.forEach((row, i) => {
      const weights = this.row(name, row, inner);
      x.forEach((values, t) => {
        y[t]![i] = dot(values, weights);
      });
    });
    return y;
  }

  #read(name: string, row: number) {
    const info = this.#source.info(name);
    const length = info.shape.slice(1).reduce((a, b) => a * b, 1);
    const bytes = length * BYTES[info.dtype];
    const buffer = new ArrayBuffer(bytes);
    this.#source.readInto(info, row * bytes, new Uint8Array(buffer));
    modernise(info, new Uint8Array(buffer), this.#config.formats);
    return [info.dtype, hostArray(info.dtype, length, buffer)] as const;
  }
}

function dot(a: Float64Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}
