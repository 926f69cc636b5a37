/** A fault to put into the sources: `from`, which `file` holds once, becomes `to`. */
export interface Mutation {
  /** What is wrong then, in a few words. */
  name: string;
  file: string;
  from: string;
  to: string;
  /** The tests that should see it: NAME of test/NAME.test.ts, or kernels/OP for the cases of one op. */
  tests: readonly string[];
}

/** Mutations of one file: name, original, fault, tests. */
function of(file: string, ...rows: [name: string, from: string, to: string, ...tests: string[]][]): Mutation[] {
  return rows.map(([name, from, to, ...tests]) => ({ name, file, from, to, tests }));
}

const KERNELS: Mutation[] = [
  of('kernels/lib/rotary.wgsl', [
    'rope: a flipped sign',
    'vec4f(-sine.x, sine.x,',
    'vec4f(sine.x, sine.x,',
    'kernels/rope',
    'kernels/qkv',
  ]),
  of(
    'kernels/rope/rope.wgsl',
    ['rope: the angles of the next position', 'places[token].x,', 'places[token].x + 1u,', 'kernels/rope'],
    ['rope: the first column left out', 'token * COLS + COLUMN', 'token * COLS', 'kernels/rope'],
  ),
  of(
    'kernels/lib/finish_qkv.wgsl',
    ['qkv: a row past the capacity', 'place.x >= params.width * PAGE', 'place.x > params.width * PAGE', 'kernels/qkv'],
    ['qkv: columns of the first block', 'let i = (params.first + col) %', 'let i = col %', 'kernels/qkv'],
    ['qkv: the page of the first sequence', 'page_of(place.y,', 'page_of(0u,', 'kernels/qkv'],
    [
      'qkv: k is not rotated',
      '  if (head < HEADS + KV_HEADS) {\n    v =',
      '  if (head < HEADS) {\n    v =',
      'kernels/qkv',
    ],
  ),
  of(
    'kernels/qkv/qkv.ts',
    ['qkv: four columns that a block cuts', 'whole && applies(', 'applies(', 'policy'],
    ['qkv: k from the columns of q', ', column: heads * headDim }', ' }', 'kernels/qkv'],
  ),
  of(
    'kernels/rope/rope.ts',
    ['rope: frequencies of half the exponent', 'fround((2 * i) / headDim)', 'fround(i / headDim)', 'rope_table'],
    ['rope: no heads are let through', "expect(heads > 0, 'rope'", "expect(heads >= 0, 'rope'", 'device'],
  ),
  of('kernels/resize_position/resize_position.wgsl', [
    'resize_position: the table transposed',
    '(i * params.grid + j) * CHUNKS',
    '(j * params.grid + i) * CHUNKS',
    'kernels/resize_position',
  ]),
  of(
    'kernels/rms_norm/rms_norm.wgsl',
    ['rms_norm: eps dropped', '/ f32(COLS) + EPS)', '/ f32(COLS))', 'kernels/rms_norm'],
    ['rms_norm: from the first row on', '(params.start + row) * COLS', 'row * COLS', 'kernels/rms_norm'],
  ),
  of('kernels/rms_norm/rms_norm_subgroup.wgsl', [
    'rms_norm_subgroup: eps dropped',
    '/ f32(COLS) + EPS)',
    '/ f32(COLS))',
    'norm_eps',
  ]),
  of('kernels/layer_norm/layer_norm_subgroup.wgsl', [
    'layer_norm_subgroup: eps dropped',
    '/ f32(COLS) + EPS)',
    '/ f32(COLS))',
    'norm_eps',
  ]),
  of(
    'kernels/layer_norm/layer_norm.wgsl',
    ['layer_norm: eps dropped', '/ f32(COLS) + EPS)', '/ f32(COLS))', 'kernels/layer_norm'],
    ['layer_norm: the bias left out', ' * scale) + b[i]', ' * scale)', 'kernels/layer_norm'],
    [
      'layer_norm: the mean of squares, not the variance',
      'let v = x[base + i] - shift - mean;',
      'let v = x[base + i] - shift;',
      'kernels/layer_norm',
    ],
  ),
  of('kernels/lib/sum.wgsl', [
    'sum over lanes: the upper half left out',
    'WG / 2u; step > 0u',
    'WG / 4u; step > 0u',
    'kernels/rms_norm',
  ]),
  of('kernels/lib/sum_subgroup.wgsl', [
    'sum over subgroups: the first left out',
    'for (var i = 0u; i < subgroups',
    'for (var i = 1u; i < subgroups',
    'kernels/rms_norm',
  ]),
  of(
    'kernels/attention/attention.wgsl',
    ['attention: the newest key hidden', '+ steps < limit', '+ steps + 1u < limit', 'kernels/attention'],
    ['attention: earlier weights not scaled down', 'weight[r] *= scale;', '', 'kernels/attention'],
    [
      'attention: keys of another head',
      'params.k_offset + head / GROUP * params.k_head',
      'params.k_offset + head % GROUP * params.k_head',
      'kernels/attention',
    ],
  ),
  of('kernels/lib/attention_runs.wgsl', [
    'attention: a key of the future seen',
    'place.x + 1u, CAUSAL',
    'place.x + 2u, CAUSAL',
    'kernels/attention',
  ]),
  of('kernels/attention/attention_tile.wgsl', [
    'attention_tile: the newest key hidden',
    'vec4u(base + key) < seen',
    'vec4u(base + key + 1u) < seen',
    'kernels/attention',
  ]),
  of(
    'kernels/attention/attention_merge.wgsl',
    ['attention_merge: the newest key hidden', 'place.x + 1u, CAUSAL', 'place.x, CAUSAL', 'kernels/attention'],
    [
      'attention_merge: weights of blocks not scaled',
      'dot(scale, vec2f(a.stats.y, b.stats.y))',
      'a.stats.y + b.stats.y',
      'kernels/attention',
    ],
  ),
  of('kernels/attention/attention_decode_subgroup.wgsl', [
    'attention_decode_subgroup: the last values left out',
    'for (; key < count; key += SLICES) {',
    'for (; key + SLICES < count; key += SLICES) {',
    'kernels/attention',
  ]),
  of('kernels/attention/attention_decode_shuffle.wgsl', [
    'attention_decode_shuffle: keys behind the last one counted',
    'select(0.0, p, base + lane < count)',
    'p',
    'kernels/attention',
  ]),
  of(
    'kernels/attention/attention.ts',
    [
      'attention: scores over headDim, not its root',
      'Math.LOG2E / Math.sqrt(headDim)',
      'Math.LOG2E / headDim',
      'kernels/attention',
    ],
    ['attention: no heads are let through', 'kvHeads > 0 && heads > 0 && heads', 'heads', 'device'],
  ),
  of(
    'kernels/kv_append/kv_append.wgsl',
    [
      'kv_append: a row past the capacity',
      'place.x >= params.pages * PAGE',
      'place.x > params.pages * PAGE',
      'kernels/kv_append',
    ],
    ['kv_append: the position left out', 'PAGE + place.x % PAGE', 'PAGE + token % PAGE', 'kernels/kv_append'],
  ),
  of('kernels/kv_append/kv_append.ts', ['kv_append: no heads are let through', 'kvHeads > 0 &&\n', '\n', 'device']),
  of('kernels/lib/largest.wgsl', ['argmax: the highest index of equals', 'a.x <= b.x', 'a.x >= b.x', 'kernels/argmax']),
  of('kernels/lib/order.wgsl', [
    'argmax: two zeros are different',
    'return 0x80000000u;',
    'return 0x7fffffffu;',
    'kernels/argmax',
  ]),
  of(
    'kernels/lib/finish_largest.wgsl',
    ['logits: the largest of three', 'i < 4u && col + i', 'i < 3u && col + i', 'logits'],
    [
      'logits: what is not finite is not said',
      'select(order(bits), STRAY, (bits',
      'select(order(bits), 0u, (bits',
      'logits',
    ],
  ),
  of('kernels/argmax/argmax.wgsl', [
    'argmax: a part reaches into the next',
    'i < 4u && at + i < end',
    'i < 4u',
    'kernels/argmax',
  ]),
  of('kernels/embed/embed.wgsl', [
    'embed: the last row of a block left out',
    'row >= params.rows',
    'row + 1u >= params.rows',
    'kernels/embed',
  ]),
  of('kernels/lib/table.wgsl', [
    'embed: bf16 halves swapped',
    'vec4f(even.x, odd.x, even.y',
    'vec4f(odd.x, even.x, even.y',
    'kernels/embed',
  ]),
  of(
    'kernels/advance/advance.wgsl',
    ['advance: one forced token too many', 'step < forced[0]', 'step <= forced[0]', 'kernels/advance'],
    ['advance: history past its end', 'step < params.capacity', 'step <= params.capacity', 'kernels/advance'],
    ['advance: the last four logits left out', 'if (q < quads) {', 'if (q + 1u < quads) {', 'kernels/advance'],
    [
      'advance: the next step draws by the number of this one',
      'random[2], step + 1u',
      'random[2], step',
      'kernels/advance',
    ],
    ['advance: only the first part of the embedding', 'chunk += WG', 'chunk += COLS', 'kernels/advance'],
  ),
  of(
    'kernels/lib/finish.wgsl',
    ['linear: digits of gelu_tanh swapped', '0.044715', '0.044751', 'kernels/matmul'],
    ['linear: the residual taken off', 'value + residual[at]', 'value - residual[at]', 'kernels/matmul'],
    ['linear: the bias of the first block', 'bias[params.first + min(', 'bias[min(', 'kernels/matmul'],
  ),
  of(
    'kernels/lib/matmul.wgsl',
    [
      'linear: gate and up swapped',
      'v.yw * sigmoid(vec4f(v.xz, 0.0, 0.0)).xy * v.xz',
      'v.xz * sigmoid(vec4f(v.yw, 0.0, 0.0)).xy * v.yw',
      'kernels/matmul',
    ],
    ['linear: digits of erf swapped', '1.421413741', '1.412413741', 'kernels/matmul'],
    [
      'linear: scales of quantised weights, always the even one',
      'scales[at / 2u] >> (at % 2u * 16u)',
      'scales[at / 2u]',
      'kernels/matmul',
    ],
  ),
  of(
    'kernels/lib/widen.wgsl',
    ['widen: nibbles off by one', 'extractBits(word, at + 8u, 4u)', 'extractBits(word, at + 7u, 4u)', 'kernels/matmul'],
    ['widen: bf16 halves swapped', 'v.x << 16u, v.x & UPPER', 'v.x & UPPER, v.x << 16u', 'kernels/matmul'],
    ['widen: the padding of x read', 'at < params.quads)', 'true)', 'kernels/matmul'],
  ),
  of('kernels/lib/dot.wgsl', [
    'dot: the factor of upper nibbles left out',
    'select(1.0, 0.0625, FORMAT == Q4)',
    '1.0',
    'kernels/matmul',
  ]),
  of('kernels/lib/table_quantized.wgsl', [
    'quants: nibbles off by one',
    '(word << 4u) & 0xf0f0f0f0u',
    '(word << 4u) & 0xe0f0f0f0u',
    'kernels/embed',
  ]),
  of('kernels/matmul/matmul_tile.wgsl', [
    'matmul_tile: columns behind a row counted',
    ', k + part < params.quads)',
    ', true)',
    'kernels/matmul',
  ]),
  of('kernels/lib/gemv.wgsl', [
    'gemv: the last units of a row left out',
    'for (; lane + skip < units;',
    'for (; lane + skip + LANES < units;',
    'kernels/matmul',
  ]),
  of('kernels/matmul/gemv_shuffle.wgsl', [
    'gemv_shuffle: the 8s are taken off one column too many',
    'select(-8.0, 0.0, odd)',
    '-8.0',
    'kernels/matmul',
  ]),
  of(
    'kernels/matmul/matmul_dot_shuffle.wgsl',
    [
      'matmul_dot_shuffle: the lower halves have no sign',
      '((dots << vec4u(16u)) >> vec4u(16u))',
      '(dots & vec4i(0xffff))',
      'kernels/matmul',
    ],
    ['matmul_dot_shuffle: quants have 8 too much', ' - vec4i(0x00080008)', '', 'kernels/matmul'],
    ['matmul_dot_shuffle: the scale of the first row for all', 'line(row + mine)', 'line(row)', 'kernels/matmul'],
  ),
  of('kernels/lib/quantize_block.wgsl', [
    'quantize_rows: the halves of a block stand side by side',
    'quants[near + blocks]',
    'quants[near + 1u]',
    'kernels/quantize_rows',
  ]),
  of(
    'kernels/quantize_rows/quantize_rows_normed.wgsl',
    ['quantize_rows_normed: the weights of another column', 'norm[at]', 'norm[block]', 'kernels/quantize_rows'],
    [
      'quantize_rows_normed: a mean over whole blocks',
      '4u * params.quads',
      '32u * params.blocks',
      'kernels/quantize_rows',
    ],
  ),
  of('kernels/lib/philox.wgsl', [
    'sample: a round of Philox missing',
    'ROUNDS: u32 = 10u',
    'ROUNDS: u32 = 9u',
    'kernels/advance',
  ]),
  of(
    'kernels/sample/sample_draw.wgsl',
    [
      'sample: top-k keeps one more',
      'vec2u(min(settings[4], elements), 0u)',
      'vec2u(min(settings[4] + 1u, elements), 0u)',
      'sampler',
    ],
    ['sample: the highest of ties are kept', '(0xffffffu - i) << 8u', 'i << 8u', 'sampler'],
    [
      'sample: elements that the list has no room for are forgotten',
      'params.count, candidates > LISTED',
      'LISTED, candidates > LISTED',
      'sampler',
    ],
    ['sample: a bin too few is listed', 'threshold = sum.w;', 'threshold = before_lane(lane).w;', 'sampler'],
    [
      'sample: what is drawn may lie outside the nucleus',
      'plus(drawn, vec2u(1u, 0u))), kept.prefix)',
      'plus(drawn, vec2u(1u, 0u))), vec2u())',
      'sampler',
    ],
  ),
  of(
    'kernels/lib/merge_int8.wgsl',
    [
      'attention: quants of every head in the first',
      'head * (QUADS / 8u) + quad / 8u',
      'quad / 8u',
      'kernels/attention',
    ],
    ['attention: scales of the first block of a head', 'sums[quad / 8u * 8u + i]', 'sums[i]', 'kernels/attention'],
  ),
  of('kernels/lib/tally.wgsl', [
    'sample: a carry of the 64-bit sums lost',
    ' + u32(old + weight.x < weight.x)',
    '',
    'sampler',
  ]),
].flat();

