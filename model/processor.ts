import { loadConfig, type ModelConfig } from './checkpoint/config.ts';
import { type Patches, type RgbImage, targetSize } from './image/patches.ts';
import { cutInPool } from './image/pool.ts';
import { ChatTemplate, type Message, type Mode } from './text/chat.ts';
import { checkLength, encodePrompt, expandImages } from './text/prompt.ts';
import { Tokenizer } from './text/tokenizer.ts';

/** How to turn a conversation into a prompt; every field is optional. */
export interface PromptOptions {
  mode?: Mode;
  /** Positions that prompt and answer may take; by default the configuration's limit. */
  context?: number;
  /** Ends the preparation of pictures, which is rejected with the signal's reason. */
  signal?: AbortSignal;
}

/** A prompt ready for the model: its positions (from vocab on: rows of the pictures' features) and its pictures. */
export interface Prompt {
  ids: Uint32Array;
  pictures: readonly Patches[];
  mode: Mode;
  /** Positions that prompt and answer may take together. */
  context: number;
}

/** The text and picture side of a model folder: configuration, tokenizer, chat template, image processor. */
export class Processor {
  readonly config: ModelConfig;
  readonly tokenizer: Tokenizer;
  readonly template: ChatTemplate;

  private constructor(config: ModelConfig, tokenizer: Tokenizer, template: ChatTemplate) {
    this.config = config;
    this.tokenizer = tokenizer;
    this.template = template;
  }

  /** Reads a model folder's text side; throws CheckpointError. */
  static load(dir: string): Processor {
    const tokenizer = Tokenizer.load(dir);
    return new Processor(loadConfig(dir), tokenizer, ChatTemplate.load(dir, tokenizer));
  }

  /**
   * The prompt of a conversation; each <image> in it stands for one of `images`, in order, which threads cut into patches where they are not yet. Throws PromptError where marks
   * and pictures differ in number, or where the prompt and one token of an answer do not fit the context.
   */
  async prepare(
    messages: readonly Message[],
    images: readonly (RgbImage | Patches)[],
    options: PromptOptions = {},
  ): Promise<Prompt> {
    const { mode = 'hybrid', context = this.config.contextLimit, signal } = options;
    const { config } = this;
    const marked = encodePrompt(this.tokenizer, this.template.render(messages, mode), images.length);
    const patches = images.map((image) => this.#countPatches(image));
    const positions = patches.reduce((sum, count) => sum + count, marked.length - images.length);
    checkLength(positions, context, config); // before memory is taken for the pictures
    const ids = expandImages(marked, patches, config.decoder.vocab);
    const cut = (image: RgbImage | Patches) => ('grid' in image ? image : this.cut(image, signal));
    const pictures = await Promise.all(images.map(cut));
    return { ids, pictures, mode, context };
  }

  /** A picture as the vision tower takes it, cut by a thread; throws ImageError, or the signal's reason. */
  cut(image: RgbImage, signal?: AbortSignal): Promise<Patches> {
    return cutInPool({ image, limits: this.#limits }, { file: 'picture', signal });
  }

  get #limits() {
    return { ...this.config.image, patch: this.config.vision.patch };
  }

  #countPatches(image: RgbImage | Patches): number {
    if ('grid' in image) return image.grid.rows * image.grid.cols;
    const { height, width } = targetSize(image.height, image.width, this.#limits);
    return (height / this.#limits.patch) * (width / this.#limits.patch);
  }
}
