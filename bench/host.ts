import Benchmark from 'benchmark';
import { Processor } from '../model/index.ts';
import { UsageError } from '../runtime/index.ts';
import { DEVICE_TASKS, deviceTasks, HOST_TASKS, type HostTask, type HostTasks, hostTasks } from './host/tasks.ts';
import { loadModel, modelName } from './load.ts';
import { median, quantile } from './measure.ts';
import { openAdapter } from './open.ts';
import { progressBar } from './progress.ts';
import { digits, environment, JsonLines, Table } from './report.ts';
import { traced } from './trace.ts';

/** Options of `bench host`. */
export interface HostOptions {
  model: string;
  repeats: number;
  adapter?: string;
  json?: string;
  trace?: string;
}

/** How long one repeat takes: samples of at least minTime, at least so many of them, for about maxTime; seconds. */
const LENGTH = { minTime: 0.005, minSamples: 3, maxTime: 0.25 };

const HEADER = `The host's clock: what JavaScript and the calls to Dawn take on this CPU. Not in it: the device's work, compiling kernels,
loading, and reading from the disk. "+-" is the 95 % margin of the mean in the repeat that is least sure.`;

/** One repeat of a task: microseconds of one execution per sample, and the margin of their mean in per cent. */
interface Repeat {
  micros: number[];
  margin: number;
}

/** Times the host's part of an answer, from text and picture files to encoded commands. Returns exit code 0. */
export async function host(name: string | undefined, options: HostOptions): Promise<number> {
  const { model, repeats, adapter } = options;
  const wanted = (tasks: readonly string[]) => tasks.filter((task) => !name || task === name);
  const [onHost, onDevice] = [wanted(HOST_TASKS), wanted(DEVICE_TASKS)];
  const total = onHost.length + onDevice.length;
  if (total === 0) {
    throw new UsageError(`host: expected one of ${[...HOST_TASKS, ...DEVICE_TASKS].join(', ')}, got '${name}'`);
  }
  if (options.trace && onDevice.length === 0)
    throw new UsageError(`--trace: expected a task that uses a device (${DEVICE_TASKS.join(', ')}), got '${name}'`);
  const json = new JsonLines(options.json);
  const device = onDevice.length > 0 ? await openAdapter(adapter) : undefined;
  console.log(HEADER);
  const table = new Table({ task: 9, 'ops/s': 9, 'median us': 9, 'p90 us': 9, '+- %': 5, samples: 7, what: 0 });
  const bar = progressBar('host');
  let done = 0;
  const timeAll = async ({ tasks, dispose }: HostTasks, names: string[]) => {
    try {
      for (const task of names) {
        const timed: Repeat[] = [];
        while (timed.length < repeats) {
          timed.push(await measure(tasks[task]!));
          bar.update(++done, total * repeats);
        }
        bar.above(() => table.row(cells(task, tasks[task]!, timed)));
        json.write({
          ...environment(device),
          bench: 'host',
          model: modelName(options),
          task,
          repeats: timed.map(({ micros }) => micros),
        });
      }
    } finally {
      dispose();
    }
  };
  try {
    if (onHost.length > 0) await timeAll(await hostTasks(Processor.load(model)), onHost);
    if (device) {
      const timeTasks = async () => timeAll(await deviceTasks(await loadModel(device, { model })), onDevice);
      await traced(device, options.trace, timeTasks);
    }
  } finally {
    bar.stop();
  }
  return 0;
}

/** Times a task once, for as long as LENGTH says, after one run that warms up; throws what the task throws. */
async function measure({ run }: HostTask): Promise<Repeat> {
  const first = run();
  const waits = first instanceof Promise;
  await first;
  return new Promise((resolve, reject) => {
    const once = (deferred: Benchmark.Deferred) => {
      Promise.resolve(run()).then(() => deferred.resolve(), reject);
    };
    new Benchmark({
      ...LENGTH,
      async: true,
      defer: waits,
      fn: waits ? once : run,
      onError: ({ target }: { target: Benchmark }) => reject(target.error),
      onComplete: ({ target }: { target: Benchmark }) => {
        const { sample, rme } = target.stats;
        resolve({ micros: sample.map((seconds: number) => seconds * 1e6), margin: rme });
      },
    }).run();
  });
}

function cells(task: string, { what }: HostTask, repeats: readonly Repeat[]): (string | number)[] {
  const micros = repeats.flatMap((repeat) => repeat.micros);
  const margin = Math.max(...repeats.map((repeat) => repeat.margin));
  const times = [1e6 / median(micros), median(micros), quantile(micros, 0.9), margin];
  return [task, ...times.map(digits), micros.length, what];
}