const RUNTIME: Mutation[] = [
  of(
    'runtime/gently.ts',
    ['gently: a long wait polls as often as a short one', 'SHARE = 1 / 8', 'SHARE = 0', 'gently'],
    ['gently: naps go on when nothing is waited for', 'napping = waiting > 0', 'napping = true', 'gently'],
    ['gently: a wait begins with the longest nap', 'performance.now() - since', 'performance.now()', 'gently'],
  ),
  of('runtime/liveness.ts', [
    'memory: a slot given away while it is read',
    'slot.busyUntil < first',
    'slot.busyUntil <= first',
    'liveness',
  ]),
  of(
    'runtime/kernel.ts',
    [
      'grids: no rows are NaN workgroups',
      'Math.max(1, ceilDiv(workgroups, 65535))',
      'ceilDiv(workgroups, 65535)',
      'recording',
    ],
    ['variants: one of the features is enough', '.every((feature) =>', '.some((feature) =>', 'recording'],
  ),
  of('runtime/params.ts', ['params: signed as unsigned', "type === 'f32'", "type === 'i32'", 'recording']),
  of(
    'runtime/graph.ts',
    ['graph: an output with two memories', 'known && known !== storage', 'false', 'device'],
    [
      'graph: a tensor read that nobody wrote',
      'if (tensor.storage || this.#defined.has(rootOf(tensor))) return;',
      'return;',
      'recording',
    ],
    ['graph: reshape to another size', '(tensor.shape)) {', '(shape)) {', 'recording'],
  ),
  of(
    'runtime/plan.ts',
    [
      'plan: a plan that fails keeps its memory',
      'return owned.orFree(() =>',
      'return (async (body) => body())(() =>',
      'model',
    ],
    ['plan: an input of any class and length', 'checkHost(host,', 'String(host,', 'host_data'],
  ),
  of(
    'runtime/tensor.ts',
    ['host data: any class', 'data.constructor === Expected && ', '', 'host_data'],
    ['host data: any length', ' && data.length === count', '', 'host_data'],
  ),
  of('runtime/memory.ts', [
    'memory: what fails keeps what it had',
    'this.free();\n      throw error;',
    'throw error;',
    'model',
  ]),
  of(
    'runtime/dtype.ts',
    ['bf16: ties away from even', '0x7fff + ((word >>> 16) & 1)', '0x8000', 'dtype'],
    ['f16: subnormals halved', 'sign * fraction * 2 ** -24', 'sign * fraction * 2 ** -25', 'dtype'],
  ),
].flat();

