// y[t, h, :] = sum_j p_j v[j, g, :], p = softmax over keys j of (q[t, h, :] . k[j, g, :] SCALE / log2(e)), g = floor(h / GROUP)
// Keys, places, tables and y as in attention.wgsl; q, k and v f16, QUADS at most 32.
// Grid: x strips of ROWS rows, y heads. Workgroup memory: 30 KiB at 18 quads on units of 16 x 16 x 16, 28 at 32 quads, split; on
// units of 8 x 8 x 8 20 and 23 KiB.
// SPLIT subgroups have M rows: each their q in fragments of its registers, and of their scores and sums every SPLIT-th fragment. A
// step of KEYS keys: S = q k^T to workgroup memory in f32, a lane or PER_ROW of them take each row through the softmax and put p in
// f16 where their part of S stood, two parts side by side, then sums += p v. Tiles of k [key][dim] and of v [dim][key], 16 bytes of
// skew a row, are filled by all lanes, and what comes next is read before the products. Two barriers a step, three where rows are
// split. Strips that see none of a step's keys leave it out; dims are padded in the tiles.
// Result fragments have no elements to scale, so the maximum that p refers to may be stale (lazy rescaling): p begins at
// 2^ROOM at most, and when a row would pass 2^GROWTH, the sums go through workgroup memory once and are scaled. All subgroups
// go along, since that needs barriers; `stale` holds the step that asked for it, the same for all between two barriers, which
// the analysis of uniformity cannot see. Where a step has fewer parts of rows than there are lanes, the others wait.
// Precision: p is rounded to f16, and weights are summed as rounded; everything else is f32.
// Source: as attention.wgsl.
// Fragments in arrays are given their zero one by one: Mesa 25.0 leaves a null array of them undefined.
// Versions, RDNA3's compiler (Mesa 25.0, guards off): registers, vector and memory instructions of a step (which rescales
// nothing and has whole blocks) per product at 18 quads | at 32
//   tiles filled under conditions, which moved the loads behind the products: 192, 15 | 256, 17, no spills
//   loads that stay before the products, masks only where a block is seen in part, scale and shift in one fma: 240, 14.5 | 256, 4 spilled
//   sums zeroed one by one: 192 (8 subgroups per SIMD), 14.5 | 240 (6; 192 without the scheduler), 13; no spills
//   v read behind the products instead: 192 | 240; k and v: 240 | 256
//   this one, 32 KEYS at 32 quads too, rows split in two there, which halves the sums held and the softmax of a lane: 192 (8), 13.9 |
//     192 (8), 10.8, counted in what is left of the loop without the branches that rescale and mask (test/isa.test.ts)
// Lavapipe (Mesa 26.1, units of 8 x 8 x 8): 2.5 times the CPU time of attention.wgsl. Not measured on a GPU.
enable f16;
enable subgroups;
enable subgroup_size_control;
enable chromium_experimental_subgroup_matrix;
enable chromium_disable_uniformity_analysis;
diagnostic(off, chromium.subgroup_matrix_uniformity);
alias elem = f16;
const GROUP: u32 = 1u;
const QUADS: u32 = 32u;
const CAUSAL: bool = true;
const SCALE: f32 = 0.12751743f;
const M: u32 = 16u;
const N: u32 = 16u;
const K: u32 = 16u;
const LANES: u32 = 32u;
const SUBGROUPS: u32 = 8u;
const SPLIT: u32 = 1u;
const KEYS: u32 = 32u;
const PAGE: u32 = 128u;
// Scores of keys that a row does not see, and its maximum before it has seen one: far above them, so that they weigh 0.
const HIDDEN: f32 = -1e30f;
const LOWEST: f32 = -5e29f;
// p is at most 2^ROOM of a new maximum, and 2^GROWTH of one that came since.
const ROOM = 4.0;
const GROWTH = 12.0;
const STRIPS = SUBGROUPS / SPLIT;
const ROWS = STRIPS * M;
const THREADS = SUBGROUPS * LANES;
const STRIP_LANES = SPLIT * LANES;
const STEP = max(SPLIT * N, K);
const DIMS = (QUADS * 4u + STEP - 1u) / STEP * STEP;
const DIM_QUADS = DIMS / 4u;
const KEY_QUADS = KEYS / 4u;
const K_STRIDE = DIM_QUADS + 2u;
const V_STRIDE = KEY_QUADS + 2u;
const S_STRIDE = KEY_QUADS + 1u;
const K_QUADS = KEYS * QUADS;
const K_LOADS = (K_QUADS + THREADS - 1u) / THREADS;
const V_BLOCKS = KEY_QUADS * QUADS;
const V_LOADS = (V_BLOCKS + THREADS - 1u) / THREADS;
const SHARE = M * KEY_QUADS / STRIP_LANES;
const PANELS = (DIMS + KEYS - 1u) / KEYS;
const OWN_KEYS = KEYS / N / SPLIT;
const OWN_DIMS = DIMS / N / SPLIT;
const PER_ROW = min(STRIP_LANES / M, KEY_QUADS / 2u);
const PART = KEY_QUADS / PER_ROW;
const_assert KEYS % (N * SPLIT) == 0u && PART % 2u == 0u && PART * 8u >= K;
const_assert PAGE % KEYS == 0u;
struct Params {
  tokens: u32,
  len: u32,
  q_offset: u32,
  q_head: u32,
  q_row: u32,
  k_offset: u32,
  k_head: u32,
  k_row: u32,
  v_offset: u32,
  v_head: u32,
  v_row: u32,
  page: u32,
  pages: u32,
}
@group(0) @binding(0) var<storage, read> q: array<vec4<f16>>;
@group(0) @binding(1) var<storage, read> k: array<vec4<f16>>;
@group(0) @binding(2) var<storage, read> v: array<vec4<f16>>;
@group(0) @binding(3) var<storage, read> places: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read> tables: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<elem>>;
@group(0) @binding(31) var<uniform> params: Params;
var<workgroup> k_tile: array<vec4<f16>, KEYS * K_STRIDE>;
var<workgroup> v_tile: array<vec4<f16>, DIMS * V_STRIDE>;
var<workgroup> scores: array<vec4<u32>, ROWS * S_STRIDE>;
var<workgroup> stale: atomic<u32>;
alias Left = subgroup_matrix_left<f16, K, M>;
alias Right = subgroup_matrix_right<f16, N, K>;
alias Sum = subgroup_matrix_result<f32, N, M>;

