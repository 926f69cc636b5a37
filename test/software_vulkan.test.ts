// tier: host
import { execFile } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

interface Preloaded {
  available: boolean;
  reason: string;
  drivers?: string;
}

const MODULE = resolve('tools/software_vulkan.ts');
const NAMES = ['libvk_swiftshader.so', 'libvulkan.so.1', 'vk_swiftshader_icd.json'];

/** What a process sees that preloads the module under an empty environment with `env`. */
async function preload(env: NodeJS.ProcessEnv, module = MODULE): Promise<Preloaded> {
  const url = JSON.stringify(pathToFileURL(module).href);
  const script = `const drivers = process.env.VK_ADD_DRIVER_FILES;
    const { softwareVulkan } = await import(${url});
    console.log(JSON.stringify({ ...softwareVulkan, drivers }));`;
  const args = ['--import', 'tsx', '--import', module, '--input-type=module', '-e', script];
  const { stdout } = await promisify(execFile)(process.execPath, args, { env: { PATH: process.env.PATH, ...env } });
  return JSON.parse(stdout);
}

/** The one folder of extracted files below a cache. */
function extractedIn(cache: string): string {
  const [folder, ...others] = readdirSync(join(cache, 'daybreak'));
  assert.is(others.length, 0);
  return join(cache, 'daybreak', folder!);
}

const test = suite<{ folder: string }>('software_vulkan');
test.before.each((context) => {
  context.folder = mkdtempSync(join(tmpdir(), 'daybreak-vulkan-'));
});
test.after.each((context) => {
  rmSync(context.folder, { recursive: true });
});

test('two processes at once fill an empty cache, and a third leaves it as it is', async ({ folder }) => {
  const both = await Promise.all([preload({ XDG_CACHE_HOME: folder }), preload({ XDG_CACHE_HOME: folder })]);
  const extracted = extractedIn(folder);
  for (const { available, reason, drivers } of both) {
    assert.ok(available, reason);
    assert.is(drivers, join(extracted, 'vk_swiftshader_icd.json'), 'the driver is there before the main module runs');
  }
  assert.equal(readdirSync(extracted).sort(), NAMES, 'no temporary file is left');
  const inodes = () => NAMES.map((name) => statSync(join(extracted, name)).ino);
  const before = inodes();
  await preload({ XDG_CACHE_HOME: folder });
  assert.equal(inodes(), before);
});

test('an incomplete cache is completed without writing into a file that others may have open', async ({ folder }) => {
  await preload({ XDG_CACHE_HOME: folder });
  const extracted = extractedIn(folder);
  const whole = readFileSync(join(extracted, 'libvulkan.so.1'));
  const [witness, library, other] = ['witness', ...NAMES].map((name) => join(extracted, name)) as [
    string,
    string,
    string,
  ];
  writeFileSync(library, 'old');
  linkSync(library, witness);
  rmSync(other);
  await preload({ XDG_CACHE_HOME: folder });
  assert.is(readFileSync(witness, 'utf8'), 'old');
  assert.equal(readFileSync(other), whole);
  assert.ok(statSync(library).size > 1e6);
});

test('a cache that cannot be written is replaced by the temporary folder', async ({ folder }) => {
  const file = join(folder, 'file');
  const temporary = join(folder, 'tmp');
  writeFileSync(file, '');
  mkdirSync(temporary);
  const { drivers } = await preload({ XDG_CACHE_HOME: file, TMPDIR: temporary });
  assert.is(drivers, join(extractedIn(temporary), 'vk_swiftshader_icd.json'));
});

test("the user's added drivers stay, and the driver is added once", async ({ folder }) => {
  const first = await preload({ XDG_CACHE_HOME: folder, VK_ADD_DRIVER_FILES: '/mine.json' });
  assert.is(first.drivers, `/mine.json:${join(extractedIn(folder), 'vk_swiftshader_icd.json')}`);
  const second = await preload({ XDG_CACHE_HOME: folder, VK_ADD_DRIVER_FILES: first.drivers });
  assert.is(second.drivers, first.drivers);
});

for (const name of ['VK_DRIVER_FILES', 'VK_ICD_FILENAMES']) {
  test(`${name} leaves everything to the user`, async ({ folder }) => {
    const { available, reason, drivers } = await preload({ XDG_CACHE_HOME: folder, [name]: '/mine.json' });
    assert.not(available);
    assert.match(reason, name);
    assert.is(drivers, undefined);
    assert.not(existsSync(join(folder, 'daybreak')));
  });
}

test('a missing package is reported, not thrown', async ({ folder }) => {
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
  const copy = join(folder, 'software_vulkan.ts');
  copyFileSync(MODULE, copy);
  const { available, reason, drivers } = await preload({ XDG_CACHE_HOME: folder }, copy);
  assert.not(available);
  assert.is(reason, "Cannot find module '@sparticuz/chromium'");
  assert.is(drivers, undefined);
});

if (process.platform === 'linux' && process.arch === 'x64') test.run();
else
  console.log(
    `SKIP software_vulkan: SwiftShader is bundled for linux x64, this is ${process.platform} ${process.arch}`,
  );
