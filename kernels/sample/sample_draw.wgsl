// y = (the first element, in index order, at which the weight of what is kept exceeds floor(u total), how many logits are not
// finite). Kept is, of the top_k largest, the lowest indices of equals first, the fewest whose weight reaches total - floor(total
// (1 - top_p)), total over the top-k.
// logits [count] f32 read as bits; weights [count, 2], bins [groups, WG, 4] u32 (sample_weights) read; settings [6],
// random [4] (floor(2^64 u), low and high word first), largest [parts, 3] (argmax) u32 read; y [2] u32 written
// The bins say from which order() on there are elements enough; these are listed, or where they are too many all elements take
// part, which is as right and slower. Then three radix searches by a place in order, whose digits are those of order() and, behind
// them, of the index: for the top-k, for the nucleus, and by the index alone for what is drawn. No two elements have one place,
// so a search ends as soon as one element is left.
// Grid: one workgroup. Workgroup memory: 7 KiB + 4 LISTED bytes. Source: own.
const WG: u32 = 256u;
const LISTED: u32 = 2048u;
struct Params {
  count: u32,
  groups: u32,
  parts: u32,
}
@group(0) @binding(0) var<storage, read> logits: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> weights: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> bins: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> settings: array<u32>;
@group(0) @binding(4) var<storage, read> random: array<u32>;
@group(0) @binding(5) var<storage, read> largest: array<u32>;
@group(0) @binding(6) var<storage, read_write> y: array<u32>;
@group(0) @binding(31) var<uniform> params: Params;
var<workgroup> running: array<vec4<u32>, WG>;
var<workgroup> list: array<u32, LISTED>;
var<workgroup> listed: atomic<u32>;
var<workgroup> taking_part: u32;
var<workgroup> strays: atomic<u32>;
var<workgroup> threshold: u32;
var<workgroup> found: Found;

/// How far a search has come: the digits of the place found, in `known`; how many elements have these; of those before them the
/// count and the weight; the weight of both.
struct Found {
  prefix: vec2u,
  known: vec2u,
  left: u32,
  count: u32,
  before: vec2u,
  weight: vec2u,
}

/// What a search is for: the first place in order at which the elements so far are as many, or weigh as much.
struct Goal {
  by_weight: bool,
  amount: vec2u,
}

const ORDER_DIGITS: u32 = 4u; // of 8 bits each, the others are those of the index
const DIGITS: u32 = 7u;

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) lane: u32) {
  if (lane == 0u) {
    atomicStore(&listed, 0u);
    atomicStore(&strays, 0u);
    threshold = 0xffffffffu; // where no element has a weight
  }
  var total = find_threshold(lane);
  for (var p = lane; p < params.parts; p += WG) {
    atomicAdd(&strays, largest[3u * p + 1u]);
  }
  list_elements(lane, workgroupUniformLoad(&threshold));
  workgroupBarrier();
  if (lane == 0u) {
    let candidates = atomicLoad(&listed);
    taking_part = select(candidates, params.count, candidates > LISTED);
    y[0] = 0u; // where no element takes part
    y[1] = atomicLoad(&strays);
  }
  storageBarrier();
  let elements = workgroupUniformLoad(&taking_part);
  if (settings[4] > 0u) {
    total = search(lane, elements, 0u, Goal(false, vec2u(min(settings[4], elements), 0u)), vec2u()).weight;
  }
  let need = minus(total, high_product(total, vec2u(0u, settings[5])));
  let kept = search(lane, elements, 0u, Goal(true, need), vec2u());
  let drawn = high_product(kept.weight, vec2u(random[0], random[1]));
  let last = search(lane, elements, ORDER_DIGITS, Goal(true, plus(drawn, vec2u(1u, 0u))), kept.prefix);
  for (var e = lane; e < elements; e += WG) {
    let i = element_of(e, elements);
    if (takes_part(place_of(i), kept.prefix, last)) {
      y[0] = i;
    }
  }
}

