/**
 * Names of variants, without the op's, the best first, by op and problem. A problem is that of choose(), or any number of
 * its first words: an entry stands for all problems that begin with them, and comes after those with more words.
 */
export type Ranking = Readonly<Record<string, readonly string[]>>;

const NORMS: Ranking = {
  rms_norm: ['rms_norm_subgroup', 'rms_norm'],
  'rms_norm 1 wide': ['rms_norm_subgroup:WG=256'],
  'rms_norm 2-8 wide': ['rms_norm_subgroup:WG=256'],
  'rms_norm 9-63 wide': ['rms_norm_subgroup:WG=256'],
  layer_norm: ['layer_norm_subgroup', 'layer_norm'],
};

/** The same with qkv, whose products rank as those of matmul do and are not quantised; it runs apart where none of them applies. */
function withQkv(table: Ranking): Ranking {
  const products = Object.entries(table).filter(([key]) => key.split(' ')[0] === 'matmul');
  const own = (names: readonly string[]) => names.filter((name) => !name.endsWith('_int8'));
  const ranked = products.map(([key, names]) => [key.replace('matmul', 'qkv'), own(names)] as const);
  return { ...table, ...Object.fromEntries(ranked), qkv: [...own(table.matmul!), 'apart'] };
}

/**
 * Products that norm x or quantise y themselves: what on a GPU spares a dispatch is work done many times over, which a CPU has no lanes
 * to spare for. That they come first on GPUs rests on instructions that were counted, not timed.
 */
const FUSED = [
  ...['gemv_dot_subgroup_normed_int8', 'gemv_dot_subgroup_int8'],
  ...['gemv_dot_subgroup_normed', 'gemv_half_normed', 'gemv_subgroup_normed'],
];

/**
 * What runs on adapters that nobody has measured. On a CPU kernels without subgroups are often as fast as those with them, and
 * compile sooner. matmul_matrix comes first on GPUs with matrix units, which are believed after a checked product, and last on CPUs, where
 * matrix units are no faster than what they are made of: 256 x 1024 x 1024 on lavapipe of Mesa 26.1 at 4 GMAC/s per 2 cores, matmul_subgroup at 19.
 */
export const DEFAULTS: Readonly<Record<'cpu' | 'gpu', Ranking>> = {
  cpu: withQkv({
    ...NORMS,
    attention: [
      ...['attention_decode_shuffle', 'attention_decode_subgroup'],
      ...['attention', 'attention_tile', 'attention_matrix'],
    ],
    'matmul 1': [
      'gemv_shuffle',
      'gemv_register',
      'gemv_subgroup',
      'matmul_dot_shuffle',
      'gemv_dot_subgroup',
      'gemv_half',
    ],
    'matmul 2-8': ['gemv_shuffle', 'matmul_dot_shuffle', 'gemv_dot_subgroup'],
    matmul: [
      ...['matmul_dot_shuffle', 'matmul_dot_register', 'matmul_dot_tile'],
      ...['matmul_subgroup', 'matmul_register', 'matmul_tile', 'matmul_matrix', 'matmul_matrix:DOWN=2,ACROSS=2'],
      ...FUSED,
    ],
  }),
  gpu: withQkv({
    ...NORMS,
    attention: [
      ...['attention_decode_subgroup', 'attention_decode_shuffle'],
      ...['attention_matrix', 'attention_tile', 'attention'],
    ],
    'matmul 1': [...FUSED, 'gemv_dot_subgroup', 'gemv_half', 'gemv_subgroup', 'gemv_register', 'gemv_shuffle'],
    'matmul 2-8': [...FUSED, 'gemv_dot_subgroup', 'gemv_half', 'gemv_subgroup'],
    'matmul 9-63': ['matmul_matrix:DOWN=2,ACROSS=2'],
    'matmul 64+': ['matmul_matrix', 'matmul_matrix:DOWN=2,ACROSS=2'],
    matmul: [
      ...['matmul_dot_tile', 'matmul_dot_register', 'matmul_dot_shuffle'],
      ...['matmul_tile', 'matmul_register', 'matmul_subgroup'],
    ],
  }),
};
