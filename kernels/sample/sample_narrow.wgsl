// The end of a pass of the radix search: from the largest on, the first digit at which the elements so far are top_k, or their
// weight is what the nucleus needs. The last digit of the first search gives what the nucleus needs: total - floor(total
// (1 - top_p)), total over the top-k; that of the second gives what is kept.
// settings [7] u32 read; bins [768] u32 read and set back to 0; state [6, 2] u32 updated
// by_weight: 0 in the first search, 1 in the second; shift: the place of the digit in the key
// Grid: one workgroup. Workgroup memory: 3072 bytes. Source: own.
const WG: u32 = 256u;
struct Params {
  count: u32,
  shift: u32,
  by_weight: u32,
}
@group(0) @binding(0) var<storage, read> settings: array<u32>;
@group(0) @binding(1) var<storage, read_write> bins: array<u32>;
@group(0) @binding(2) var<storage, read_write> state: array<vec2<u32>>;
@group(0) @binding(31) var<uniform> params: Params;
var<workgroup> counts: array<u32, WG>;
var<workgroup> weights: array<vec2<u32>, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) lane: u32) {
  counts[lane] = bins[lane];
  weights[lane] = vec2u(bins[WG + lane], bins[2u * WG + lane]);
  bins[lane] = 0u;
  bins[WG + lane] = 0u;
  bins[2u * WG + lane] = 0u;
  workgroupBarrier();
  if (lane == 0u) {
    narrow();
  }
}

fn narrow() {
  let top_k = select(min(settings[4], params.count), params.count, settings[4] == 0u);
  let need = state[NEED];
  var count = state[PREFIX].y;
  var above = state[ABOVE];
  var digit = WG - 1u;
  for (; digit > 0u; digit--) {
    let next_count = count + counts[digit];
    let next = plus(above, weights[digit]);
    if (select(next_count >= top_k, !less(next, need), params.by_weight == 1u)) {
      break;
    }
    count = next_count;
    above = next;
  }
  let prefix = state[PREFIX].x | (digit << params.shift);
  if (params.shift > 0u) {
    state[PREFIX] = vec2u(prefix, count);
    state[ABOVE] = above;
    return;
  }
  let tie = quotient(weights[digit], vec2u(counts[digit], 0u));
  if (params.by_weight == 0u) {
    let total = plus(above, times(tie, top_k - count));
    state[NEED] = minus(total, high_product(total, vec2u(0u, settings[5])));
    state[PREFIX] = vec2u();
    state[ABOVE] = vec2u();
    return;
  }
  let ties = quotient(minus(minus(need, above), vec2u(1u, 0u)), tie).x + 1u;
  state[PREFIX].x = prefix;
  state[TIES].x = ties;
  state[TIE] = tie;
  state[TOTAL] = plus(above, times(tie, ties));
}

/// floor(a / b) for 0 < b < 2^63, bit by bit.
fn quotient(a: vec2u, b: vec2u) -> vec2u {
  var left = a;
  var rest = vec2u();
  for (var bit = 0u; bit < 64u; bit++) {
    rest = plus(plus(rest, rest), vec2u(left.y >> 31u, 0u));
    left = plus(left, left);
    if (!less(rest, b)) {
      rest = minus(rest, b);
      left.x |= 1u;
    }
  }
  return left;
}
