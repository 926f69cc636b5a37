// Draws the pictures of the cases, with integers only, so that their pixels are the same everywhere: `npx tsx bench/cases/draw.ts [FOLDER]`.
import { mkdirSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PNG } from 'pngjs';
import { UsageError } from '../../runtime/index.ts';
import { blend, Canvas, scatter } from './canvas.ts';
import { ADVANCE, LINE } from './font.ts';

const INK = 0x202428;
const GREY = 0xc8ccd0;
const PAPER = 0xfdfcf8;

/** Every picture by its file name. */
export const PICTURES: Readonly<Record<string, () => Canvas>> = {
  'small.png': () => landscape(150, 100, { ...NOON, birds: 0 }),
  'screenshot.png': screenshot,
  'page.png': page,
  'chart.png': chart,
  'morning.png': () => landscape(400, 300, MORNING),
  'noon.png': () => landscape(320, 320, NOON),
  'night.png': () => landscape(290, 410, NIGHT),
  'receipt.png': receipt,
  'timeline.png': timeline,
  'poster.png': poster,
};

/** Draws into a folder, as PNG, the pictures that it lacks or that are older than this code; UsageError where it cannot write. */
export function drawCases(folder: string): void {
  const changed = Math.max(
    ...['draw.ts', 'canvas.ts', 'font.ts'].map((name) => modified(new URL(name, import.meta.url))),
  );
  try {
    mkdirSync(folder, { recursive: true });
    for (const [name, draw] of Object.entries(PICTURES)) {
      const path = join(folder, name);
      if (modified(path) < changed) writePng(path, draw());
    }
  } catch (error) {
    throw new UsageError(
      `${folder}: expected a folder for pictures, got ${(error as Error).message}; make it one that can be written`,
    );
  }
}

