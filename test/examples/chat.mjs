// node chat.mjs DIR PICTURE: two turns about a picture; the second computes only what is new.
import { boxes, load, readPicture } from 'daybreak';

const [dir, path] = process.argv.slice(2);
const model = await load(dir, { context: 2048 });
const chat = model.chat({ mode: 'nothink', temperature: 0, maxTokens: 16 });
const picture = await readPicture(path);

for (const content of [
  [{ type: 'image', image: picture }, { type: 'text', text: 'Where is the button? Answer as [x1, y1, x2, y2].' }],
  'And what is written on it?',
]) {
  let computed = 0;
  const onProgress = (phase, done, total) => {
    if (phase === 'prompt') computed = total;
  };
  const { text, usage } = await chat.send(content, { onProgress }).result();
  console.log(JSON.stringify({ text, ...boxes(text, picture), promptTokens: usage.promptTokens, computed }));
}
await model.dispose();