/// Sets from which order() on the elements are enough, by bins; returns the weight of all.
fn find_threshold(lane: u32) -> vec2u {
  var own = vec4u(0u, 0u, 0u, 0xffffffffu);
  for (var g = 0u; g < params.groups; g++) {
    own = together(own, bins[g * WG + lane]);
  }
  let sum = scan(lane, own);
  let total = running[WG - 1u].yz;
  let need = minus(total, high_product(total, vec2u(0u, settings[5])));
  let goal = Goal(settings[4] == 0u, select(vec2u(settings[4], 0u), need, settings[4] == 0u));
  let first = reaches(goal, sum) && !reaches(goal, before_lane(lane));
  if (first || (lane == WG - 1u && !reaches(goal, sum))) {
    threshold = sum.w;
  }
  return total;
}

/// Lists the elements from an order() on; counts those that the list has no room for.
fn list_elements(lane: u32, least: u32) {
  for (var first = 0u; first < params.count; first += 16u * WG) {
    var words: array<vec4u, 4>;
    for (var j = 0u; j < 4u; j++) {
      words[j] = logits[min(first / 4u + j * WG + lane, (params.count - 1u) / 4u)];
    }
    for (var j = 0u; j < 4u; j++) {
      for (var c = 0u; c < 4u; c++) {
        let i = first + (j * WG + lane) * 4u + c;
        if (i < params.count && order(words[j][c]) >= least) {
          let at = atomicAdd(&listed, 1u);
          if (at < LISTED) {
            list[at] = i;
          }
        }
      }
    }
  }
}

/// The elements that take part: all, or those listed.
fn element_of(e: u32, elements: u32) -> u32 {
  if (elements == params.count) {
    return e;
  }
  return list[e];
}

/// Larger for elements that come earlier in order.
fn place_of(i: u32) -> vec2u {
  return vec2u((0xffffffu - i) << 8u, order(logits[i / 4u][i % 4u]));
}

/// Searches the places from `least` on, from a digit on: the digits of the first place that reaches the goal. Called by all lanes.
fn search(lane: u32, elements: u32, first: u32, goal: Goal, least: vec2u) -> Found {
  if (lane == 0u) {
    found = Found();
  }
  for (var digit = first; ; digit++) {
    clear(lane);
    let state = workgroupUniformLoad(&found);
    if (digit == DIGITS || state.left == 1u) {
      return state;
    }
    let shift = 24u - 8u * (digit % ORDER_DIGITS);
    for (var e = lane; e < elements; e += WG) {
      let i = element_of(e, elements);
      let place = place_of(i);
      if (takes_part(place, least, state)) {
        tally((select(place.x, place.y, digit < ORDER_DIGITS) >> shift) & 0xffu, weights[i]);
      }
    }
    workgroupBarrier();
    let value = WG - 1u - lane; // the largest comes first
    let own = tallied(value);
    let before = vec4u(state.count, state.before, 0u);
    let sum = together(before, scan(lane, vec4u(own, 0u)));
    let prior = together(before, before_lane(lane));
    if (reaches(goal, sum) && !reaches(goal, prior)) {
      let word = select(vec2u(1u, 0u), vec2u(0u, 1u), digit < ORDER_DIGITS) << vec2u(shift);
      found = Found(state.prefix | (value * word), state.known | (255u * word), own.x, prior.x, prior.yz, sum.yz);
    }
  }
}

/// Whether a place is not before `least` and has the digits found.
fn takes_part(place: vec2u, least: vec2u, state: Found) -> bool {
  return !less(place, least) && all(((place ^ state.prefix) & state.known) == vec2u());
}

fn reaches(goal: Goal, sum: vec4u) -> bool {
  return !less(select(vec2u(sum.x, 0u), sum.yz, goal.by_weight), goal.amount);
}

/// Count, weight and least order() of two sets of elements.
fn together(a: vec4u, b: vec4u) -> vec4u {
  return vec4u(a.x + b.x, plus(a.yz, b.yz), min(a.w, b.w));
}

/// The set of the elements of this lane and all before it; called by all lanes. Leaves those of every lane in `running`.
fn scan(lane: u32, own: vec4u) -> vec4u {
  var sum = own;
  for (var step = 1u; step < WG; step *= 2u) {
    running[lane] = sum;
    workgroupBarrier();
    if (lane >= step) {
      sum = together(running[lane - step], sum);
    }
    workgroupBarrier();
  }
  running[lane] = sum;
  workgroupBarrier();
  return sum;
}

/// The set of the elements of all lanes before this one, after scan().
fn before_lane(lane: u32) -> vec4u {
  return select(vec4u(), running[max(lane, 1u) - 1u], lane > 0u);
}