/// Two quads as a word of 16 bytes.
fn octet(a: vec4<f16>, b: vec4<f16>) -> vec4u {
  return vec4u(bitcast<vec2u>(a), bitcast<vec2u>(b));
}

/// A quad of a row of q; behind its last 0.
fn load_q(at: u32, quad: u32) -> vec4<f16> {
  return select(vec4<f16>(), q[at + min(quad, QUADS - 1u)], quad < QUADS);
}

/// This lane's share of KEYS keys from `base` on; rows behind that at `last` repeat it.
fn fetch_k(base: u32, last: u32, lane: u32) -> array<vec4<f16>, K_LOADS> {
  var next = array<vec4<f16>, K_LOADS>();
  for (var i = 0u; i < K_LOADS; i++) {
    let at = lane + i * THREADS;
    if (K_QUADS % THREADS == 0u || at < K_QUADS) {
      next[i] = k[base + min(at / QUADS * params.k_row, last) + at % QUADS];
    }
  }
  return next;
}

fn store_k(next: array<vec4<f16>, K_LOADS>, lane: u32) {
  for (var i = 0u; i < K_LOADS; i++) {
    let at = lane + i * THREADS;
    if (K_QUADS % THREADS == 0u || at < K_QUADS) {
      k_tile[at / QUADS * K_STRIDE + at % QUADS] = next[i];
    }
  }
}

/// This lane's share of KEYS values, in blocks of four rows of a quad, as fetch_k.
fn fetch_v(base: u32, last: u32, lane: u32) -> array<array<vec4<f16>, 4>, V_LOADS> {
  var next = array<array<vec4<f16>, 4>, V_LOADS>();
  for (var i = 0u; i < V_LOADS; i++) {
    let at = lane + i * THREADS;
    if (V_BLOCKS % THREADS == 0u || at < V_BLOCKS) {
      for (var s = 0u; s < 4u; s++) {
        next[i][s] = v[base + min((at % KEY_QUADS * 4u + s) * params.v_row, last) + at / KEY_QUADS];
      }
    }
  }
  return next;
}

/// Turns the blocks, so that neighbouring keys of a dim lie side by side.
fn store_v(next: array<array<vec4<f16>, 4>, V_LOADS>, lane: u32) {
  for (var i = 0u; i < V_LOADS; i++) {
    let at = lane + i * THREADS;
    if (V_BLOCKS % THREADS == 0u || at < V_BLOCKS) {
      for (var c = 0u; c < 4u; c++) {
        v_tile[(at / KEY_QUADS * 4u + c) * V_STRIDE + at % KEY_QUADS] =
          vec4<f16>(next[i][0][c], next[i][1][c], next[i][2][c], next[i][3][c]);
      }
    }
  }
}

