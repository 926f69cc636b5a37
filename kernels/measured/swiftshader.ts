/** Written by npm run tune. */
export const table = {
  adapter: 'SwiftShader Device',
  driver: 'SwiftShader driver 5.0.0',
  ops: {
    matmul: {
      kernels: 'd3f0b1badc93ca8e',
      best: {
        'matmul 1 f32 q4': [
          'gemv_shuffle',
          'gemv_register',
          'matmul_register',
          'gemv_subgroup',
          'matmul_subgroup',
          'matmul_tile',
        ],
        'matmul 1 f32 bf16': ['gemv_register', 'matmul_register', 'matmul_subgroup', 'gemv_subgroup', 'matmul_tile'],
        'matmul 1 f32 q8': [
          'gemv_register',
          'gemv_shuffle',
          'matmul_register',
          'gemv_subgroup',
          'matmul_subgroup',
          'matmul_tile',
        ],
        'matmul 64+ f32 q4': ['matmul_subgroup', 'matmul_register', 'matmul_tile'],
        'matmul 64+ f32 bf16': ['matmul_subgroup', 'matmul_register', 'matmul_tile'],
        'matmul 64+ f32 f16': ['matmul_subgroup', 'matmul_register', 'matmul_tile'],
        'matmul 9-63 f32 q4': ['matmul_subgroup', 'matmul_register', 'matmul_tile'],
        'matmul 9-63 f32 bf16': ['matmul_subgroup', 'matmul_register', 'matmul_tile'],
        'matmul 2-8 f32 q4': ['gemv_shuffle', 'matmul_register', 'matmul_subgroup', 'gemv_subgroup', 'matmul_tile'],
        'matmul 2-8 f32 bf16': ['matmul_register', 'matmul_subgroup', 'gemv_subgroup', 'matmul_tile'],
      },
      wrong: {},
    },
    attention: {
      kernels: 'dfac8aefc1691ae4',
      best: {
        'attention 1 causal 128 4 f32 f32': [
          'attention_decode_shuffle',
          'attention_decode_subgroup',
          'attention',
          'attention_tile',
        ],
        'attention 64+ causal 128 4 f32 f32': ['attention', 'attention_tile'],
        'attention 64+ spans 72 1 f32 f32': ['attention', 'attention_tile'],
        'attention 9-63 causal 128 4 f32 f32': ['attention', 'attention_tile'],
        'attention 2-8 causal 128 4 f32 f32': [
          'attention',
          'attention_decode_shuffle',
          'attention_decode_subgroup',
          'attention_tile',
        ],
      },
      wrong: {},
    },
    layer_norm: {
      kernels: 'be604da719d6916a',
      best: {
        'layer_norm 64+ wide f32': ['layer_norm_subgroup', 'layer_norm'],
      },
      wrong: {},
    },
    rms_norm: {
      kernels: 'a1187f748d833aac',
      best: {
        'rms_norm 1 wide f32': ['rms_norm_subgroup', 'rms_norm', 'rms_norm_subgroup:WG=256'],
        'rms_norm 64+ wide f32': ['rms_norm_subgroup', 'rms_norm', 'rms_norm_subgroup:WG=256'],
        'rms_norm 9-63 wide f32': ['rms_norm_subgroup', 'rms_norm', 'rms_norm_subgroup:WG=256'],
      },
      wrong: {},
    },
  },
};
