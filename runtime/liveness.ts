import type { Graph, Step } from './graph.ts';
import { rootOf, type Tensor, tensorBytes } from './tensor.ts';

/** The steps during which a temporary holds a value, both inclusive. */
export interface Lifetime {
  tensor: Tensor;
  first: number;
  last: number;
}

/** A buffer that several temporaries use one after the other. */
export interface Slot {
  bytes: number;
  tensors: Tensor[];
}

/** The tensors that a step touches, stand-ins left out. */
export function touched(step: Step): Tensor[] {
  if (step.kind === 'tap') return [step.source];
  return [...Object.values(step.read), ...Object.values(step.write)].filter((tensor) => tensor !== null);
}

/** When each temporary of a graph is first and last touched, by first use. */
export function lifetimes(graph: Graph): Lifetime[] {
  const outputs = [...graph.outputs.values()].map(({ tensor }) => tensor);
  const kept = new Set([...graph.inputs.values(), ...outputs].map(rootOf));
  const found = new Map<Tensor, Lifetime>();
  graph.steps.forEach((step, index) => {
    for (const tensor of touched(step).map(rootOf)) {
      if (tensor.storage || kept.has(tensor)) continue;
      const known = found.get(tensor);
      if (known) known.last = index;
      else found.set(tensor, { tensor, first: index, last: index });
    }
  });
  return [...found.values()];
}

/**
 * Assigns temporaries to slots so that no two that live at once share one: each takes the free slot closest in size,
 * growing it where it must. Reads and writes of one dispatch are alive together and hence never in one slot.
 */
export function assignSlots(temporaries: readonly Lifetime[]): Slot[] {
  const slots: (Slot & { busyUntil: number })[] = [];
  for (const { tensor, first, last } of temporaries) {
    const bytes = tensorBytes(tensor);
    const free = slots.filter((slot) => slot.busyUntil < first);
    const distance = (slot: Slot) => (slot.bytes >= bytes ? slot.bytes - bytes : (bytes - slot.bytes) * 4);
    const best = free.sort((a, b) => distance(a) - distance(b))[0];
    const slot = best ?? { bytes: 0, tensors: [], busyUntil: -1 };
    if (!best) slots.push(slot);
    slot.bytes = Math.max(slot.bytes, bytes);
    slot.tensors.push(tensor);
    slot.busyUntil = last;
  }
  return slots;
}