/// How many keys of a run a row sees; one of another run none.
fn seen_of(row: u32, start: u32, run: Run) -> u32 {
  if (row < start || row >= run.stop) {
    return 0u;
  }
  return min(keys_seen(places[row]), run.len);
}

@compute @workgroup_size(THREADS) @subgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_invocation_id) place: u32,
) {
  let steps = vec4u(0u, 1u, 2u, 3u);
  let head = group.y;
  let first = group.x * ROWS;
  let end = min(first + ROWS, params.tokens);
  let q_head = params.q_offset + head * params.q_head;
  let k_head = params.k_offset + head / GROUP * params.k_head;
  let v_head = params.v_offset + head / GROUP * params.v_head;
  let half = subgroup % SPLIT;
  let strip = subgroup / SPLIT * M * S_STRIDE;
  let strip_first = first + subgroup / SPLIT * M;
  let strip_lane = half * LANES + place;
  let is_used = STRIP_LANES == M * PER_ROW || strip_lane < M * PER_ROW;
  let line = min(strip_lane / PER_ROW, M - 1u);
  let part = strip_lane % PER_ROW;
  let row = strip_first + line;
  let own = strip + line * S_STRIDE + part * PART;
  let own_p = own + (1u - part % 2u) * (PART / 2u); // the p of two parts side by side
  if (lane == 0u) {
    atomicStore(&stale, 0u);
  }
  if (QUADS < DIM_QUADS) {
    for (var i = lane; i < KEYS * K_STRIDE; i += THREADS) {
      k_tile[i] = vec4<f16>();
    }
    for (var i = lane; i < DIMS * V_STRIDE; i += THREADS) {
      v_tile[i] = vec4<f16>();
    }
  }
  var rows: array<Left, DIMS / K>;
  for (var p = 0u; p < (PANELS + 1u) / 2u; p++) {
    for (var i = 0u; i < SHARE; i++) {
      let at = strip_lane + i * STRIP_LANES;
      let line = q_head + min(strip_first + at / KEY_QUADS, end - 1u) * params.q_row;
      let quad = 2u * (p * KEY_QUADS + at % KEY_QUADS);
      scores[strip + at / KEY_QUADS * S_STRIDE + at % KEY_QUADS] = octet(load_q(line, quad), load_q(line, quad + 1u));
    }
    workgroupBarrier();
    for (var t = 0u; t < 2u * KEYS / K; t++) {
      let d = p * (2u * KEYS / K) + t;
      if (d < DIMS / K) {
        rows[d] = subgroupMatrixLoad<Left, row_major>(&scores, strip + t * K / 8u, S_STRIDE);
      }
    }
    workgroupBarrier();
  }
  var sums: array<Sum, OWN_DIMS>;
  for (var d = 0u; d < OWN_DIMS; d++) {
    sums[d] = Sum();
  }
  var top = LOWEST;
  var weight = 0.0;
  var block = 0u;
  for (var start = first; start < end;) {
    let run = run_from(start, end);
    let seen = seen_of(row, start, run);
    let peer_seen = seen_of(strip_first + place % M, start, run);
    let strip_len = subgroupMax(peer_seen);
    let strip_least = subgroupMin(peer_seen);
    var k_next = fetch_k(k_head + origin_of(run, 0u).x, (run.len - 1u) * params.k_row, lane);
    store_k(k_next, lane);
    workgroupBarrier();
    for (var base = 0u; base < run.len; base += KEYS) {
      block++;
      let is_seen = base < strip_len;
      let next = select(base, base + KEYS, base + KEYS < run.len);
      k_next = fetch_k(k_head + origin_of(run, next).x, (run.len - next - 1u) * params.k_row, lane);
      let v_next = fetch_v(v_head + origin_of(run, base).y, (run.len - base - 1u) * params.v_row, lane);
      if (is_seen) {
        for (var t = 0u; t < OWN_KEYS; t++) {
          let n = t * SPLIT + half;
          var score = Sum();
          for (var d = 0u; d < DIMS / K; d++) {
            let keys = subgroupMatrixLoad<Right, col_major>(&k_tile, n * N * K_STRIDE + d * K / 4u, K_STRIDE);
            score = subgroupMatrixMultiplyAccumulate(rows[d], keys, score);
          }
          subgroupMatrixStore<row_major>(&scores, strip + n * N / 4u, score, S_STRIDE);
        }
      }
      workgroupBarrier();
      store_k(k_next, lane);
      store_v(v_next, lane);
      var shrink = 1.0;
      var packed = array<vec4u, PART / 2u>();
      if (is_seen && is_used) {
        var s = array<vec4f, PART>();
        for (var i = 0u; i < PART; i++) {
          s[i] = bitcast<vec4f>(scores[own + i]);
        }
        if (base + KEYS > strip_least) {
          for (var i = 0u; i < PART; i++) {
            s[i] = select(vec4f(HIDDEN), s[i], base + (part * PART + i) * 4u + steps < vec4u(seen));
          }
        }
        var highest = s[0];
        for (var i = 1u; i < PART; i++) {
          highest = max(highest, s[i]);
        }
        var high = SCALE * max(max(highest.x, highest.y), max(highest.z, highest.w));
        for (var step = 1u; step < PER_ROW; step *= 2u) {
          high = max(high, subgroupShuffleXor(high, step));
        }
        if (high > top + GROWTH) {
          if (top > LOWEST) {
            atomicMax(&stale, block);
          }
          shrink = exp2(top - high + ROOM);
          top = high - ROOM;
          weight *= shrink;
        }
        for (var i = 0u; i < PART; i += 2u) {
          let a = vec4<f16>(exp2(s[i] * SCALE - top));
          let b = vec4<f16>(exp2(s[i + 1u] * SCALE - top));
          weight += dot(vec4f(a) + vec4f(b), vec4f(1.0));
          packed[i / 2u] = octet(a, b);
          scores[own_p + i / 2u] = packed[i / 2u];
        }
      }
      workgroupBarrier();
      if (atomicLoad(&stale) == block) {
        for (var p = 0u; p < PANELS; p++) {
          for (var t = 0u; t < OWN_KEYS; t++) {
            let d = p * OWN_KEYS + t;
            if (d < OWN_DIMS) {
              subgroupMatrixStore<row_major>(&scores, strip + (t * SPLIT + half) * N / 4u, sums[d], S_STRIDE);
            }
          }
          workgroupBarrier();
          if (is_used) {
            for (var i = 0u; i < PART; i++) {
              scores[own + i] = bitcast<vec4u>(bitcast<vec4f>(scores[own + i]) * shrink);
            }
          }
          workgroupBarrier();
          for (var t = 0u; t < OWN_KEYS; t++) {
            let d = p * OWN_KEYS + t;
            if (d < OWN_DIMS) {
              sums[d] = subgroupMatrixLoad<Sum, row_major>(&scores, strip + (t * SPLIT + half) * N / 4u, S_STRIDE);
            }
          }
          workgroupBarrier();
        }
        if (is_used) {
          for (var i = 0u; i < PART / 2u; i++) {
            scores[own_p + i] = packed[i];
          }
        }
        workgroupBarrier();
      }
      if (is_seen) {
        for (var t = 0u; t < KEYS / K; t++) {
          let word = t * K / 8u;
          let at = strip + word / PART * 2u * PART + PART / 2u + word % PART;
          let weights = subgroupMatrixLoad<Left, row_major>(&scores, at, S_STRIDE);
          for (var d = 0u; d < OWN_DIMS; d++) {
            let n = d * SPLIT + half;
            let values = subgroupMatrixLoad<Right, col_major>(&v_tile, n * N * V_STRIDE + t * K / 4u, V_STRIDE);
            sums[d] = subgroupMatrixMultiplyAccumulate(weights, values, sums[d]);
          }
        }
      }
      if (SPLIT > 1u) {
        workgroupBarrier(); // the next scores of one stand where the others read p
      }
    }
    start = run.stop;
  }
  for (var step = 1u; step < PER_ROW; step *= 2u) {
    weight += subgroupShuffleXor(weight, step);
  }
  for (var p = 0u; p < PANELS; p++) {
    workgroupBarrier();
    for (var t = 0u; t < OWN_KEYS; t++) {
      let d = p * OWN_KEYS + t;
      if (d < OWN_DIMS) {
        subgroupMatrixStore<row_major>(&scores, strip + (t * SPLIT + half) * N / 4u, sums[d], S_STRIDE);
      }
    }
    workgroupBarrier();
    for (var i = 0u; i < PART; i++) {
      let quad = p * KEY_QUADS + part * PART + i;
      if (is_used && row < end && quad < QUADS) {
        y[(row * groups.y + head) * QUADS + quad] = vec4<elem>(bitcast<vec4f>(scores[own + i]) / weight);
      }
    }
  }
}
