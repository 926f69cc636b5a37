// A reference file is a safetensors file that tools/reference.py writes. S steps, V logits, floats are F32, integers I32:
//   img{i}.spatial [2] (rows, columns of patches), .pixel_values [R, patch values], .layers.{l} [R, vision hidden] (the
//     encoder's residual stream after a layer), .vis_sel [R, vision hidden] (its last used), .proj [R, hidden]; R = first rows
//   {prompt}.ids (-200 for a picture), .images (indices, -1 for none), .len [1] (positions with pictures expanded),
//     .layers.{l} [hidden] (the decoder's residual stream of the prompt's last position), .greedy [S], .margins [S] (best
//     less second), .forced [S] (tokens fed whatever the model chose), and the logits before each of these tokens, either
//   full:  .logits [V], .step_logits [S, V] (of greedy), .forced_logits [S, V], or
//   top64: .step_top_logits [S, 64] and .step_top_ids [S, 64], largest first, .step_stats [S, 4] (log-sum-exp, mean,
//     standard deviation, largest magnitude of all V); and the same of .forced_
// Its metadata name the versions, dtype and device that made it, and the pictures: `pictures`, a JSON list of names relative
// to the folder of the cases, which is `cases_folder` relative to the reference's own. Only runs, .ids, .images, .len must be there.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { SafetensorsFile } from '../model/index.ts';
import { CheckpointError, type HostTensor } from '../runtime/index.ts';

/** What the reference says of one prompt. */
export interface ExpectedPrompt {
  name: string;
  /** Token ids with -200 for each picture. */
  ids: Int32Array;
  /** Indices of the pictures, in order. */
  images: readonly number[];
  /** Positions once pictures are expanded; 0 where nobody says. */
  length: number;
  /** The reference's own continuation, and a random one fed token by token. */
  runs: readonly ExpectedRun[];
}

/**
 * A continuation: the tokens fed, and the logits from which each was, or could have been, taken. Without tokens the model
 * goes on by itself.
 */
export interface ExpectedRun {
  name: 'greedy' | 'forced';
  tokens: Uint32Array;
  steps: readonly ExpectedLogits[];
}

/** The logits of one step: all of them, or the largest with figures about all. */
export type ExpectedLogits = Float32Array | TopLogits;

export interface TopLogits {
  /** Token ids by falling logit, and their logits. */
  ids: Int32Array;
  values: Float32Array;
  logSumExp: number;
  mean: number;
  std: number;
  maxRef: number;
}

/** A reference file: expected stages of pictures and expected logits of prompts. */
export class Expected {
  #file: SafetensorsFile;

  private constructor(file: SafetensorsFile) {
    this.#file = file;
  }

  static open(path: string): Expected {
    return new Expected(SafetensorsFile.open(path));
  }

  /** The dtype that the reference was computed in. */
  get dtype(): string {
    return this.#file.metadata.dtype ?? 'float32';
  }

  /** Where a picture lies: beside the cases, beside this file, or in the model folder as images/img{index}.png. */
  picture(index: number, modelDir: string): string {
    const { pictures = '[]', cases_folder: folder = '.' } = this.#file.metadata;
    const name = parseNames(pictures)[index];
    const here = dirname(this.#file.path);
    const places = name === undefined ? [] : [join(here, folder, name), join(here, name)];
    return places.find((path) => existsSync(path)) ?? join(modelDir, 'images', `img${index}.png`);
  }

  /** Names of the prompts in the file, shortest first. */
  promptNames(): string[] {
    const names = [...this.#file.tensors.keys()].filter((key) => key.endsWith('.ids')).map((key) => key.slice(0, -4));
    if (names.length === 0)
      throw new CheckpointError(`${this.#file.path}: expected prompts '<name>.ids', got none; is it a reference file?`);
    return names.sort((a, b) => this.#integers(`${a}.len`)[0]! - this.#integers(`${b}.len`)[0]!);
  }

  /** One prompt; CheckpointError where a part of it is missing or of the wrong type. */
  prompt(name: string): ExpectedPrompt {
    const images = [...this.#integers(`${name}.images`)].filter((index) => index >= 0);
    const runs = [this.#run(name, 'greedy', 'step'), this.#run(name, 'forced', 'forced')];
    return { name, ids: this.#integers(`${name}.ids`), images, length: this.#integers(`${name}.len`)[0]!, runs };
  }

  /** Whether the file has a stage of this name. */
  hasStage(name: string): boolean {
    return this.#file.tensors.has(name);
  }

  /** A stage of a picture or prompt by its name in the file; undefined where the file has none. */
  stage(name: string): Float32Array | undefined {
    return this.hasStage(name) ? this.#floats(name).data : undefined;
  }

  close(): void {
    this.#file.close();
  }

  #run(prompt: string, name: ExpectedRun['name'], prefix: string): ExpectedRun {
    const tokens = Uint32Array.from(this.#integers(`${prompt}.${name}`));
    const rows = (suffix: string) => this.#rows(`${prompt}.${prefix}_${suffix}`, tokens.length);
    if (this.#file.tensors.has(`${prompt}.${prefix}_logits`)) return { name, tokens, steps: rows('logits') };
    const ids = this.#integers(`${prompt}.${prefix}_top_ids`);
    const stats = rows('stats');
    const steps = rows('top_logits').map((values, step) => {
      const [logSumExp, mean, std, maxRef] = [...stats[step]!] as [number, number, number, number];
      const kept = ids.subarray(step * values.length, (step + 1) * values.length);
      return { ids: kept, values, logSumExp, mean, std, maxRef };
    });
    return { name, tokens, steps };
  }

  /** The rows of a matrix that must have `count` of them. */
  #rows(name: string, count: number): Float32Array[] {
    const { shape, data } = this.#floats(name);
    const [got, length] = shape;
    if (shape.length === 2 && got === count && length! > 1)
      return Array.from({ length: count }, (_, row) => data.subarray(row * length!, (row + 1) * length!));
    throw new CheckpointError(`${this.#file.path}: ${name}: expected [${count}, 2 or more], got [${shape.join(', ')}]`);
  }

  #integers(name: string): Int32Array {
    const { data } = this.#file.read(name);
    if (data instanceof Int32Array) return data;
    throw new CheckpointError(`${this.#file.path}: ${name}: expected I32, got another dtype; is it a reference file?`);
  }

  #floats(name: string): HostTensor & { data: Float32Array } {
    const tensor = this.#file.read(name);
    if (tensor.data instanceof Float32Array) return { ...tensor, data: tensor.data };
    throw new CheckpointError(
      `${this.#file.path}: ${name}: expected F32, got ${tensor.dtype}; is it a reference file?`,
    );
  }
}

function parseNames(json: string): string[] {
  try {
    const names: unknown = JSON.parse(json);
    if (Array.isArray(names) && names.every((name) => typeof name === 'string')) return names;
  } catch {} // told below
  throw new CheckpointError(`metadata: pictures: expected a JSON list of file names, got ${json.slice(0, 80)}`);
}
