// Writes ONNX models: protocol buffers with the field numbers of onnx.proto3, IR version 10.

/** Element types of tensors, with their numbers in TensorProto.DataType. */
const DATA_TYPES = { float32: 1, uint8: 2, int32: 6, int64: 7, float16: 10 } as const;
const IR_VERSION = 10;
const OPSETS = { '': 21, 'com.microsoft': 1 };
const ATTRIBUTE = { float: 1, int: 2 };

export type OnnxType = keyof typeof DATA_TYPES;

/** The type and shape of a value. */
export interface OnnxShape {
  readonly type: OnnxType;
  readonly dims: readonly number[];
}

/** A tensor; float16 is carried as its 16 raw bits. */
export interface OnnxTensor extends OnnxShape {
  readonly data: Float32Array | Uint16Array | Uint8Array | Int32Array | BigInt64Array;
}

/** One operator; numbers are integer attributes, floats stand in an object. */
export interface OnnxNode {
  readonly op: string;
  readonly domain?: 'com.microsoft';
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes?: Readonly<Record<string, number | { readonly float: number }>>;
}

/** A graph with all its values by name: those stored in the model, those given to each run, those that come out. */
export interface OnnxGraph {
  readonly nodes: readonly OnnxNode[];
  readonly constants: Readonly<Record<string, OnnxTensor>>;
  readonly inputs: Readonly<Record<string, OnnxShape>>;
  readonly outputs: Readonly<Record<string, OnnxShape>>;
}

/** The bytes of an .onnx file (ModelProto) that holds a graph. */
export function onnxModel({ nodes, constants, inputs, outputs }: OnnxGraph): Uint8Array {
  const graph = new Message().text(2, 'graph');
  for (const node of nodes) graph.message(1, nodeProto(node));
  for (const [name, tensor] of Object.entries(constants)) graph.message(5, tensorProto(name, tensor));
  for (const [name, shape] of Object.entries(inputs)) graph.message(11, valueInfoProto(name, shape));
  for (const [name, shape] of Object.entries(outputs)) graph.message(12, valueInfoProto(name, shape));
  const model = new Message().integer(1, IR_VERSION).message(7, graph);
  for (const [domain, version] of Object.entries(OPSETS)) {
    model.message(8, new Message().text(1, domain).integer(2, version));
  }
  return Buffer.concat(model.parts);
}

function nodeProto({ op, domain, inputs, outputs, attributes = {} }: OnnxNode): Message {
  const node = new Message();
  for (const name of inputs) node.text(1, name);
  for (const name of outputs) node.text(2, name);
  node.text(4, op);
  for (const [name, value] of Object.entries(attributes)) node.message(5, attributeProto(name, value));
  return domain ? node.text(7, domain) : node;
}

function attributeProto(name: string, value: number | { readonly float: number }): Message {
  const attribute = new Message().text(1, name);
  if (typeof value === 'number') return attribute.integer(3, value).integer(20, ATTRIBUTE.int);
  return attribute.float(2, value.float).integer(20, ATTRIBUTE.float);
}

function tensorProto(name: string, { type, dims, data }: OnnxTensor): Message {
  const tensor = new Message();
  for (const dim of dims) tensor.integer(1, dim);
  tensor.integer(2, DATA_TYPES[type]).text(8, name);
  return tensor.bytes(9, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
}

function valueInfoProto(name: string, { type, dims }: OnnxShape): Message {
  const shape = new Message();
  for (const dim of dims) shape.message(1, new Message().integer(1, dim));
  const tensor = new Message().integer(1, DATA_TYPES[type]).message(2, shape);
  return new Message().text(1, name).message(2, new Message().message(1, tensor));
}

/** The fields of a protocol buffer message, written in call order. */
class Message {
  readonly parts: Uint8Array[] = [];

  /** A field of type int32, int64 or enum. */
  integer(field: number, value: number): this {
    return this.#tag(field, 0).#varint(BigInt(value));
  }

  /** A field of type float. */
  float(field: number, value: number): this {
    const bytes = Buffer.alloc(4);
    bytes.writeFloatLE(value);
    this.#tag(field, 5).parts.push(bytes);
    return this;
  }

  text(field: number, value: string): this {
    return this.bytes(field, Buffer.from(value));
  }

  bytes(field: number, value: Uint8Array): this {
    this.#tag(field, 2).#varint(BigInt(value.length)).parts.push(value);
    return this;
  }

  message(field: number, { parts }: Message): this {
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    this.#tag(field, 2)
      .#varint(BigInt(length))
      .parts.push(...parts);
    return this;
  }

  #tag(field: number, wireType: number): this {
    return this.#varint(BigInt((field << 3) | wireType));
  }

  /** Seven bits a byte, lowest first, the top bit set on all but the last; negative numbers as 64 bits. */
  #varint(value: bigint): this {
    const bytes: number[] = [];
    let rest = BigInt.asUintN(64, value);
    for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
    this.parts.push(Uint8Array.of(...bytes, Number(rest)));
    return this;
  }
}
