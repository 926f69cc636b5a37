// Shared by the kernels of attention that take strips of query rows. They declare `places`, params, CAUSAL and what lib/pages.wgsl needs.

/// Neighbouring rows from some row up to `stop`: of one sequence (place.y), or seeing the same keys (from place.x on). None of
/// them sees more than `len`.
struct Run {
  place: vec2u,
  stop: u32,
  len: u32,
}

/// The run that begins at a row, within the rows before `end`.
fn run_from(start: u32, end: u32) -> Run {
  var run = Run(places[start], start + 1u, min(keys_seen(places[start]), params.len));
  for (; run.stop < end && select(all(places[run.stop] == run.place), places[run.stop].y == run.place.y, CAUSAL); run.stop++) {
    run.len = max(run.len, min(keys_seen(places[run.stop]), params.len));
  }
  return run;
}

/// How many of the keys of its run a row sees.
fn keys_seen(place: vec2u) -> u32 {
  return select(place.y - place.x, place.x + 1u, CAUSAL);
}

/// Where keys (x) and values (y) from number `base` of a run on lie: all that are in one page.
fn origin_of(run: Run, base: u32) -> vec2u {
  let rows = vec2u(params.k_row, params.v_row);
  if (CAUSAL) {
    return page_of(run.place.y, base, params.pages) * params.page + base % PAGE * rows;
  }
  return (run.place.x + base) * rows;
}
