// node three_lines.mjs DIR QUESTION [PICTURE]: an answer as it comes.
import { load } from 'daybreak';

const [dir, question, picture] = process.argv.slice(2);
const pictures = picture ? [{ type: 'image', image: picture }] : [];
const messages = [{ role: 'user', content: [...pictures, { type: 'text', text: question }] }];

const model = await load(dir);
for await (const part of model.generate({ messages, temperature: 0, maxTokens: 24 })) {
  process.stdout.write(part.text);
  if (part.end) console.error('\n', part.end.finishReason, part.end.usage, part.end.timing);
}
await model.dispose();
