// y[t, h, :] = sum_j p_j v[j, g, :], p = softmax over keys j of (q[t, h, :] . k[j, g, :] SCALE / log2(e)), g = floor(h / GROUP)
// Row t sees keys places[t].x to places[t].y - 1 or, where CAUSAL, those of its sequence, places[t].y, up to its position, places[t].x.
// Online softmax: no score matrix in memory.
// q [tokens] rows q_elem read; k, v rows k_elem, v_elem read; places [tokens] 2 u32 read; where CAUSAL tables [sequences, pages]
// u32 read: which page of k and v holds each PAGE keys of a sequence.
// y [tokens, heads, QUADS * 4] elem written. Element [h, row, quad] of q, k and v, in vec4s: offset + h * head + row * row, in a page
// behind page * number; v is read in halves of them. A workgroup goes through its rows in runs of one sequence, or of the same
// keys; rows of other runs are masked.
// Grid: x strips of ROWS rows, y heads. Workgroup memory: 4 * ROWS * (WG + KEYS) bytes (4.5 KiB).
// For adapters that run on the CPU and pay for every lane of a load: WG lanes share ROWS rows. A lane has 4 KEY_QUADS keys of each
// block, then every WG-th pair of the result; what all of them need of q and p, and how many keys a row sees, each of four neighbouring
// lanes loads a part of, and subgroups shuffle it. Four lanes are the smallest subgroup there is; in larger ones each four load the same.
// Loop bounds that could be constants are parameters, since compilers unroll constant ones: up to four times the compile time.
// Source: Dao et al. 2022, arXiv 2205.14135; Milakov and Gimelshein 2018, arXiv 1805.02867 (online softmax).
// Versions, ms of CPU time (least of 7 to 9) on lavapipe (Mesa 25.0, 8 lanes), 256 x 16 heads x 72 bidirectional f32
//   no subgroups, 4 rows shared by 8 to 16 lanes, products of 4x4 matrices: 116; f16 95; causal 256 x 40 over 10 heads x 128 f32 232;
//     SwiftShader 128 x 2 x 72 22 ms
//   8 rows, elements loaded one by one 76, of it keys and values a third each, arithmetic a fifth; 16 rows 50; 24 rows 81; 32 rows 70
//   quads of q and k, pairs of v: 8 rows 55; 16 rows 40 (kept); half as many keys 43; 32 rows 74, half as many keys 51
//     f16 40; causal 96; GFLOP per CPU second at 256 x 4 heads x 72 5.5, at 3600 5.2;
//     SwiftShader 15.5; 4 s of CPU time to compile, 8 at headDim 128
//   how many keys a row sees found once a run, weights added by subgroups: 4.2 s of CPU time to compile at headDim 24 in place of 5.3
enable subgroups;
alias q_elem = f32;
alias k_elem = f32;
alias v_elem = f32;
alias elem = f32;
const GROUP: u32 = 1u;
const QUADS: u32 = 32u;
const CAUSAL: bool = true;
const SCALE: f32 = 0.12751743f;
const WG: u32 = 8u;
const ROWS: u32 = 16u;
const SHARED: u32 = ROWS / 4u;
const KEY_QUADS: u32 = 2u;
const KEYS: u32 = WG * 4u * KEY_QUADS;
const PAIRS: u32 = (QUADS * 2u + WG - 1u) / WG;
const PAGE: u32 = 128u;
const HIDDEN: f32 = -1e30f;
const_assert PAGE % KEYS == 0u;
struct Params {
  tokens: u32,
  len: u32,
  quads: u32,
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
@group(0) @binding(0) var<storage, read> q: array<vec4<q_elem>>;
@group(0) @binding(1) var<storage, read> k: array<vec4<k_elem>>;
@group(0) @binding(2) var<storage, read> v: array<vec2<v_elem>>;
@group(0) @binding(3) var<storage, read> places: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read> tables: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<vec2<elem>>;
@group(0) @binding(31) var<uniform> params: Params;
var<workgroup> tops: array<f32, ROWS * WG>;
var<workgroup> probs: array<vec4f, ROWS * KEYS / 4u>;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(num_subgroups) subgroups: u32,
) {
  let steps = vec4u(0u, 1u, 2u, 3u);
  let head = group.y;
  let first = group.x * ROWS;
  let end = min(first + ROWS, params.tokens);
  let q_head = params.q_offset + head * params.q_head;
  let k_head = params.k_offset + head / GROUP * params.k_head;
  let v_head = 2u * (params.v_offset + head / GROUP * params.v_head);
  var q_at: array<u32, SHARED>;
  for (var i = 0u; i < SHARED; i++) {
    q_at[i] = q_head + min(first + i * 4u + lane % 4u, end - 1u) * params.q_row;
  }
  var sum: array<array<vec2f, PAIRS>, ROWS>;
  var top: array<f32, ROWS>;
  var weight: array<f32, ROWS>;
  for (var r = 0u; r < ROWS; r++) {
    top[r] = HIDDEN;
  }
  for (var start = first; start < end;) {
    let run = run_from(start, end);
    var seen = array<u32, SHARED>();
    for (var i = 0u; i < SHARED; i++) {
      let row = first + i * 4u + lane % 4u;
      if (row >= start && row < run.stop) {
        seen[i] = min(keys_seen(places[row]), run.len);
      }
    }
    for (var base = 0u; base < run.len; base += KEYS) {
      let count = min(KEYS, run.len - base);
      let origin = origin_of(run, base);
      var score = array<array<vec4f, KEY_QUADS>, ROWS>();
      var k_at = array<vec4u, KEY_QUADS>();
      for (var m = 0u; m < KEY_QUADS; m++) {
        k_at[m] = k_head + origin.x + min((m * WG + lane) * 4u + steps, vec4u(count - 1u)) * params.k_row;
      }
      for (var d = 0u; d < params.quads; d++) {
        var mine = array<vec4f, SHARED>();
        for (var i = 0u; i < SHARED; i++) {
          mine[i] = vec4f(q[q_at[i] + d]);
        }
        for (var m = 0u; m < KEY_QUADS; m++) {
          let at = k_at[m] + d;
          let keys = transpose(mat4x4f(vec4f(k[at.x]), vec4f(k[at.y]), vec4f(k[at.z]), vec4f(k[at.w])));
          for (var r = 0u; r < ROWS; r++) {
            let x = subgroupShuffle(mine[r / 4u], r % 4u);
            let half = fma(vec4f(x.z), keys[2], fma(vec4f(x.w), keys[3], score[r][m]));
            score[r][m] = fma(vec4f(x.x), keys[0], fma(vec4f(x.y), keys[1], half));
          }
        }
      }
      var highest = top;
      for (var r = 0u; r < ROWS; r++) {
        let limit = vec4u(subgroupShuffle(seen[r / 4u], r % 4u));
        for (var m = 0u; m < KEY_QUADS; m++) {
          let s = select(vec4f(HIDDEN), score[r][m] * SCALE, base + (m * WG + lane) * 4u + steps < limit);
          score[r][m] = s;
          highest[r] = max(highest[r], max(max(s.x, s.y), max(s.z, s.w)));
        }
        highest[r] = subgroupMax(highest[r]);
        tops[r * WG + subgroup] = highest[r];
      }
      workgroupBarrier();
      for (var r = 0u; r < ROWS; r++) {
        for (var s = 0u; s < subgroups; s++) {
          highest[r] = max(highest[r], tops[r * WG + s]);
        }
        let scale = exp2(top[r] - highest[r]);
        top[r] = highest[r];
        weight[r] *= scale;
        for (var i = 0u; i < PAIRS; i++) {
          sum[r][i] *= scale;
        }
        for (var m = 0u; m < KEY_QUADS; m++) {
          let p = select(exp2(score[r][m] - top[r]), vec4f(0.0), score[r][m] == vec4f(HIDDEN)); // NaN stays
          weight[r] += dot(p, vec4f(1.0));
          probs[r * (KEYS / 4u) + m * WG + lane] = p;
        }
      }
      workgroupBarrier();
      for (var j = 0u; j < count; j += 4u) {
        var mine = array<vec4f, SHARED>();
        for (var i = 0u; i < SHARED; i++) {
          mine[i] = probs[(i * 4u + lane % 4u) * (KEYS / 4u) + j / 4u];
        }
        let v_at = v_head + 2u * (origin.y + min(j + steps, vec4u(count - 1u)) * params.v_row);
        for (var i = 0u; i < PAIRS; i++) {
          let pair = min(i * WG + lane, QUADS * 2u - 1u);
          let a = vec2f(v[v_at.x + pair]);
          let b = vec2f(v[v_at.y + pair]);
          let c = vec2f(v[v_at.z + pair]);
          let d = vec2f(v[v_at.w + pair]);
          for (var r = 0u; r < ROWS; r++) {
            let p = subgroupShuffle(mine[r / 4u], r % 4u);
            let half = fma(vec2f(p.z), c, fma(vec2f(p.w), d, sum[r][i]));
            sum[r][i] = fma(vec2f(p.x), a, fma(vec2f(p.y), b, half));
          }
        }
      }
    }
    start = run.stop;
  }
  for (var r = 0u; r < ROWS; r++) {
    tops[r * WG + subgroup] = subgroupAdd(weight[r]);
  }
  workgroupBarrier();
  for (var r = 0u; r < ROWS; r++) {
    var total = 0.0;
    for (var s = 0u; s < subgroups; s++) {
      total += tops[r * WG + s];
    }
    for (var i = 0u; i < PAIRS; i++) {
      let pair = i * WG + lane;
      if (first + r < end && pair < QUADS * 2u) {
        y[((first + r) * groups.y + head) * QUADS * 2u + pair] = vec2<elem>(sum[r][i] / total);
      }
    }
  }
}