const MODEL: Mutation[] = [
  of(
    'model/phi3.ts',
    ['decoder: keys cached as values', 'options, pools);', 'options, { k: pools.v, v: pools.k });', 'reference'],
    ['decoder: the norms of a layer swapped', 'mixed, layer.postNorm', 'mixed, layer.inputNorm', 'reference'],
    ['decoder: the residual of before attention', '{ residual: mixed }', '{ residual: x }', 'reference'],
  ),
  of(
    'model/siglip2.ts',
    ['vision: queries and keys swapped', "['q', 'k', 'v'].map", "['k', 'q', 'v'].map", 'reference'],
    ['vision: the other GELU', "activation: 'gelu_tanh'", "activation: 'gelu_erf'", 'gelu_kinds'],
    [
      'vision: rows and columns of the positions swapped',
      '[line + Math.floor(i / grid.cols), line + grid.rows + (i % grid.cols)]',
      '[line + grid.rows + (i % grid.cols), line + Math.floor(i / grid.cols)]',
      'reference',
    ],
  ),
  of('model/projector.ts', [
    'projector: the other GELU',
    "activation: 'gelu_erf'",
    "activation: 'gelu_tanh'",
    'gelu_kinds',
  ]),
  of(
    'model/session.ts',
    ['session: the answer one position late', 'this.#past.length - 1 + n, 0', 'this.#past.length + n, 0', 'reference'],
    ['session: chunks of a prompt on top of each other', '= this.#past.length + row;', '= row;', 'prefill_chunks'],
    [
      'session: a prompt of any length',
      'if (ids >= 1 && total <= this.capacity) return;',
      'if (ids >= 0) return;',
      'model',
    ],
  ),
  of('model/pages.ts', [
    'session: a cache that fails keeps its memory',
    'v: owned.keep(device.tensor(',
    'v: Object(device.tensor(',
    'model',
  ]),
  of(
    'model/session.ts',
    ['generate: a lost device leaves an unhandled rejection', 'token.catch(() => {});', '', 'model'],
    [
      'decode: one step past the cache',
      'this.#past.length + steps - 1 <= this.capacity',
      'this.#past.length + steps - 2 <= this.capacity',
      'model',
    ],
  ),
  of(
    'model/generate.ts',
    ['generate: an end token does not end', 'eos.includes(token)', 'eos.includes(-1)', 'answer_end'],
    ['generate: one token past the context', 'context - ids.length + 1', 'context - ids.length + 2', 'answer_end'],
  ),
  of('model/prompt_images.ts', ['pictures: features of one picture for all', 'row - first]', '0]', 'e2e']),
  of(
    'model/checkpoint/matrix_layout.ts',
    ['weights: RoPE pairs are neighbours of the source', '(i >> 1) + (i & 1) * (headDim / 2)', 'i', 'weights'],
    ['weights: rows of a unit as they stand', '(rowOf!(first + i)! - first)', 'i', 'weights'],
    ['weights: gate and up swapped', '(row & 1) * half', '(1 - (row & 1)) * half', 'weights'],
    ['weights: stacked rows of the first only', 'rest -= sourceRows[source++]!', 'source++', 'weights'],
  ),
  of(
    'model/checkpoint/safetensors.ts',
    ['safetensors: a hole in the data', 'begin !== covered', 'begin < covered', 'safetensors'],
    ['safetensors: data past the end of the file', 'end > dataBytes', 'false', 'safetensors'],
    ['safetensors: a range past its tensor', ' && end <= info.bytes', '', 'safetensors'],
    ['safetensors: a shard outside the folder', '[^/\\\\:\\0]+\\.safetensors$/', '.+\\.safetensors$/', 'safetensors'],
  ),
  of('model/checkpoint/checksums.ts', [
    'checksums: a flipped byte unseen',
    'stored !== showSum(sum)',
    'false',
    'quantize',
  ]),
  of('model/checkpoint/stored_tensors.ts', [
    'checkpoint: missing tensors named one at a time',
    'missing.length > 1',
    'false',
    'missing_tensors',
  ]),
  of('model/phi4_vision.ts', [
    'checkpoint: missing tensors named only while loading',
    'const total = checkTensors(source, config);',
    'const total = 0;',
    'missing_tensors',
  ]),
  of(
    'model/checkpoint/json.ts',
    [
      'files: a pipe is waited for',
      "if (!status.isFile()) throw new Error('a folder or a device');",
      '',
      'safetensors',
      'read_image',
    ],
    ['json: a repeated key, the last one counts', 'keys?.has(key)', 'false', 'safetensors'],
  ),
  of('model/checkpoint/config.ts', [
    'config: more patches at least than at most',
    'minPatches <= maxPatches',
    'true',
    'config',
  ]),
  of(
    'model/image/patches.ts',
    ['pictures: levels off by one', 'Math.fround(unit - 0.5) / 0.5', 'Math.fround(unit - 0.5) / 0.501', 'image'],
    [
      'pictures: rows and columns of the grid swapped',
      'rows: height / patch, cols: width / patch',
      'rows: width / patch, cols: height / patch',
      'image',
      'reference',
    ],
    [
      'pictures: resized from the corner of a pixel',
      'const centre = (i + 0.5) * scale',
      'const centre = i * scale',
      'image',
    ],
    ['pictures: cut, not rounded', 'const HALF = 2 ** (FRACTION_BITS - 1)', 'const HALF = 0', 'image'],
    ['pictures: a row is added to those before it', 'sums.fill(HALF);', '', 'image'],
    ['pictures: the digest of the grid alone', '.update(resized.data)', '', 'image'],
    ['pictures: a patch more than allowed', '<= budget', '<= budget + 1', 'image'],
    ['pictures: channels reversed', 'LEVELS[data[i]!]!', 'LEVELS[data[i + 2 - 2 * ((i - from) % 3)]!]!', 'image'],
  ),
  of('model/image/read_image.ts', [
    "pictures: a JPEG decoded on the caller's thread",
    'decodeInPool({ source, file, native, upright }, { file, signal })',
    "(await import('./decode_file.ts')).decodeFile({ source, file }, native, () => {})",
    'many_scans',
    'image_pool',
  ]),
  of(
    'model/image/pool.ts',
    ['pictures: no time limit', 'timer = late(limit(size));', '', 'read_image'],
    ['pictures: jobs wait for a thread out of order', 'new Queue(THREADS)', 'new Queue(1000)', 'image_pool'],
    ['pictures: as many at once as there are', 'Math.min(availableParallelism(), 4)', '24', 'image_pool'],
    ['pictures: an aborted one waits for its turn', 'if (!signal) return result;', 'return result;', 'image_pool'],
  ),
  of('model/image/image_file.ts', [
    'pictures: control characters in errors',
    ".replace(/\\p{Cc}/gu, '?')",
    '',
    'read_image',
    'png',
    'jpeg',
  ]),
  of(
    'model/text/prompt.ts',
    ['prompt: the context null', 'context === undefined ?', 'context == null ?', 'prompt'],
    ['prompt: the context fractional', 'Number.isInteger(limit) && ', '', 'prompt'],
    ['prompt: rows of every picture from the first on', 'vocab + row++', 'vocab + i', 'prompt'],
  ),
  of('model/processor.ts', [
    'prompt: memory for pictures before the length is known',
    'checkLength(positions, context, config); // before memory is taken for the pictures',
    'await Promise.all(images.map((image) => cutInPool({ image, limits }, {})));\n    checkLength(positions, context, config);',
    'prompt',
  ]),
  of(
    'model/text/chat.ts',
    ['chat: an unknown mode', '!Object.hasOwn(OPENINGS, mode)', 'false', 'chat'],
    [
      'chat: the thinking of earlier answers stays',
      "role === 'assistant' ? spoken(content) : content",
      'content',
      'chat',
    ],
  ),
  of('model/text/tokenizer_file.ts', [
    'tokenizer: hostile merges',
    'Array.isArray(pair) && pair.length === 2 && ',
    '',
    'tokenizer',
  ]),
  of(
    'model/text/tokenizer.ts',
    ['tokenizer: the shortest added token first', 'b.length - a.length', 'a.length - b.length', 'tokenizer'],
    ['tokenizer: characters cut in a stream', '{ stream: true }', '{ stream: false }', 'tokenizer'],
  ),
].flat();

