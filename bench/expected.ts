import { SafetensorsFile } from '../model/index.ts';
import { CheckpointError, type HostTensor } from '../runtime/index.ts';

/** What the reference says of one prompt (README.md of this folder): logits are [steps, vocab]. */
export interface ExpectedPrompt {
  name: string;
  /** Token ids with -200 for each picture. */
  ids: Int32Array;
  /** Indices of the pictures, in order. */
  images: readonly number[];
  /** Positions once pictures are expanded. */
  length: number;
  /** The reference's own continuation, and a random one fed token by token. */
  runs: readonly ExpectedRun[];
}

/** A continuation: the tokens fed, and the logits from which each was, or could have been, taken. */
export interface ExpectedRun {
  name: 'greedy' | 'forced';
  tokens: Uint32Array;
  logits: HostTensor & { data: Float32Array };
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
    const runs = [this.#run(name, 'greedy', 'step_logits'), this.#run(name, 'forced', 'forced_logits')];
    return { name, ids: this.#integers(`${name}.ids`), images, length: this.#integers(`${name}.len`)[0]!, runs };
  }

  /** A stage of a picture, its first rows at least; undefined where the file has none. */
  imageStage(index: number, stage: 'pixel_values' | 'vis_sel' | 'proj'): Float32Array | undefined {
    const name = `img${index}.${stage}`;
    return this.#file.tensors.has(name) ? this.#floats(name).data : undefined;
  }

  close(): void {
    this.#file.close();
  }

  #run(prompt: string, name: ExpectedRun['name'], logits: string): ExpectedRun {
    return {
      name,
      tokens: Uint32Array.from(this.#integers(`${prompt}.${name}`)),
      logits: this.#floats(`${prompt}.${logits}`),
    };
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
