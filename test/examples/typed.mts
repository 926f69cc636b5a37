// The API as TypeScript sees it: compiled by a test, with strict flags and those of others.
import { type AnswerOptions, boxes, type Chat, load, type Model, type PictureSource, type Result, readPicture } from 'daybreak';
import { matmul, rmsNorm } from 'daybreak/kernels';
import { generate, Phi4Vision, Processor } from 'daybreak/model';
import { asMatrix, type Device, Graph, kernel, openDevice, Plan, type Tensor, variant } from 'daybreak/runtime';
import { type OpSpec, timeCase, verifyCase } from 'daybreak/testing';

export async function ask(dir: string, picture: PictureSource, signal: AnswerOptions['signal']): Promise<Result> {
  const model: Model = await load(dir, {
    dtype: 'f16',
    onProgress: (phase, done, total) => void [phase, done / total],
  });
  const { width, height } = await readPicture(picture);
  const messages = [
    {
      role: 'user',
      content: [
        { type: 'image', image: picture },
        { type: 'text', text: 'What?' },
      ],
    },
  ] as const;
  for await (const part of model.generate({ messages, signal, logProbs: 1 })) {
    const shown: string = part.text + part.reasoning;
    if (part.end) return part.end;
    boxes(shown, { width, height }).boxes.map(({ left }) => left.toFixed());
  }
  const chat: Chat = model.chat({ seed: 1 });
  const { text } = await chat.send('And?').result();
  await model.dispose();
  return { ...(await chat.send(text).result()), seed: 2 };
}

export async function own(text: string): Promise<number> {
  const device: Device = await openDevice();
  const swish = kernel({ name: 'swish/swish', wgsl: text });
  const spec: OpSpec<{ count: number }> = {
    name: 'swish',
    formula: 'y = x',
    variants: [variant(swish)],
    cases: [{ count: 1 }],
    bench: [],
    inputs: ({ count }, random) => ({ x: random.tensor([count]) }),
    record: (g, { x }) => rmsNorm(g, x as Tensor, x as Tensor, 1e-5),
    reference: () => new Float64Array(1),
    tolerance: () => ({ atol: 0, rtol: 0 }),
  };
  const { ok } = await verifyCase(device, spec, { count: 1 }, 'swish/swish');
  const { micros } = await timeCase(device, spec, { count: 1 }, 'swish/swish');
  const graph = new Graph(device);
  const x = graph.input('x', [1, 8], 'f32');
  graph.output('y', matmul(graph, x, asMatrix(x)));
  const plan = await Plan.create(graph);
  const { y } = plan.run({ x: { shape: [1, 8], dtype: 'f32', data: new Float32Array(8) } });
  const { data } = await device.download(y as Tensor);
  plan.dispose();
  const encoder = device.gpu.createCommandEncoder();
  device.submit(encoder, 'nothing');
  return Number(ok) + micros + data.length;
}

export { generate, Phi4Vision, Processor };
