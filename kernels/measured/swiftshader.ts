/** Written by npm run tune. */
export const table = {
  adapter: 'SwiftShader Device',
  driver: 'SwiftShader driver 5.0.0',
  ops: {
    matmul: {
      kernels: 'd0a303dff5e5adf8',
      best: {
        'matmul 1 f32 q4': [
          'gemv_shuffle',
          'gemv_register',
          'matmul_register',
          'gemv_subgroup',
          'matmul_subgroup',
          'gemv',
          'matmul_tile',
        ],
        'matmul 1 f32 bf16': [
          'gemv_register',
          'gemv_subgroup',
          'matmul_register',
          'matmul_subgroup',
          'gemv',
          'matmul_tile',
        ],
        'matmul 1 f32 q8': [
          'gemv_register',
          'gemv_shuffle',
          'gemv_subgroup',
          'matmul_register',
          'matmul_subgroup',
          'gemv',
          'matmul_tile',
        ],
      },
      wrong: {},
    },
    attention: {
      kernels: 'f5117e3a10a013c8',
      best: {
        'attention 1 causal 128 4 f32 f32': [
          'attention_decode',
          'attention_decode_subgroup',
          'attention_subgroup',
          'attention',
          'attention_tile',
        ],
      },
      wrong: {},
    },
    layer_norm: {
      kernels: 'be604da719d6916a',
      best: {},
      wrong: {},
    },
    rms_norm: {
      kernels: 'a1187f748d833aac',
      best: {},
      wrong: {},
    },
  },
};
