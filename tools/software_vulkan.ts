// Preloaded (`tsx --import ./tools/software_vulkan.ts main.ts`): brings a Vulkan loader and driver to machines that have none.
import { existsSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { constants, homedir, tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { brotliDecompressSync } from 'node:zlib';

const RTLD_NODELETE = 0x1000;
const LOADER = 'libvulkan.so.1';
const ICD = 'vk_swiftshader_icd.json'; // names its library relative to itself, so it works from any folder
const FILES = [LOADER, 'libvk_swiftshader.so', ICD];

/** Whether Dawn's Vulkan loader will find SwiftShader, and where, or why not. */
export const softwareVulkan: { available: boolean; reason: string } = await provide().then(
  (folder) => ({ available: true, reason: `SwiftShader in ${folder}` }),
  (error: Error) => ({ available: false, reason: error.message.split('\n', 1).join() }),
);

/** Adds SwiftShader to the system's Vulkan drivers, with a loader if there is none, and returns the folder it lies in. */
async function provide(): Promise<string> {
  const platform = `${process.platform} ${process.arch}`;
  if (platform !== 'linux x64') throw new Error(`SwiftShader is bundled for linux x64, this is ${platform}`);
  const chosen = ['VK_DRIVER_FILES', 'VK_ICD_FILENAMES'].find((name) => process.env[name]);
  if (chosen) throw new Error(`${chosen} is set and names the drivers`);
  const folder = await extracted();
  if (!canLoad(LOADER)) canLoad(join(folder, LOADER));
  const icd = join(folder, ICD);
  process.env.VK_ADD_DRIVER_FILES = [
    ...new Set((process.env.VK_ADD_DRIVER_FILES || icd).split(delimiter)).add(icd),
  ].join(delimiter);
  return folder;
}

/** The folder with the extracted files: in the user's cache or, where that cannot be written, in the temporary folder. */
async function extracted(): Promise<string> {
  const packageFolder = resolve(createRequire(import.meta.url).resolve('@sparticuz/chromium'), '../../..');
  const { version } = JSON.parse(readFileSync(join(packageFolder, 'package.json'), 'utf8'));
  const archive = join(packageFolder, 'bin/swiftshader.tar.br');
  const inside = (cache: string) => resolve(cache, 'daybreak', `swiftshader-${version}`);
  return extract(archive, inside(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'))).catch(() =>
    extract(archive, inside(tmpdir())),
  );
}

/** Extracts the archive once. Each file appears whole or not at all, however many processes do this at once. */
async function extract(archive: string, folder: string): Promise<string> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  if (statSync(folder).uid !== process.getuid?.()) throw new Error(`${folder} belongs to another user`);
  if (FILES.every((name) => existsSync(join(folder, name)))) return folder;
  const tar = (await import('tar-stream')).extract();
  tar.end(brotliDecompressSync(readFileSync(archive)));
  for await (const entry of tar) {
    const chunks: Buffer[] = [];
    for await (const chunk of entry) chunks.push(chunk as Buffer);
    if (!FILES.includes(entry.header.name)) continue;
    const path = join(folder, entry.header.name);
    writeFileSync(`${path}.${process.pid}`, Buffer.concat(chunks));
    renameSync(`${path}.${process.pid}`, path);
  }
  return folder;
}

/** Loads a library for the rest of the process's life, so that Dawn finds it by its name; false if that fails. */
function canLoad(library: string): boolean {
  try {
    process.dlopen({ exports: {} }, library, constants.dlopen.RTLD_NOW | RTLD_NODELETE);
    return true;
  } catch (error) {
    return (error as Error).message.includes('did not self-register'); // a library, but not a Node addon: it stays loaded
  }
}