const PROGRAMS: Mutation[] = of('bench/report.ts', [
  'programs: a reader that stops is an error',
  "error.code === 'EPIPE'",
  "error.code === 'EPIP'",
  'closed_pipe',
]);

/** Faults that a review, newcomers and public reports found, and that were mended. */
const MENDED: Mutation[] = [
  of(
    'runtime/webgpu_device.ts',
    [
      'device: shared memory goes to Dawn',
      'isSharedArrayBuffer(data.buffer) ? bytes.slice() : bytes;',
      'isSharedArrayBuffer(data.buffer) ? bytes : bytes;',
      'refusals',
    ],
    ['device: usable after dispose', "    this.#gone ??= 'one that was disposed';\n", '', 'refusals'],
  ),
  of('runtime/bind_groups.ts', [
    'device: nothing collects bind groups',
    '  await collectGarbage();\n  release();',
    '  release();',
    'device',
  ]),
  of(
    'runtime/pipeline.ts',
    [
      'pipeline: a failed one is kept',
      'pipeline.catch(() => compiled.delete(key));',
      'pipeline.catch(() => {});',
      'refusals',
    ],
    [
      'pipeline: out of memory is an error of WGSL',
      'if (!outOfMemory) return',
      'if (outOfMemory || true) return',
      'refusals',
    ],
  ),
  of(
    'runtime/adapter.ts',
    ['adapter: the GPU for speed does not come first', '  if (device === fast) return 0;\n', '', 'adapter'],
    ['adapter: positions count from 0', 'matching[Number(position) - 1]', 'matching[Number(position)]', 'adapter'],
  ),
  of(
    'runtime/graph.ts',
    [
      'graph: -1 as a u32',
      'holds: (value) => value === value >>> 0',
      'holds: (value) => Number.isFinite(value)',
      'refusals',
    ],
    ['graph: half a workgroup', 'Number.isInteger(n) && n >=', 'n >=', 'refusals'],
    [
      'graph: a tensor read and written',
      '    refuseAliases(call, call.kernel.name, (tensor) => tensor.storage?.buffer ?? rootOf(tensor));\n',
      '',
      'refusals',
    ],
  ),
  of('runtime/tensor.ts', [
    'tensor: an unknown dtype',
    'expect(Object.hasOwn(BYTES, dtype),',
    'expect(dtype in BYTES,',
    'refusals',
  ]),
  of('runtime/kernel.ts', [
    'variant: matrix units of any types',
    'matrices.filter((unit) => unit.component === component && unit.result === result);',
    'matrices.filter((unit) => unit.component === component);',
    'matrix_units',
  ]),
  of('tools/check_imports.ts', [
    'check_imports: circles pass',
    'if (start >= 0) found.push',
    'if (start > 99) found.push',
    'check_imports',
  ]),
  of('kernels/lib/largest.wgsl', [
    'argmax: NaN compared as a number',
    'if ((bits & EXPONENT) == EXPONENT) {',
    'if (bitcast<f32>(bits) != bitcast<f32>(bits)) {',
    'kernels/argmax',
  ]),
  of('kernels/sample/sample_draw.wgsl', [
    'sample: what is not finite is not said',
    'y[1] = atomicLoad(&strays);',
    'y[1] = 0u;',
    'kernels/sample',
  ]),
  of(
    'kernels/lib/quantize.wgsl',
    ['quantize: 128 does not fit int8', '127.0 / largest', '128.0 / largest', 'kernels/quantize_rows'],
    ['quantize: an infinity has a finite scale', '0x7fffffffu', '0x7f7fffffu', 'not_finite'],
  ),
  of(
    'kernels/lib/x_int8_normed.wgsl',
    ['x_int8_normed: without the weights of the norm', 'v[i] = value * norm[at];', 'v[i] = value;', 'kernels/matmul'],
    [
      'x_int8_normed: the squares of one subgroup alone',
      'sum += squares[row * SUBGROUPS + i];',
      'sum = squares[row * SUBGROUPS + i];',
      'kernels/matmul',
    ],
  ),
  of('kernels/lib/norm.wgsl', [
    'norm: without eps',
    'squares / f32(cols) + EPS',
    'squares / f32(cols)',
    'kernels/matmul',
  ]),
  of('kernels/lib/x_normed.wgsl', [
    'x_normed: the squares of the last quad alone',
    'squares[row] += dot(v, v);',
    'squares[row] = dot(v, v);',
    'kernels/matmul',
  ]),
  of(
    'kernels/lib/finish_int8.wgsl',
    [
      'finish_int8: outputs that are not there',
      'silu_gate(sums), col < params.outs)',
      'silu_gate(sums), true)',
      'kernels/matmul',
    ],
    ['finish_int8: each block of w begins at 0', '(params.first + col) / 64u', 'col / 64u', 'kernels/matmul'],
  ),
  of('model/phi4_vision.ts', [
    'f16 on a CPU, too',
    "!onCpu && features.has('shader-f16')",
    "features.has('shader-f16')",
    'fused_steps',
  ]),
  of('model/weights.ts', [
    'weights: infinities are quantised',
    'if (wrong === undefined) continue;',
    'if (wrong !== -1) continue;',
    'not_finite',
  ]),
  of('model/text/jinja.ts', [
    "jinja: a break loses the loop's text",
    "if (jump === 'break') break;",
    "if (jump === 'break') return undefined;",
    'jinja',
  ]),
  of('model/text/python_text.ts', ['jinja: strip ignores its argument', 'new Set(str(chars))', 'undefined', 'jinja']),
  of('model/text/python_values.ts', [
    'jinja: none is written as nothing',
    "if (value === null) return 'None';",
    "if (value === null) return '';",
    'jinja',
  ]),
  of(
    'model/text/chat.ts',
    ['chat: tools are undefined', 'tools: null, ', '', 'chat'],
    ['chat: no special tokens', '...this.#tokenizer.specialTokens, ', '', 'chat'],
  ),
  of('model/text/template_file.ts', [
    'chat: the template of tokenizer_config.json is not found',
    "['tokenizer_config.json', 'chat_template.json']",
    "['chat_template.json']",
    'chat',
  ]),
  of('model/checkpoint/config.ts', [
    'config: any kind of rope',
    "rope.allow(key, 'default');",
    'rope.has(key);',
    'config',
  ]),
  of('model/checkpoint/json.ts', [
    'checkpoint: a Git LFS pointer is read as data',
    'if (!LFS_MARK.equals(bytes.subarray(0, LFS_BYTES))) return;',
    'if (bytes) return;',
    'safetensors',
  ]),
  of('model/text/prompt.ts', ['prompt: an escaped <image> is a mark', '/(?<!\\\\)<image>/', '/<image>/', 'prompt']),
  of('bench/html/names.ts', [
    'html: files of one commit look alike',
    "'commit', 'file', 'driver'",
    "'commit', 'driver'",
    'html',
  ]),
  of('bench/report.ts', ['rows: local paths', 'return resolve(dir).split(/[\\\\/]/).at(-1)!;', 'return dir;', 'html']),
  of('bench/speed.ts', ['speed: the warm-up counts', 'samples: samples.slice(1)', 'samples', 'speed']),
  of('bench/ceilings/cache.ts', [
    'ceilings: the worst is kept',
    'const most = isTime(rate) ? !best : best;',
    'const most = isTime(rate) ? best : !best;',
    'ceilings',
  ]),
  of(
    'model/past.ts',
    [
      'session: pages of steps that never came stay',
      'this.rewind(this.length); // an answer may have had pages for steps that it did not come to',
      '',
      'session_races',
    ],
    ['session: a shared page is written', '!pool.isOwn(pages[first]!)', 'false', 'session'],
    ['session: pages of other prompts are shared', '{before}', "{''}", 'session'],
  ),
  of(
    'model/session.ts',
    ['session: the first token of another prompt', 'engine.lastRows.place(encoder, this.#slot!);', '', 'session'],
    ['session: on with the embedding of another answer', 'if (taken) plans.embed.encode(encoder);', '', 'session'],
    ['session: the draws of another step', 'randomWords(seed, n)', 'randomWords(seed, 0)', 'session'],
  ),
  of(
    'model/session.ts',
    [
      'session: decoded where it went back',
      'if (kept < this.#past.length) this.#prompted = false;',
      '',
      'session_races',
    ],
    ['session: two answers at once', 'if (this.#answer === answer) return;', 'if (answer) return;', 'session_races'],
  ),
  of('model/siglip2.ts', [
    'vision: patches see other pictures',
    'spans.set([first, first + count]',
    'spans.set([0, first + count]',
    'packed_pictures',
  ]),
  of('runtime/pieces.ts', [
    'pieces: the first submit waits for all commands',
    'from === 0 ? Math.min(FIRST_STEPS, costs.length) : costs.length',
    'costs.length',
    'host_time',
  ]),
  of('model/pages.ts', [
    'pages: a pool larger than what can be bound',
    'Math.min(Math.ceil(limit / PAGE), bindable, free)',
    'Math.ceil(limit / PAGE)',
    'cache_size',
  ]),
  of('model/answer_text.ts', [
    'generate: a stop text is given out',
    'this.#held.length - this.#undecided()',
    'this.#held.length',
    'generate',
  ]),
  of('kernels/log_probs/log_probs.wgsl', [
    'log_probs: the sum without its logarithm',
    'top + log(best[0])',
    'top + best[0]',
    'kernels/log_probs',
  ]),
  of('runtime/params.ts', [
    'scalars: parameters keep their largest value',
    'put(view, at, type, value(scalar));',
    '',
    'scalars',
  ]),
].flat();

