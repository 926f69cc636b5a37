alias q_elem = f32;
alias k_elem = f32;
alias v_elem = f32;
alias elem = f32;
const HEADS: u32 = 4u;
const KV_HEADS: u32 = 4u;
const QUADS: u32 = 6u;
const CAUSAL: bool = false;
const SCALE: f32 = 0.2944839f;
const WG: u32 = 64u;
const COLS: u32 = 8u;
const KEY_MATS: u32 = 2u;
const ROWS: u32 = WG / COLS * 4u;
const KEYS: u32 = COLS * 4u * KEY_MATS;
const DIM_MATS: u32 = (QUADS + COLS - 1u) / COLS;
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
  quads: u32,
  cols: u32,
}
@group(0) @binding(0) var<storage, read> q: array<vec4<q_elem>>;
@group(0) @binding(1) var<storage, read> k: array<vec4<k_elem>>;
@group(0) @binding(2) var<storage, read> v: array<vec4<v_elem>>;
@group(0) @binding(3) var<storage, read> position: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<elem>>;
@group(1) @binding(0) var<uniform> params: Params;
var<workgroup> shared_top: array<vec4f, WG>;
var<workgroup> probs: array<vec4f, ROWS * KEYS / 4u>;

fn query(at: vec4u) -> mat4x4f {
  return mat4x4f(vec4f(q[at.x]), vec4f(q[at.y]), vec4f(q[at.z]), vec4f(q[at.w]));
}
fn keys(at: vec4u) -> mat4x4f {
  return mat4x4f(vec4f(k[at.x]), vec4f(k[at.y]), vec4f(k[at.z]), vec4f(k[at.w]));
}
fn values(at: vec4u) -> mat4x4f {
  return mat4x4f(vec4f(v[at.x]), vec4f(v[at.y]), vec4f(v[at.z]), vec4f(v[at.w]));
}
const STEPS = vec4u(0u, 1u, 2u, 3u);

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let head = group.y;
  let kv_head = head * KV_HEADS / HEADS;
  let col = lane % COLS;
  let strip = lane / COLS;
  let first = group.x * ROWS;
  let row = min(first + 4u * strip + STEPS, vec4u(params.tokens - 1u));
  var last = vec4u(params.len - 1u);
  var len = params.len;
  if (CAUSAL) {
    last = position[0] + row;
    len = position[0] + min(first + ROWS, params.tokens);
  }
  let q_at = params.q_offset + head * params.q_head + row * params.q_row;
  let k_base = params.k_offset + kv_head * params.k_head;
  let v_base = params.v_offset + kv_head * params.v_head;
  var sum: array<mat4x4f, DIM_MATS>;
  var top = vec4f(-1e30);
  var weight = vec4f(0.0);
  for (var base = 0u; base < len; base += KEYS) {
    var score: array<mat4x4f, KEY_MATS>;
    let key = base + col * 4u * KEY_MATS + STEPS;
    for (var d = 0u; d < params.quads; d++) {
      let rows = query(q_at + d);
      for (var m = 0u; m < KEY_MATS; m++) {
        score[m] += transpose(keys(k_base + min(key + 4u * m, vec4u(len - 1u)) * params.k_row + d)) * rows;
      }
    }
    var new_top = top;
    for (var m = 0u; m < KEY_MATS; m++) {
      for (var r = 0u; r < 4u; r++) {
        let s = select(vec4f(-1e30), score[m][r] * SCALE, key + 4u * m <= vec4u(last[r]));
        score[m][r] = s;
        new_top[r] = max(new_top[r], max(max(s.x, s.y), max(s.z, s.w)));
      }
    }
    shared_top[lane] = new_top;
    workgroupBarrier();
    for (var c = 0u; c < params.cols; c++) {
      new_top = max(new_top, shared_top[strip * COLS + c]);
    }
    let scale = exp2(top - new_top);
    top = new_top;
    weight *= scale;
    for (var m = 0u; m < KEY_MATS; m++) {
      for (var r = 0u; r < 4u; r++) {
        let p = exp2(score[m][r] - top[r]);
        weight[r] += dot(p, vec4f(1.0));
        probs[(strip * 4u + r) * (KEYS / 4u) + col * KEY_MATS + m] = p;
      }
    }
    workgroupBarrier();
    for (var i = 0u; i < DIM_MATS; i++) {
      for (var r = 0u; r < 4u; r++) {
        sum[i][r] *= scale[r];
      }
    }
    let key_quads = (min(KEYS, len - base) + 3u) / 4u;
    for (var j = 0u; j < key_quads; j++) {
      let at = strip * KEYS + j;
      let p = mat4x4f(probs[at], probs[at + KEYS / 4u], probs[at + KEYS / 2u], probs[at + KEYS / 4u * 3u]);
      let v_at = v_base + min(base + 4u * j + STEPS, vec4u(len - 1u)) * params.v_row;
      for (var i = 0u; i < DIM_MATS; i++) {
        sum[i] += values(v_at + min(col + i * COLS, QUADS - 1u)) * p;
      }
    }
  }
  shared_top[lane] = weight;
  workgroupBarrier();
  var total = vec4f(0.0);
  for (var c = 0u; c < params.cols; c++) {
    total += shared_top[strip * COLS + c];
  }
  for (var r = 0u; r < 4u; r++) {
    let token = first + 4u * strip + r;
    for (var i = 0u; i < DIM_MATS; i++) {
      let quad = col + i * COLS;
      if (token < params.tokens && quad < QUADS) {
        y[(token * HEADS + head) * QUADS + quad] = vec4<elem>(sum[i][r] / total[r]);
      }
    }
  }
}
