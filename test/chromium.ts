import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import type { Readable, Writable } from 'node:stream';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome'];
const FLAGS = ['--headless=new', '--no-sandbox', '--disable-gpu', '--no-first-run', '--remote-debugging-pipe'];
const TIMEOUT_MILLIS = 60_000;

/** A message of the Chrome DevTools Protocol: the answer to a command by its id, or an event by its method. */
interface Message {
  id?: number;
  result?: Record<string, unknown>;
  error?: { message: string };
  method?: string;
  params?: Record<string, unknown>;
}

/** The browser of this machine, or undefined with a printed SKIP where there is none. */
export function findChromium(): string | undefined {
  const folders = (process.env.PATH ?? '').split(delimiter);
  const found = folders.flatMap((folder) => NAMES.map((name) => join(folder, name))).find(existsSync);
  if (!found) console.log(`SKIP no ${NAMES.join(', ')} on the PATH; apt-get install chromium`);
  return found;
}

/** A page in a headless Chromium of its own, driven over a pipe. */
export class BrowserPage {
  /** Everything that happened so far. */
  readonly events: Message[] = [];
  #process: ChildProcess;
  #profile = mkdtempSync(join(tmpdir(), 'daybreak-chromium-'));
  #session: unknown;
  #answers: ((message: Message) => void)[] = [];

  private constructor(binary: string) {
    this.#process = spawn(binary, [...FLAGS, `--user-data-dir=${this.#profile}`], {
      stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
      timeout: TIMEOUT_MILLIS,
      killSignal: 'SIGKILL',
    });
    this.#process.on('exit', () => {
      for (const answer of this.#answers) answer({ error: { message: 'the browser ended' } });
    });
    let text = '';
    (this.#process.stdio[4] as Readable).setEncoding('utf8').on('data', (chunk: string) => {
      const messages = (text + chunk).split('\0');
      text = messages.pop()!;
      for (const message of messages) this.#receive(JSON.parse(message));
    });
  }

  /** Opens an address and waits until the page is loaded. */
  static async open(binary: string, url: string): Promise<BrowserPage> {
    const page = new BrowserPage(binary);
    const { targetId } = await page.send('Target.createTarget', { url: 'about:blank' });
    page.#session = (await page.send('Target.attachToTarget', { targetId, flatten: true })).sessionId;
    for (const domain of ['Runtime', 'Log', 'Network']) await page.send(`${domain}.enable`);
    await page.send('Page.navigate', { url });
    while ((await page.evaluate('document.readyState')) !== 'complete');
    return page;
  }

  /** Sends a command and returns its result. */
  async send(method: string, params: object = {}): Promise<Record<string, unknown>> {
    const id = this.#answers.length;
    const answer = new Promise<Message>((done) => this.#answers.push(done));
    (this.#process.stdio[3] as Writable).write(`${JSON.stringify({ id, method, params, sessionId: this.#session })}\0`);
    const { result, error } = await answer;
    if (!result) throw new Error(`${method}: ${error!.message}`);
    return result;
  }

  /** The value of a JavaScript expression in the page; of a promise, what it resolves to. */
  async evaluate<T>(expression: string): Promise<T> {
    const options = { expression, returnByValue: true, awaitPromise: true };
    const { result, exceptionDetails } = await this.send('Runtime.evaluate', options);
    if (exceptionDetails) throw new Error(JSON.stringify(exceptionDetails));
    return (result as { value: T }).value;
  }

  /** Ends the browser. */
  async close(): Promise<void> {
    const ended = new Promise((done) => this.#process.once('exit', done));
    (this.#process.stdio[3] as Writable).end();
    await ended;
    rmSync(this.#profile, { recursive: true, maxRetries: 5 });
  }

  #receive(message: Message): void {
    if (message.id === undefined) this.events.push(message);
    else this.#answers[message.id]!(message);
  }
}
