import type { Device } from '../../runtime/index.ts';
import { median } from '../measure.ts';
import { type ProgressBar, progressBar } from '../progress.ts';
import { digits, environment, type JsonLines, Table } from '../report.ts';
import { PACKAGE } from './install.ts';
import type { PeerRow } from './rows.ts';
import { ratio, type Side } from './side.ts';

/** Our side of a row: which variant ran, and its GPU time by timestamps where the adapter has them. */
export interface OurSide extends Side {
  variant: string;
  gpuMicros: number[];
}

const HEADER = `Inputs and outputs stay on the device on both sides. Times are median wall microseconds from submit to done, less the wait
for an idle device, measured in the same run; "gpu us" is our GPU time by timestamps. Loading, compiling, a first run
and a second one are not timed. "x" is the median of theirs over ours, pair by pair: above 1 ours is faster.`;

/** The table of ratios, and its rows as JSON lines. */
export class PeersReport {
  readonly #device: Device;
  readonly #json: JsonLines;
  readonly #table: Table;
  readonly #bar: ProgressBar;

  constructor(device: Device, peers: readonly string[], json: JsonLines) {
    this.#device = device;
    this.#json = json;
    console.log(`${PACKAGE.name} ${PACKAGE.version}: ${peers.join(', ')}\n${HEADER}`);
    const theirs = Object.fromEntries(peers.map((name) => [name, 16]));
    this.#table = new Table({ op: 10, dtype: 6, shape: 30, 'ours us': 9, 'gpu us': 9, ...theirs, 'ONNX operators': 0 });
    this.#bar = progressBar('peers');
  }

  /** A row's times, or for a side without them why. */
  row(
    { op, case: shape, shape: label, dtype }: PeerRow,
    onnx: string,
    ours: OurSide,
    peers: Record<string, Side>,
  ): void {
    const gpu = ours.gpuMicros.length > 0 ? digits(median(ours.gpuMicros)) : '-';
    const theirs = Object.values(peers).map((side) => {
      const times = ratio(ours, side);
      return times === undefined ? time(side) : `${time(side)} ${digits(times)}x`;
    });
    const reasons = Object.entries({ ours, ...peers }).filter(([, { error }]) => error);
    this.#bar.above(() => {
      this.#table.row([op, dtype, label, time(ours), gpu, ...theirs, onnx]);
      for (const [name, { error }] of reasons) console.log(`    ${name}: ${error}`);
    });
    const row = { bench: 'peers', op, shape, dtype, onnx, ours, peers };
    this.#json.write({ ...environment(this.#device), package: `${PACKAGE.name} ${PACKAGE.version}`, ...row });
  }

  /** A row that is not timed. */
  skip({ op, dtype, shape }: PeerRow, reason: string): void {
    this.#bar.above(() => this.#table.row([op, dtype, shape, `not timed: ${reason}`]));
  }

  progress(done: number, total: number): void {
    this.#bar.update(done, total);
  }

  stop(): void {
    this.#bar.stop();
  }
}

/** The median, or in a word why there is none. */
function time({ micros, error }: Side): string {
  if (!error) return digits(median(micros));
  return /^(WRONG|too short|not timed)/.exec(error)?.[0] ?? 'fails';
}
