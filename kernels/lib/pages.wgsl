// Shared by the kernels that find keys and values through page tables; they declare `tables` and PAGE.

/// The page of the pool that holds a position of a sequence, whose row of `tables` has so many pages.
fn page_of(sequence: u32, position: u32, pages: u32) -> u32 {
  return tables[sequence * pages + position / PAGE];
}
