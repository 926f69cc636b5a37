#!/usr/bin/env node
// The command of the package: `npx daybreak`.
import { fileURLToPath } from 'node:url';
import { runFiltered } from './run_filtered.mjs';

runFiltered([fileURLToPath(new URL('./command/main.js', import.meta.url)), ...process.argv.slice(2)]);
