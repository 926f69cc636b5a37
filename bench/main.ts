import { fileURLToPath } from 'node:url';
import { Command, Option } from 'commander';
import { type E2eOptions, e2e } from './e2e.ts';
import { type OpsOptions, ops } from './ops.ts';
import { main, runCommands } from './report.ts';

const TINY = fileURLToPath(new URL('./reference/tiny', import.meta.url));

const adapter = () => new Option('--adapter <name>', 'part of the name of the adapter to use (also DAYBREAK_ADAPTER)');
const json = () => new Option('--json <file>', 'write every sample and the environment as JSON lines');

await main(async () => {
  let exitCode = 0;
  const program = new Command('bench').description('Is it right, and how fast: benches of daybreak.');
  program
    .command('e2e', { isDefault: true })
    .description('run prompts with pictures end to end and compare with a reference')
    .option('--model <dir>', 'model folder', TINY)
    .option('--reference <file>', 'reference file (default: expected.safetensors in the model folder)')
    .option('--prompts <a,b>', 'only these prompts of the reference')
    .addOption(adapter())
    .addOption(new Option('--dtype <type>', 'storage of activations').choices(['f32', 'f16']).default('f32'))
    .addOption(json())
    .action(async (options: E2eOptions) => {
      exitCode = await e2e(options);
    });
  program
    .command('ops')
    .description('time the kernels on the shapes of the 15B model')
    .argument('[name]', 'only this op')
    .addOption(adapter())
    .addOption(json())
    .action(async (name: string | undefined, options: OpsOptions) => {
      exitCode = await ops(name, options);
    });
  return (await runCommands(program)) || exitCode;
});
