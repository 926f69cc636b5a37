// Shared by the kernels that find keys and values through page tables; they declare `tables`, PAGE and params.pages.

/// The page of the pool that holds a position of a sequence.
fn page_of(sequence: u32, position: u32) -> u32 {
  return tables[sequence * params.pages + position / PAGE];
}
