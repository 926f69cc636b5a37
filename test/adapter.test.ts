// tier: any
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { wantsRobustness } from '../runtime/adapter.ts';
import { chooseAdapter, listAdapters, NoDeviceError, openDevice } from '../runtime/index.ts';

const list = (...names: string[]) => names.map((name) => ({ backend: 'vulkan', name }));

const [SWIFTSHADER, LAVAPIPE] = ['SwiftShader Device (Subzero)', 'llvmpipe (LLVM 15.0.6, 256 bits)'];
const [INTEL, NVIDIA] = ['Intel(R) UHD Graphics 770 (ADL-S GT1)', 'NVIDIA GeForce RTX 4090'];

test('a discrete GPU comes before an integrated one, before lavapipe, before SwiftShader', () => {
  const all = list(SWIFTSHADER, LAVAPIPE, INTEL, NVIDIA);
  const slugs = { fast: 'nvidia-geforce-rtx-4090', frugal: 'intel-r-uhd-graphics-770-adl-s-gt1-' };
  assert.is(chooseAdapter(all, undefined, slugs).name, NVIDIA);
  assert.is(chooseAdapter(all.toReversed(), undefined, slugs).name, NVIDIA);
  assert.is(chooseAdapter(all, undefined, { frugal: slugs.frugal }).name, NVIDIA);
  assert.is(chooseAdapter(all.slice(0, 3), undefined, slugs).name, INTEL);
  assert.is(chooseAdapter(all.slice(0, 2), undefined, { fast: 'swiftshader-device-subzero-' }).name, LAVAPIPE);
  assert.is(chooseAdapter(all.slice(0, 1)).name, SWIFTSHADER);
  const amd = list('AMD Radeon Graphics (RADV RAPHAEL)', 'AMD Radeon RX 7900 XTX (RADV NAVI31)', NVIDIA);
  const others = { fast: slugs.fast, frugal: 'amd-radeon-graphics-radv-raphael-' };
  assert.is(chooseAdapter(amd, 'radeon', others).name, amd[1]!.name);
});

test('the reason says what was not taken', () => {
  const all = list(INTEL, LAVAPIPE, NVIDIA);
  const { reason } = chooseAdapter(all, undefined, { fast: 'nvidia-geforce-rtx-4090' });
  assert.is(reason, `a GPU comes first, a discrete one before an integrated one; not taken: '${INTEL}', '${LAVAPIPE}'`);
  assert.is(chooseAdapter(all, 'LLVM').reason, `asked for as 'LLVM'; not taken: '${INTEL}', '${NVIDIA}'`);
  assert.is(chooseAdapter(list(LAVAPIPE)).reason, 'no GPU found, software adapter; no other');
});

test('a number chooses among several, in the order of the list', () => {
  const all = list(SWIFTSHADER, LAVAPIPE, INTEL, NVIDIA);
  assert.is(chooseAdapter(all, 'nvidia#1').name, NVIDIA);
  assert.is(chooseAdapter(all, '#2').name, LAVAPIPE);
  assert.is(chooseAdapter(all, 'e#2').name, LAVAPIPE);
  assert.is(chooseAdapter(all, '4090').name, NVIDIA);
  for (const wanted of ['nvidia#2', 'nvidia#0', '#5']) {
    assert.throws(
      () => chooseAdapter(all, wanted),
      (error: Error) =>
        error instanceof NoDeviceError && /expected at least \d names containing '(nvidia)?'/.test(error.message),
    );
  }
});

