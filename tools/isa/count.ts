/** Kinds of machine instructions, in the words of a report. */
export const KINDS = {
  matrix: 'matrix',
  dot: 'dot',
  fma: 'fma',
  vector: 'other vector',
  scalar: 'scalar',
  memory: 'memory',
  workgroup: 'workgroup memory',
  scalarLoads: 'scalar loads',
  barriers: 'barriers',
} as const;

/** How many instructions of each kind stand in a piece of code, each counted once however often it runs; `wideLoads` of memory take 16 bytes. */
export type Counts = Record<keyof typeof KINDS | 'wideLoads', number>;

/** A loop: its place as `1`, `1.1`, ... and its instructions, with those of the loops inside it. */
export interface Loop {
  place: string;
  counts: Counts;
}

/** What a compiler for AMD's GPUs made of one kernel. Sizes are bytes. */
export interface Isa {
  registers: { vector: number; scalar: number };
  spilled: { vector: number; scalar: number };
  scratchBytes: number;
  workgroupBytes: number;
  /** How many subgroups one SIMD unit holds at once. */
  subgroupsPerSimd: number;
  instructions: number;
  /** The whole kernel. */
  counts: Counts;
  /** Outer loops before those inside them, in the order of the code. */
  loops: Loop[];
}

/** Patterns of opcodes, the first that matches decides; those of no kind only wait or tell the scheduler something. */
const PATTERNS: readonly [RegExp, keyof typeof KINDS | undefined][] = [
  [/^v_(wmma|swmmac|mfma)/, 'matrix'],
  [/^v_dot/, 'dot'],
  [/\bv_(dual_|pk_)?(fma|mad|mac)\w*_f\d/, 'fma'], // either half of two at once
  [/^v_/, 'vector'],
  [/^(buffer|global|flat|scratch|image)_/, 'memory'],
  [/^ds_/, 'workgroup'],
  [/^s_barrier/, 'barriers'],
  [/^s_(buffer_)?load/, 'scalarLoads'],
  [/^s_(waitcnt|delay_alu|clause|nop|endpgm|sendmsg|code_end|inst_prefetch)/, undefined],
  [/^s_/, 'scalar'],
  [/^\(invalid instruction\).*; ([0-7]|c[89abc]|d[4-7])/, 'vector'], // by its encoding, where a disassembler lacks the name
];

interface Instruction {
  kind: keyof typeof KINDS | undefined;
  isWideLoad: boolean;
  /** The block that it may jump to. */
  target?: string;
}

/**
 * Reads what RADV prints of one pipeline under RADV_DEBUG=asm,shaderstats; undefined where statistics or machine code are
 * missing.
 */
export function readIsa(text: string): Isa | undefined {
  const statistics = new Map([...text.matchAll(/^([A-Z][\w -]*): (\d+)$/gm)].map(([, name, n]) => [name!, Number(n)]));
  const blocks = readBlocks(text);
  const statistic = (name: string) => statistics.get(name) ?? Number.NaN;
  const isa: Isa = {
    registers: { vector: statistic('VGPRs'), scalar: statistic('SGPRs') },
    spilled: { vector: statistic('Spilled VGPRs'), scalar: statistic('Spilled SGPRs') },
    scratchBytes: statistic('Scratch size'),
    workgroupBytes: statistic('LDS size'),
    subgroupsPerSimd: statistic('Subgroups per SIMD'),
    instructions: statistic('Instructions'),
    counts: countBlocks([...blocks.values()]),
    loops: findLoops(blocks),
  };
  const numbers = [isa.registers, isa.spilled, isa].flatMap((part) => Object.values(part).filter(Number.isNaN));
  return blocks.size === 0 || numbers.length > 0 ? undefined : isa;
}

/** The basic blocks, in the order of the code. */
function readBlocks(text: string): Map<string, Instruction[]> {
  const blocks = new Map<string, Instruction[]>();
  let block: Instruction[] = [];
  for (const line of text.split('\n')) {
    const [, label] = /^(BB\d+):/.exec(line) ?? [];
    const [, repeats] = /^\t\(then repeated (\d+) times\)/.exec(line) ?? [];
    if (label) {
      block = [];
      blocks.set(label, block);
    } else if (repeats) block.push(...Array(Number(repeats)).fill(block.at(-1)!));
    else if (line.startsWith('\t')) block.push(readInstruction(line.slice(1)));
  }
  return blocks;
}

function readInstruction(code: string): Instruction {
  const kind = PATTERNS.find(([pattern]) => pattern.test(code))?.[1];
  const [, target] = /^s_c?branch\w* (BB\d+)/.exec(code) ?? [];
  return { kind, isWideLoad: /^(buffer|global|flat)_load_b128/.test(code), target };
}

/** A loop is what stands from a block to the last one that jumps back to it. */
function findLoops(blocks: Map<string, Instruction[]>): Loop[] {
  const order = [...blocks.keys()];
  const ends = new Map<number, number>();
  for (const [at, block] of [...blocks.values()].entries()) {
    for (const { target } of block) {
      const first = target ? order.indexOf(target) : -1;
      if (first >= 0 && first <= at) ends.set(first, at);
    }
  }
  const open: { last: number; place: string; inside: number }[] = [{ last: order.length, place: '', inside: 0 }];
  return [...ends]
    .sort(([a], [b]) => a - b)
    .map(([first, last]) => {
      while (open.at(-1)!.last < first) open.pop();
      const outer = open.at(-1)!;
      const place = `${outer.place && `${outer.place}.`}${++outer.inside}`;
      open.push({ last, place, inside: 0 });
      return { place, counts: countBlocks([...blocks.values()].slice(first, last + 1)) };
    });
}

function countBlocks(blocks: readonly Instruction[][]): Counts {
  const all = blocks.flat();
  const none = Object.fromEntries(Object.keys(KINDS).map((kind) => [kind, 0])) as Record<keyof typeof KINDS, number>;
  const counts = { ...none, wideLoads: all.filter(({ isWideLoad }) => isWideLoad).length };
  for (const { kind } of all) if (kind) counts[kind]++;
  return counts;
}
