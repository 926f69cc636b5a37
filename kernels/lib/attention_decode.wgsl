// Shared by the kernels of query rows over a block of keys, which declare the names used here: the keys of a row.

/// The number of keys that a row sees.
fn visible(row: u32) -> u32 {
  return min(params.len, select(places[row].y - places[row].x, places[row].x + 1u, CAUSAL));
}

/// Where the block from key `first` on begins in k and v for a row, relative to its head.
fn block_at(row: u32, first: u32) -> vec2u {
  if (CAUSAL) {
    return vec2u(page_of(places[row].y, first) * params.page) + first % PAGE * vec2u(params.k_row, params.v_row);
  }
  return (places[row].x + first) * vec2u(params.k_row, params.v_row);
}