test('of two equal names Dawn opens the first only, and the second is refused in words', () => {
  const twins = list(NVIDIA, NVIDIA, `${NVIDIA} D`);
  assert.is(chooseAdapter(twins, '4090').name, NVIDIA);
  assert.is(chooseAdapter(twins, '4090#1').name, NVIDIA);
  assert.is(chooseAdapter(twins, '4090#3').name, `${NVIDIA} D`);
  const refused = (error: Error) =>
    error instanceof NoDeviceError && /opens the first.*got the second 'NVIDIA.*DRI_PRIME/.test(error.message);
  assert.throws(() => chooseAdapter(twins, '4090#2'), refused);
  assert.throws(() => chooseAdapter(twins.toReversed(), '4090#2'), refused);
  assert.is(chooseAdapter(twins.toReversed(), '4090').name, `${NVIDIA} D`);
  const backends = [
    { backend: 'd3d12', name: NVIDIA },
    { backend: 'vulkan', name: NVIDIA },
  ];
  assert.is(chooseAdapter(backends, '4090#2').backend, 'vulkan');
});

test('what nobody has is refused with what there is', () => {
  const error = (refused: Error) =>
    refused instanceof NoDeviceError &&
    /expected a name containing 'radeon', got 'SwiftShader.*--adapter or DAYBREAK_ADAPTER/.test(refused.message);
  assert.throws(() => chooseAdapter(list(SWIFTSHADER, LAVAPIPE), 'radeon'), error);
  assert.throws(
    () => chooseAdapter([]),
    (refused: Error) => refused instanceof NoDeviceError && /install/.test(refused.message),
  );
});

test('kernels are guarded on the CPU and not on a GPU, unless it is asked for otherwise', () => {
  const guarded = (name: string, ...asked: [boolean?, string?]) =>
    wantsRobustness({ backend: 'vulkan', name }, ...asked);
  for (const name of [LAVAPIPE, SWIFTSHADER]) {
    assert.ok(guarded(name, undefined, ''));
    assert.not.ok(guarded(name, undefined, 'off'));
    assert.not.ok(guarded(name, false, 'on'));
  }
  assert.not.ok(guarded(NVIDIA, undefined, ''));
  assert.ok(guarded(NVIDIA, undefined, 'on'));
  assert.ok(guarded(NVIDIA, true, 'off'));
  assert.throws(() => guarded(NVIDIA, undefined, 'yes'), /DAYBREAK_ROBUSTNESS: expected on or off, got 'yes'/);
});

const available = await listAdapters();
for (const { name } of available) {
  test(`opens '${name}' by its name and by its number`, async () => {
    const position = available.findIndex((entry) => entry.name === name) + 1;
    for (const adapter of [name, `#${position}`]) {
      const device = await openDevice({ adapter });
      assert.is(device.name, name);
      assert.match(device.driver.toLowerCase(), name.slice(0, 8).toLowerCase());
      device.dispose();
    }
  });
}

const ICDS = '/usr/share/vulkan/icd.d';
const icd = existsSync(ICDS) && readdirSync(ICDS).find((file) => /^lvp_icd.*json$/.test(file));
if (icd && available.some(({ name }) => /llvmpipe/.test(name))) {
  test('a driver that is there twice has two equal names, and only the first opens', () => {
    const folder = mkdtempSync(join(tmpdir(), 'daybreak-adapter-'));
    try {
      const copy = join(folder, 'again.json');
      copyFileSync(join(ICDS, icd), copy);
      const added = [process.env.VK_ADD_DRIVER_FILES, copy].filter(Boolean).join(delimiter);
      const fixture = new URL('./fixtures/open_named.ts', import.meta.url).pathname;
      const args = [...process.execArgv, fixture, 'llvmpipe', 'llvmpipe#1', 'llvmpipe#2'];
      const env = { ...process.env, VK_ADD_DRIVER_FILES: added };
      const lines = execFileSync(process.execPath, args, { env, encoding: 'utf8' }).trim().split('\n');
      assert.match(lines[0]!, /^llvmpipe.*asked for as 'llvmpipe'; not taken:.*'llvmpipe/);
      assert.match(lines[1]!, /^llvmpipe.*asked for as 'llvmpipe#1'/);
      assert.match(lines[2]!, /^NoDeviceError: .*got the second 'llvmpipe/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
}

test.run();
