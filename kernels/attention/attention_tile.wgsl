// y[t, h, :] = sum_j p_j v[j, g, :], p = softmax over keys j of (q[t, h, :] . k[j, g, :] SCALE / log2(e)), g = floor(h / GROUP)
// Keys, q, k, v, places, tables and y as in attention.wgsl; needs no subgroups.
// Grid: x strips of ROWS rows, y heads. Workgroup memory: 16 * (KEYS * (WG + 1 + STRIPS) + WG) bytes (19.3 KiB at 32 quads).
// COLS lanes share 4 rows, and every lane has every COLS-th quad of their q and of their sums in registers, read and written once.
// k and v are read where they lie, neighbouring lanes neighbouring quads. A step takes KEYS keys: a lane's share of each product
// q k goes to workgroup memory; then each lane has every COLS-th key of the step, adds up its shares, takes it through the
// softmax and shows p to the others, which add their quads of p v. Three barriers a step, of two subgroups of 32 lanes.
// Strips of four rows that see none of a step's keys leave it out.
// Source: as attention.wgsl.
// Meant for GPUs without matrix units, and for f32; not measured on one. Per lane, 4 rows and 32 keys at 32 quads in f32:
//   q read again for every 32 keys, k and v by way of tiles in workgroup memory: 10 barriers, about 5400 instructions for 4096
//     fma, of them 290 of workgroup memory; 144 registers
//   this one: 6 barriers, where a subgroup has 64 lanes none; 5260, of them 118; 252 registers of the 64 lanes; 204 at 18 quads
// CPU time over that of attention.wgsl on lavapipe (Mesa 25.0, 8 lanes), before, now: 256 x 16 x 72 2.4, 2.5 in f32, 2.0 to 2.8, 2.7 in f16;
// causal 256 x 40 x 128 2.5 to 3, 2.3; SwiftShader 128 x 2 x 72, of whose 160 rows 32 are idle, 1.6, 2.2.
// CPU seconds that lavapipe takes to compile it, at headDim 24 and 32: 6.5 and 12.8; with UNROLL 1 and 8 keys, as CPUs have it, 2.5 and 4.1.
alias q_elem = f32;
alias k_elem = f32;
alias v_elem = f32;
alias elem = f32;
const GROUP: u32 = 1u;
const QUADS: u32 = 32u;
const CAUSAL: bool = true;
const SCALE: f32 = 0.12751743f;
const COLS: u32 = 8u;
const STRIPS: u32 = 8u;
const KEYS: u32 = 16u;
const UNROLL: u32 = 4u;
const WG: u32 = COLS * STRIPS;
const ROWS: u32 = STRIPS * 4u;
const OWN_QUADS: u32 = (QUADS + COLS - 1u) / COLS;
const OWN_KEYS: u32 = (KEYS + COLS - 1u) / COLS;
const STRIDE: u32 = WG + 1u;
const PAGE: u32 = 128u;
const HIDDEN: f32 = -1e30f;
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
@group(0) @binding(0) var<storage, read> q: array<vec4<q_elem>>;
@group(0) @binding(1) var<storage, read> k: array<vec4<k_elem>>;
@group(0) @binding(2) var<storage, read> v: array<vec4<v_elem>>;
@group(0) @binding(3) var<storage, read> places: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read> tables: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<elem>>;
@group(0) @binding(31) var<uniform> params: Params;
// Of four rows each: shares of products [key][lane], p [key][strip], and what a lane shows to the others of its rows.
var<workgroup> shares: array<vec4f, KEYS * STRIDE>;
var<workgroup> probs: array<vec4f, KEYS * STRIPS>;
var<workgroup> shown: array<vec4f, WG>;