/** When a file was last written, in milliseconds; never counts as the beginning of time. */
function modified(path: string | URL): number {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

/** Writes a picture under another name first: whoever reads meanwhile finds it whole or not at all. */
function writePng(path: string, { width, height, data }: Canvas): void {
  const png = Object.assign(new PNG({ width, height }), { data: Buffer.from(data) });
  const part = `${path}.${process.pid}.part`;
  writeFileSync(part, PNG.sync.write(png, { colorType: 2, inputColorType: 2, inputHasAlpha: false, filterType: 1 }));
  renameSync(part, path);
}

/** The window of an editor: menus, buttons, a list of files, text and a status line. */
function screenshot(): Canvas {
  const canvas = new Canvas(1280, 720, 0x2f5d7c);
  canvas.text(20, 8, 'Applications   Places', 0xffffff, 2);
  canvas.text(1196, 8, '14:32', 0xffffff, 2);
  canvas.box(60, 40, 1160, 640, 0xf0f0f0, INK);
  canvas.fill(61, 41, 1158, 34, 0x3b4252);
  canvas.text(76, 51, 'garden.txt - Notes', 0xffffff, 2);
  for (const [i, sign] of ['_', '+', 'x'].entries()) button(canvas, 1110 + 36 * i, 45, 28, sign);
  for (const [i, menu] of ['File', 'Edit', 'View', 'Insert', 'Format', 'Help'].entries())
    canvas.text(76 + 100 * i, 86, menu, INK, 2);
  for (const [i, label] of ['New', 'Open', 'Save', 'Print', 'Undo', 'Redo', 'Find'].entries())
    button(canvas, 76 + 96 * i, 112, 84, label);
  canvas.box(76, 152, 250, 486, PAPER, GREY);
  for (const [i, file] of ['birds.txt', 'garden.txt', 'letters.txt', 'recipes.txt', 'tools.txt'].entries()) {
    if (i === 1) canvas.fill(77, 187, 248, 28, 0xbcd4ec);
    canvas.text(90, 163 + 30 * i, file, INK, 2);
  }
  canvas.box(338, 152, 866, 486, PAPER, GREY);
  for (const [i, line] of NOTES.entries()) canvas.text(354, 168 + 28 * i, line, INK, 2);
  canvas.text(76, 652, 'Line 3, column 1      Not saved      English', INK, 2);
  return canvas;
}

const NOTES = [
  'To do in the garden',
  '',
  '1. Sow the beans before the rain comes',
  '2. Mend the fence by the apple tree',
  '3. Ask Nora for her spade',
  '4. Water the tomatoes twice a week',
  '',
  'Seeds to buy: peas, dill, chard, beetroot',
  'Paid so far: 37.50 of 60.00',
  '',
  'The frost came on 12 May last year, so keep the',
  'pumpkins inside until then.',
];

function button(canvas: Canvas, left: number, top: number, width: number, label: string): void {
  canvas.box(left, top, width, 28, 0xe0e4e8, 0x60686f);
  canvas.text(left + ((width - 2 * ADVANCE * label.length) >> 1) + 1, top + 7, label, INK, 2);
}

const WORDS =
  'the a of to in and on at by for from with under over near between after before old new small large quiet early late ' +
  'harbour boat keeper lamp tower storm tide rope sail anchor gull stone wall path market bread baker letter clock ' +
  'window garden river bridge miller wheel grain horse cart road winter spring summer autumn morning evening night ' +
  'was were had came went saw heard found kept told wrote carried opened closed turned waited answered counted ' +
  'slowly often never always twice again there here then where nobody everyone somebody children neighbours strangers';

const SECTIONS = [
  '1. The harbour',
  '2. How the lamp was kept',
  '3. Winter stores',
  '4. Letters from the islands',
  '5. The mill',
];

/** A page full of sentences in small print, in numbered sections. */
function page(): Canvas {
  const canvas = new Canvas(700, 906, PAPER);
  const margin = 20;
  const columns = Math.floor((canvas.width - 2 * margin) / ADVANCE);
  canvas.text(margin, 14, 'Notes of a lighthouse keeper', INK, 3);
  const sectionLines = 15;
  for (const [section, title] of SECTIONS.entries()) {
    const top = 50 + 170 * section;
    canvas.text(margin, top, title, 0x802020);
    for (const [i, line] of wrap(sentences(section), columns).slice(0, sectionLines).entries())
      canvas.text(margin, top + LINE * (i + 1), line, INK);
  }
  return canvas;
}

/** About 2000 characters of sentences, others for every seed. */
function sentences(seed: number): string {
  const words = WORDS.split(' ');
  const all = Array.from({ length: 360 }, (_, i) => words[scatter(seed, i, words.length)]!);
  return all.map((word, i) => (i % 12 === 0 ? capital(word) : i % 12 === 11 ? `${word}.` : word)).join(' ');
}

function capital(word: string): string {
  return word[0]!.toUpperCase() + word.slice(1);
}

/** A text in lines of at most `columns` characters. */
function wrap(text: string, columns: number): string[] {
  const lines = [''];
  for (const word of text.split(' ')) {
    const line = `${lines.at(-1)} ${word}`.trimStart();
    if (line.length > columns) lines.push(word);
    else lines[lines.length - 1] = line;
  }
  return lines;
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug'];
const SOLD = [42, 55, 61, 38, 77, 93, 70, 48];
const BAKED = [50, 60, 70, 60, 80, 100, 90, 60];

/** Bars and a line over months, with axes, grid and legend. */
function chart(): Canvas {
  const canvas = new Canvas(620, 410, 0xffffff);
  const [left, bottom] = [70, 350];
  const height = (value: number) => bottom - ((5 * value) >> 1);
  canvas.text(110, 12, 'Loaves baked and sold per month', INK, 2);
  for (let value = 0; value <= 100; value += 20) {
    canvas.line(left, height(value), 600, height(value), GREY);
    canvas.text(left - 42, height(value) - 7, String(value).padStart(3), INK, 2);
  }
  const middle = (i: number) => left + 34 + 66 * i;
  for (const [i, sold] of SOLD.entries()) {
    canvas.fill(middle(i) - 20, height(sold), 40, bottom - height(sold), 0x3f7fbf);
    canvas.text(middle(i) - 6, height(sold) + 6, String(sold), 0xffffff);
    canvas.text(middle(i) - 18, bottom + 10, MONTHS[i]!, INK, 2);
  }
  for (const [i, baked] of BAKED.entries()) {
    if (i > 0) canvas.line(middle(i - 1), height(BAKED[i - 1]!), middle(i), height(baked), 0xd07020, 3);
    canvas.disc(middle(i), height(baked), 5, 0xd07020);
  }
  canvas.line(left, 90, left, bottom, INK, 2);
  canvas.line(left, bottom, 600, bottom, INK, 2);
  canvas.fill(200, 386, 14, 14, 0x3f7fbf);
  canvas.text(222, 386, 'sold', INK, 2);
  canvas.fill(330, 386, 14, 14, 0xd07020);
  canvas.text(352, 386, 'baked', INK, 2);
  canvas.text(8, 60, 'loaves', INK, 2);
  return canvas;
}

/** What differs between the landscapes; places in thousandths of the width and height. */
interface Light {
  skyTop: number;
  skyBottom: number;
  ground: number;
  sun: number;
  sunX: number;
  sunY: number;
  window: number;
  trees: number;
  birds: number;
}

const MORNING: Light = {
  ...{ skyTop: 0x6f8fc0, skyBottom: 0xf4c890, ground: 0x5f7f4f, sun: 0xf8a040 },
  ...{ sunX: 180, sunY: 480, window: 0x506070, trees: 3, birds: 2 },
};
const NOON: Light = {
  ...{ skyTop: 0x3f7fd0, skyBottom: 0xc0e0f8, ground: 0x4f9f3f, sun: 0xfff0a0 },
  ...{ sunX: 500, sunY: 150, window: 0x506070, trees: 3, birds: 4 },
};
const NIGHT: Light = {
  ...{ skyTop: 0x081028, skyBottom: 0x283860, ground: 0x182820, sun: 0xe8e8d8 },
  ...{ sunX: 780, sunY: 200, window: 0xffd860, trees: 2, birds: 0 },
};

/** A house, trees and hills below a sky, with a little noise as in a photo. */
function landscape(width: number, height: number, light: Light): Canvas {
  const canvas = new Canvas(width, height, light.skyTop);
  const x = (part: number) => Math.floor((width * part) / 1000);
  const y = (part: number) => Math.floor((height * part) / 1000);
  for (let row = 0; row < y(700); row++)
    canvas.fill(0, row, width, 1, blend(light.skyTop, light.skyBottom, row, y(700)));
  canvas.disc(x(light.sunX), y(light.sunY), x(60), light.sun);
  for (let bird = 0; bird < light.birds; bird++) drawBird(canvas, x(80 + 190 * bird), y(310 - 60 * (bird % 2)), x(24));
  for (const [layer, top] of [560, 640, 720].entries()) drawHills(canvas, y(top), y(110), layer, light.ground);
  for (let tree = 0; tree < light.trees; tree++)
    drawTree(canvas, x(120 + 150 * tree), y(880 - 30 * tree), x(45), light);
  drawHouse(canvas, x(620), y(640), x(240), light);
  canvas.shade((column, row) => scatter(column, row, 9) - 4);
  return canvas;
}

/** A row of hills, parabolas that meet; the nearer the layer, the darker. */
function drawHills(canvas: Canvas, top: number, rise: number, layer: number, ground: number): void {
  const colour = blend(ground, 0x000000, layer, 6);
  const half = Math.floor(canvas.width / (5 - layer));
  for (let x = 0; x < canvas.width; x++) {
    const off = ((x + layer * 37) % (2 * half)) - half;
    const y = top + Math.floor((rise * off * off) / (half * half));
    canvas.fill(x, y, 1, canvas.height - y, colour);
  }
}

function drawTree(canvas: Canvas, x: number, bottom: number, size: number, { ground }: Light): void {
  canvas.fill(x - (size >> 3), bottom - 2 * size, (size >> 2) + 1, 2 * size, 0x4a3020);
  for (const [dx, dy] of [
    [-1, 4],
    [1, 4],
    [0, 6],
  ] as const)
    canvas.disc(x + ((dx * size) >> 1), bottom - ((dy * size) >> 1), (size * 3) >> 2, blend(ground, 0x003000, 1, 2));
}

function drawHouse(canvas: Canvas, left: number, top: number, width: number, { window }: Light): void {
  const height = Math.floor((width * 7) / 10);
  const roof = width >> 1;
  for (let row = 0; row < roof; row++) canvas.fill(left + (width >> 1) - row, top - roof + row, 2 * row, 1, 0x8a3a2a);
  canvas.fill(left, top, width, height, 0xd8c8a8);
  const unit = Math.floor(width / 7);
  canvas.box(left + unit, top + unit, unit, unit, window, INK);
  canvas.box(left + 5 * unit, top + unit, unit, unit, window, INK);
  canvas.fill(left + 3 * unit, top + height - 3 * unit, unit, 3 * unit, 0x5a3a24);
}

function drawBird(canvas: Canvas, x: number, y: number, wing: number): void {
  const thickness = 1 + (wing >> 3);
  canvas.line(x - wing, y - (wing >> 1), x, y, INK, thickness);
  canvas.line(x, y, x + wing, y - (wing >> 1), INK, thickness);
}

/** A landscape with a headline, larger than what the model takes. */
function poster(): Canvas {
  const canvas = landscape(1600, 1600, NOON);
  canvas.text(60, 60, 'Summer fair at Mill House', 0xffffff, 9);
  canvas.text(60, 1480, 'Saturday 14 June, 10 to 18, entrance 5', 0xffffff, 6);
  return canvas;
}

const GOODS = ['Apples', 'Bread', 'Cheese', 'Dates', 'Eggs', 'Flour', 'Grapes', 'Honey', 'Jam', 'Lemons', 'Milk'];

/** A till receipt: some 250 lines, six patches wide. */
function receipt(): Canvas {
  const canvas = new Canvas(96, 3200, PAPER);
  const step = 12;
  const prices = Array.from({ length: 258 }, (_, i) => 50 + 5 * scatter(1, i, 90));
  const row = (at: number, name: string, cents: number) =>
    canvas.text(4, step * at + 4, name.padEnd(8) + money(cents).padStart(7), INK);
  canvas.text(4, 4, 'CORNER SHOP', INK);
  canvas.text(4, step + 4, '3 Mill Lane', INK);
  for (const [i, price] of prices.entries()) row(i + 3, GOODS[scatter(2, i, GOODS.length)]!, price);
  const total = prices.reduce((sum, price) => sum + price, 0);
  row(prices.length + 3, 'TOTAL', total);
  return canvas;
}

function money(cents: number): string {
  return `${Math.floor(cents / 100)}.${String(cents % 100).padStart(2, '0')}`;
}

const EVENTS: readonly (readonly [number, string])[] = [
  [1807, 'first mill'],
  [1824, 'stone bridge'],
  [1839, 'school opens'],
  [1851, 'railway'],
  [1866, 'great flood'],
  [1880, 'new harbour'],
  [1893, 'gas lamps'],
  [1909, 'electric light'],
  [1923, 'library'],
  [1938, 'bus line'],
  [1952, 'hospital'],
  [1967, 'swimming pool'],
  [1984, 'museum'],
];

/** Two centuries of a town on a strip six patches high. */
function timeline(): Canvas {
  const canvas = new Canvas(3200, 96, PAPER);
  const x = (year: number) => 24 + Math.floor(((year - 1800) * 315) / 20);
  canvas.line(0, 62, 3200, 62, INK, 3);
  for (let year = 1800; year <= 2000; year += 2) {
    const decade = year % 10 === 0;
    canvas.line(x(year), 62, x(year), decade ? 74 : 68, INK);
    if (decade) canvas.text(x(year) - 23, 78, String(year), INK, 2);
  }
  for (const [i, [year, event]] of EVENTS.entries()) {
    const top = 8 + 18 * (i % 2);
    canvas.line(x(year), top + 16, x(year), 62, 0x3f7fbf);
    canvas.disc(x(year), 62, 5, 0xd07020);
    canvas.text(x(year) - 6 * event.length, top, event, INK, 2);
  }
  return canvas;
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  drawCases(process.argv[2] ?? fileURLToPath(new URL('pictures', import.meta.url)));