/** Faults of what came later: programs' starts, matrix units, guards, the API. */
const LATER: Mutation[] = [
  of('tools/limit_warnings.mjs', [
    'start: a warning in two pieces passes',
    "if (begins && !line.endsWith('\\n') && mayWarn(line)) held = line;",
    '',
    'start',
  ]),
  of('tools/run_filtered.mjs', [
    'start: tsx before stderr is direct',
    "['--import', direct, ...args]",
    "[...args.slice(0, 2), '--import', direct, ...args.slice(2)]",
    'start',
  ]),
  of('tools/run_filtered.mjs', [
    'start: a stray process hangs it',
    'if (filters) closeWhenIdle(child.stderr);',
    '',
    'start',
  ]),
  of('model/weights.ts', [
    'f16: the bound of a norm without its columns',
    'largest * Math.sqrt(cols)',
    'largest',
    'not_finite',
  ]),
  of('model/phi4_vision.ts', [
    'f16: norms beyond it are not named',
    "dtype === 'f16' ? store.overflowNotes() : []",
    '[]',
    'not_finite',
  ]),
  of('model/checkpoint/fields.ts', [
    'config: any value of a fixed field passes',
    'if (this.has(key)) this.require(key, supported);',
    'this.has(key);',
    'config',
  ]),
  of('runtime/adapter.ts', [
    'robustness: on for GPUs',
    'if (!word) return isSoftware(entry);',
    'if (!word) return true;',
    'adapter',
  ]),
  of('runtime/webgpu_device.ts', [
    'robustness: on whatever is asked',
    'robustness ? ENABLED : [...ENABLED, ...UNGUARDED]',
    'ENABLED',
    'robustness',
  ]),
  of('tools/isa/count.ts', ['isa: loops never end', 'while (open.at(-1)!.last < first) open.pop();', '', 'isa']),
  of('runtime/matrix_units.ts', [
    'matrix units: a wrong product is believed',
    'if (!problem) return { lanes };',
    'return { lanes };',
    'matrix_units',
  ]),
  of('runtime/matrix_units.ts', [
    'matrix units: a dead process is asked on',
    'if (child.ended) child = start();',
    '',
    'matrix_units',
  ]),
  of('runtime/kernel.ts', [
    'matrix units: the smallest is taken',
    'size(b) - size(a)',
    'size(a) - size(b)',
    'matrix_units',
  ]),
  of('runtime/dtype.ts', ['weights: f16 ends earlier', '0x38803880', '0x387f387f', 'dtype']),
  of('model/weights.ts', [
    'weights: the last block says what fits f16',
    'fits &&= fitsF16',
    'fits = fitsF16',
    'weights',
  ]),
  of('runtime/webgpu_device.ts', [
    'device: a lost one is used on',
    `this.#gone ??= \`lost (\${reason}): \${message}\`;`,
    '',
    'device_lost',
  ]),
  of('model/session.ts', [
    'chat: a new draw does not begin anew',
    '    this.#sampling = sampling;\n    this.#turn = 0;',
    '    this.#sampling = sampling;',
    'api',
  ]),
  of('model/api/chat.ts', [
    'chat: pictures of a turn that does not count stay',
    'if (!counts) kept.pictures = pictures;',
    '',
    'api',
  ]),
  of('model/api/messages.ts', [
    'api: an image mark in a text is a picture',
    "if (typeof content === 'string') return withoutMarks(content);",
    "if (typeof content === 'string') return content;",
    'api',
  ]),
  of('model/api/model.ts', [
    'api: disposing leaves answers running',
    'for (const running of this.#running) running.abort();',
    '',
    'api',
  ]),
  of('model/api/picture.ts', [
    'api: a picture is read after its bytes changed',
    'Uint8Array.from(bytes)',
    'bytes',
    'api',
  ]),
  of('runtime/graph.ts', [
    'plan: a grid that depends on scalars stays as it was planned',
    "asked ||= typeof amount !== 'number';",
    '',
    'scalars',
  ]),
].flat();

/** Faults that were made in this project, and their like. */
export const mutations: readonly Mutation[] = [...KERNELS, ...RUNTIME, ...MODEL, ...PROGRAMS, ...MENDED, ...LATER];
