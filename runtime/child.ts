import { type ChildProcess, type ForkOptions, fork } from 'node:child_process';
import { DaybreakError } from './errors.ts';

const KEPT_OUTPUT = 2000;

/** An answer, or why there is none; `expected` tells errors of the user or the machine from faults. */
export type Reply<Answer> = { answer: Answer } | { error: string; expected: boolean };

/** Answers what the process asks that forked this one, and ends with it. */
export function serve<Request>(answer: (request: Request) => Promise<unknown>): void {
  process.on('message', async (request: Request) => {
    const reply: Reply<unknown> = await answer(request).then(
      (answer) => ({ answer }),
      (error: Error) => {
        const expected = error instanceof DaybreakError;
        return { error: expected ? error.message : `${error.stack}`, expected };
      },
    );
    process.send!(reply);
  });
  process.on('disconnect', () => process.exit());
}

/** A process that answers one request at a time; what it crashes, leaks or caches is gone with it. It ends with this one. */
export class Child<Answer> {
  readonly #child: ChildProcess;
  readonly #kill = () => this.#child.kill('SIGKILL');
  #output = '';
  /** How it ended, once it has. */
  #ended: Error | undefined;
  #settle: (reply: Reply<Answer> | Error) => void = () => {};

  /** Runs a module; throws nothing, for what fails is told to who asks. */
  constructor(module: string, args: readonly string[], options: ForkOptions) {
    this.#child = fork(module, args, { ...options, stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
    this.#child.stderr!.on('data', (text) => {
      this.#output = `${this.#output}${text}`.slice(-KEPT_OUTPUT);
    });
    this.#child.on('message', (reply: Reply<Answer>) => this.#settle(reply));
    this.#child.on('close', (code, signal) => this.#end(`its process ended with ${signal ?? code}`));
    this.#child.on('error', (error) => this.#end(error.message));
    process.on('exit', this.#kill);
  }

  /** What the process has written to stderr last. */
  get output(): string {
    return this.#output;
  }

  /** Whether it answers no more. */
  get ended(): boolean {
    return this.#ended !== undefined;
  }

  /** The answer to a request; an Error tells how the process ended, or that it took too long, which ends it. */
  async ask(request: object, maxSeconds: number): Promise<Reply<Answer>> {
    const timer = setTimeout(() => {
      this.#end(`no answer within ${maxSeconds} s`);
      this.#kill();
    }, maxSeconds * 1000);
    try {
      const reply = await new Promise<Reply<Answer> | Error>((resolve) => {
        this.#settle = resolve;
        if (this.#ended) resolve(this.#ended);
        else this.#child.send(request, () => {}); // where it cannot be sent the process is ending, and 'close' tells why
      });
      if (reply instanceof Error) throw reply;
      return reply;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Ends the process and waits until it has. */
  async stop(): Promise<void> {
    process.off('exit', this.#kill);
    const child = this.#child;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    this.#kill();
    await ended;
  }

  #end(reason: string): void {
    this.#ended ??= new Error(reason);
    this.#settle(this.#ended);
  }
}
