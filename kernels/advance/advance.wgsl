// s = random[3]: history[s] = choice, strays; token = next = s < forced[0] ? forced[1 + s] : choice; places.x = places.x + 1; random
// = (floor(2^64 u) of step s + 1, low and high word, seed, s + 1); y = row next of the table, where that is one of its `rows`
// chosen: [2] u32 read, choice and strays, where CHOSEN; else logits [count] f32 read as bits, whose largest finite one is the choice,
// the lowest of equals, and strays how many are not finite; then largest [ceil(count / 4)] u32 read, see lib/finish_largest.wgsl
// forced [1 + capacity] u32 read, their count first; history [capacity, 2] u32 updated up to its capacity; token [1], random [4], places
// [2] u32 updated; the table, see lib/table.wgsl and lib/table_quantized.wgsl, read; y [COLS] f32 written
// Grid: one workgroup. Workgroup memory: WG * 16 bytes. Source: own.
const CHOSEN: bool = false;
const COLS: u32 = 64u;
const WG: u32 = 256u;
const STRAY = 0xffffffffu;
struct Params {
  count: u32,
  capacity: u32,
  rows: u32,
}
@group(0) @binding(0) var<storage, read> chosen: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> forced: array<u32>;
@group(0) @binding(2) var<storage, read> largest: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> history: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read_write> token: array<u32>;
@group(0) @binding(5) var<storage, read_write> random: array<u32>;
@group(0) @binding(6) var<storage, read_write> places: array<u32>;
@group(0) @binding(7) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(31) var<uniform> params: Params;
var<workgroup> next: u32;

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) lane: u32) {
  let choice = choose(lane);
  let step = random[3];
  if (lane == 0u) {
    next = choice.x;
    if (step < params.capacity) {
      history[step] = choice;
      if (step < forced[0]) {
        next = forced[1u + step];
      }
    }
    token[0] = next;
    places[0] += 1u;
  }
  let row = workgroupUniformLoad(&next);
  if (lane == WG - 1u) {
    let u = uniform_number(random[2], step + 1u);
    random[0] = u.x;
    random[1] = u.y;
    random[3] = step + 1u;
  }
  for (var chunk = lane; chunk < COLS / 8u && row < params.rows; chunk += WG) {
    let v = widen_chunk(row, chunk);
    y[2u * chunk] = v[0];
    y[2u * chunk + 1u] = v[1];
  }
}

/// The choice and the strays, in every lane.
fn choose(lane: u32) -> vec2u {
  if (CHOSEN) {
    return chosen[0].xy;
  }
  let quads = (params.count + 3u) / 4u;
  var own = NONE;
  for (var first = 0u; first < quads; first += 16u * WG) {
    var words: array<vec4u, 4>;
    for (var j = 0u; j < 4u; j++) {
      words[j] = largest[min(first / 4u + j * WG + lane, (quads - 1u) / 4u)];
    }
    for (var j = 0u; j < 4u; j++) {
      for (var c = 0u; c < 4u; c++) {
        let q = first + (j * WG + lane) * 4u + c;
        if (q < quads) {
          own = join(own, vec3u(q, u32(words[j][c] == STRAY), words[j][c]));
        }
      }
    }
  }
  let quad = join_lanes(lane, own);
  if (quad.y > 0u) {
    return count_strays(lane);
  }
  let four = chosen[quad.x];
  var c = 0u;
  while (c < 3u && order(four[c]) != quad.z) {
    c++;
  }
  return vec2u(4u * quad.x + c, 0u);
}

/// The same where some logits are not finite, from all of them.
fn count_strays(lane: u32) -> vec2u {
  var own = NONE;
  for (var i = lane; i < params.count; i += WG) {
    own = join(own, element(chosen[i / 4u][i % 4u], i));
  }
  return join_lanes(lane, own).xy;
}