/// How many keys of a run its rows see; others none.
fn seen_of(rows: vec4u, first: u32, start: u32, run: Run) -> vec4u {
  var seen = vec4u();
  for (var r = 0u; r < 4u; r++) {
    if (first + r >= start && first + r < run.stop) {
      seen[r] = min(keys_seen(places[rows[r]]), run.len);
    }
  }
  return seen;
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let head = group.y;
  let col = lane % COLS;
  let strip = lane / COLS;
  let peers = strip * COLS;
  let first = group.x * ROWS + strip * 4u;
  let rows = min(first + vec4u(0u, 1u, 2u, 3u), vec4u(params.tokens - 1u));
  let end = min((group.x + 1u) * ROWS, params.tokens);
  let q_at = params.q_offset + head * params.q_head + rows * params.q_row;
  let k_head = params.k_offset + head / GROUP * params.k_head;
  let v_head = params.v_offset + head / GROUP * params.v_head;
  var quads: array<u32, OWN_QUADS>;
  var queries: array<mat4x4f, OWN_QUADS>; // columns are dims, as those of the sums
  var sums: array<mat4x4f, OWN_QUADS>;
  for (var i = 0u; i < OWN_QUADS; i++) {
    let own = col + i * COLS;
    quads[i] = min(own, QUADS - 1u);
    if (own < QUADS) {
      let at = q_at + own;
      queries[i] = SCALE * transpose(mat4x4f(vec4f(q[at.x]), vec4f(q[at.y]), vec4f(q[at.z]), vec4f(q[at.w])));
    }
  }
  var top = vec4f(HIDDEN);
  var weight = vec4f();
  for (var start = group.x * ROWS; start < end;) {
    let run = run_from(start, end);
    let seen = seen_of(rows, first, start, run);
    let strip_len = max(max(seen.x, seen.y), max(seen.z, seen.w));
    for (var base = 0u; base < run.len; base += KEYS) {
      let count = min(KEYS, run.len - base);
      let origin = origin_of(run, base);
      let is_seen = base < strip_len;
      if (is_seen) {
        for (var j = 0u; j < count; j += UNROLL) {
          for (var s = 0u; s < UNROLL; s++) {
            let at = k_head + origin.x + min(j + s, count - 1u) * params.k_row;
            var share = vec4f();
            for (var i = 0u; i < OWN_QUADS; i++) {
              share += queries[i] * vec4f(k[at + quads[i]]);
            }
            shares[(j + s) * STRIDE + lane] = share;
          }
        }
      }
      workgroupBarrier();
      var score = array<vec4f, OWN_KEYS>();
      var highest = top;
      if (is_seen) {
        for (var m = 0u; m < OWN_KEYS; m++) {
          let key = m * COLS + col;
          var s = vec4f();
          for (var c = 0u; c < COLS; c++) {
            s += shares[min(key, KEYS - 1u) * STRIDE + peers + c];
          }
          score[m] = select(vec4f(HIDDEN), s, (vec4u(base + key) < seen) & vec4<bool>(key < KEYS));
          highest = max(highest, score[m]);
        }
        shown[lane] = highest;
      }
      workgroupBarrier();
      if (is_seen) {
        for (var c = 0u; c < COLS; c++) {
          highest = max(highest, shown[peers + c]);
        }
        let scale = exp2(top - highest);
        top = highest;
        weight *= scale;
        for (var m = 0u; m < OWN_KEYS; m++) {
          let key = m * COLS + col;
          let p = select(exp2(score[m] - top), vec4f(), score[m] == vec4f(HIDDEN)); // NaN stays
          weight += p;
          if (key < KEYS) {
            probs[key * STRIPS + strip] = p;
          }
        }
        for (var i = 0u; i < OWN_QUADS; i++) {
          for (var d = 0u; d < 4u; d++) {
            sums[i][d] *= scale;
          }
        }
      }
      workgroupBarrier();
      if (is_seen) {
        for (var j = 0u; j < count; j += UNROLL) {
          for (var s = 0u; s < UNROLL; s++) {
            let p = probs[(j + s) * STRIPS + strip];
            let at = v_head + origin.y + min(j + s, count - 1u) * params.v_row;
            for (var i = 0u; i < OWN_QUADS; i++) {
              let value = vec4f(v[at + quads[i]]);
              sums[i] += mat4x4f(p * value.x, p * value.y, p * value.z, p * value.w);
            }
          }
        }
      }
    }
    start = run.stop;
  }
  workgroupBarrier();
  shown[lane] = weight;
  workgroupBarrier();
  var total = vec4f();
  for (var c = 0u; c < COLS; c++) {
    total += shown[peers + c];
  }
  for (var i = 0u; i < OWN_QUADS; i++) {
    let quad = col + i * COLS;
    let row = transpose(sums[i]);
    for (var r = 0u; r < 4u; r++) {
      if (first + r < params.tokens && quad < QUADS) {
        y[((first + r) * groups.y + head) * QUADS + quad] = vec4<elem>(row[r] / total[r]);
      }
    }
  }
}
