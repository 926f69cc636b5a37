// Writes ONNX models: protocol buffers with the field numbers of onnx.proto3, IR version 10.

import { PbfWriter } from 'pbf';

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
export function onnxModel(graph: OnnxGraph): Uint8Array {
  const model = new PbfWriter();
  model.writeVarintField(1, IR_VERSION);
  model.writeMessage(7, graphProto, graph);
  for (const [domain, version] of Object.entries(OPSETS)) {
    model.writeMessage(
      8,
      (_, opset) => {
        opset.writeStringField(1, domain);
        opset.writeVarintField(2, version);
      },
      undefined,
    );
  }
  return model.finish();
}

function graphProto({ nodes, constants, inputs, outputs }: OnnxGraph, graph: PbfWriter): void {
  graph.writeStringField(2, 'graph');
  for (const node of nodes) graph.writeMessage(1, nodeProto, node);
  for (const tensor of Object.entries(constants)) graph.writeMessage(5, tensorProto, tensor);
  for (const shape of Object.entries(inputs)) graph.writeMessage(11, valueInfoProto, shape);
  for (const shape of Object.entries(outputs)) graph.writeMessage(12, valueInfoProto, shape);
}

function nodeProto({ op, domain, inputs, outputs, attributes = {} }: OnnxNode, node: PbfWriter): void {
  for (const name of inputs) node.writeStringField(1, name);
  for (const name of outputs) node.writeStringField(2, name);
  node.writeStringField(4, op);
  for (const attribute of Object.entries(attributes)) node.writeMessage(5, attributeProto, attribute);
  if (domain) node.writeStringField(7, domain);
}

type Attribute = NonNullable<OnnxNode['attributes']>[string];

function attributeProto([name, value]: [string, Attribute], attribute: PbfWriter): void {
  attribute.writeStringField(1, name);
  if (typeof value === 'number') attribute.writeVarintField(3, value);
  else attribute.writeFloatField(2, value.float);
  attribute.writeVarintField(20, typeof value === 'number' ? ATTRIBUTE.int : ATTRIBUTE.float);
}

function tensorProto([name, { type, dims, data }]: [string, OnnxTensor], tensor: PbfWriter): void {
  for (const dim of dims) tensor.writeVarintField(1, dim);
  tensor.writeVarintField(2, DATA_TYPES[type]);
  tensor.writeStringField(8, name);
  tensor.writeBytesField(9, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
}

function valueInfoProto([name, shape]: [string, OnnxShape], info: PbfWriter): void {
  info.writeStringField(1, name);
  info.writeMessage(2, (shape, type) => type.writeMessage(1, tensorTypeProto, shape), shape);
}

function tensorTypeProto({ type, dims }: OnnxShape, tensor: PbfWriter): void {
  tensor.writeVarintField(1, DATA_TYPES[type]);
  tensor.writeMessage(
    2,
    (dims, shape) => {
      for (const dim of dims) shape.writeMessage(1, (dim, one) => one.writeVarintField(1, dim), dim);
    },
    dims,
  );
}
