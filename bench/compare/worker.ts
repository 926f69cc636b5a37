// One side of a comparison: holds a device open and does what the parent process asks, one request at a time.

import { serve } from '../../runtime/child.ts';
import { openDevice } from '../../runtime/index.ts';
import { median } from '../measure.ts';
import { environment } from '../report.ts';
import { promptUnits } from './prompt_units.ts';
import { type Answers, PROTOCOL, type Request } from './protocol.ts';
import { opUnits, type Prepared, type Unit } from './units.ts';

let units: readonly Unit[] = [];
let prepared: Prepared | undefined;

async function answer(request: Request): Promise<Answers[keyof Answers]> {
  switch (request.ask) {
    case 'open':
      return open(request);
    case 'check':
      return { problem: await units[request.unit]!.check() };
    case 'prepare':
      prepared = await units[request.unit]!.prepare();
      await prepared.run();
      return { kernel: prepared.kernel };
    case 'sample':
      return { micros: await sample(prepared!, request.millis) };
    case 'dispose':
      prepared!.dispose();
      return {};
  }
}

async function open({ adapter, ops, prompts }: Request & { ask: 'open' }): Promise<Answers['open']> {
  const device = await openDevice({ adapter });
  units = [...opUnits(device, ops), ...(prompts ? promptUnits(device, prompts) : [])];
  const listed = units.map(({ name, shape, clock }) => ({ name, shape, clock }));
  return { protocol: PROTOCOL, environment: environment(device), units: listed };
}

async function sample({ run }: Prepared, millis: number): Promise<number> {
  const micros: number[] = [];
  const start = performance.now();
  do micros.push(await run());
  while (performance.now() - start < millis);
  return median(micros);
}

serve(answer);
process.on('SIGINT', () => {}); // Ctrl-C reaches the whole group; the parent ends its workers
