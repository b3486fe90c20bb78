//! Whether the chunks of a dataset have as many bytes as HDF5 takes them to have. It doesn't look:
//! of shorter ones it reads on in memory, which is numbers that nobody wrote, or a crash.

use flate2::read::ZlibDecoder;
use hdf5::Dataset;
use hdf5::dataset::Layout;
use hdf5::filters::Filter;
use std::io::{Read as _, copy, sink};

use crate::data::hyperslab;
use crate::progress::tick;

type Read<T> = Result<T, String>;

/// Chunks without filters that are looked at one by one: HDF5 takes time as their square.
const LOOKED_AT_MAX: usize = 4096;
/// Bytes of a Fletcher-32.
const CHECKSUM: usize = 4;

/// Looks at each chunk of `dataset`, in a file of `file_bytes` bytes. False: there are chunks of
/// which only reading them through HDF5 shows what it makes of them.
///
/// # Errors
/// A chunk has fewer bytes than it should, or more.
pub(super) fn check(dataset: &Dataset, file_bytes: u64) -> Read<bool> {
    let (Layout::Chunked, Some(chunk)) = (dataset.layout(), dataset.chunk()) else {
        return Ok(true);
    };
    let filters = dataset.filters();
    // Chunks at the edges may have no filter although the others have.
    let partial = dataset.dcpl().ok().and_then(|properties| properties.chunk_opts());
    let known =
        |one: &Filter| matches!(one, Filter::Deflate(_) | Filter::Shuffle | Filter::Fletcher32);
    if partial.is_some_and(|options| !options.is_empty()) || !filters.iter().all(known) {
        return Ok(false);
    }
    let cell = dataset.dtype().map_err(|error| error.to_string())?.size();
    let bytes = chunk.iter().try_fold(cell, |bytes, size| bytes.checked_mul(*size));
    let bytes = bytes.ok_or_else(|| format!("found chunks of {chunk:?}, which is too large"))?;
    let counts: Vec<usize> = dataset
        .shape()
        .iter()
        .zip(&chunk)
        .map(|(size, own)| size.div_ceil((*own).max(1)))
        .collect();
    let all: usize = counts.iter().product();
    if filters.is_empty() {
        return without_filters(dataset, all, bytes);
    }
    let mut stored = Vec::new();
    for number in 0..all {
        let (mut rest, mut offset) = (number, vec![0; counts.len()]);
        for axis in (0..counts.len()).rev() {
            offset[axis] = (rest % counts[axis] * chunk[axis]) as u64;
            rest /= counts[axis];
        }
        tick();
        let read = hyperslab::read_chunk(dataset, &offset, file_bytes, &mut stored);
        let without = read.map_err(|error| format!("the chunk at {offset:?}: {error}"))?;
        let found = decoded(&stored, &filters, without, bytes);
        same(found, bytes).map_err(|text| format!("the chunk at {offset:?}: {text}"))?;
    }
    Ok(true)
}

fn without_filters(dataset: &Dataset, all: usize, bytes: usize) -> Read<bool> {
    for number in 0..all.min(LOOKED_AT_MAX) {
        tick();
        let Some(info) = dataset.chunk_info(number) else {
            return Err(format!("the chunk {number} can't be read"));
        };
        same(Some(info.size as usize), bytes)
            .map_err(|text| format!("the chunk {number}: {text}"))?;
    }
    Ok(all <= LOOKED_AT_MAX)
}

fn same(found: Option<usize>, expected: usize) -> Read<()> {
    match found {
        Some(found) if found == expected => Ok(()),
        Some(found) if found > expected => Err(format!("found more than its {expected} bytes")),
        Some(found) => Err(format!("found {found} of its {expected} bytes")),
        None => Err("found what isn't compressed as it should be".into()),
    }
}

/// How many bytes what is stored of a chunk becomes, at most one more than `bytes`, which it
/// should be; none where it can't be decoded. Filters whose bit `without` has were left out.
fn decoded(stored: &[u8], filters: &[Filter], without: u32, bytes: usize) -> Option<usize> {
    let used = |place: usize| without & 1u32.checked_shl(place as u32).unwrap_or(0) == 0;
    let used: Vec<&Filter> =
        filters.iter().enumerate().filter(|(at, _)| used(*at)).map(|it| it.1).collect();
    let checksums = |filters: &[&Filter]| {
        CHECKSUM * filters.iter().filter(|one| matches!(one, Filter::Fletcher32)).count()
    };
    let deflated = used.iter().rposition(|one| matches!(one, Filter::Deflate(_)));
    let Some(deflated) = deflated else { return stored.len().checked_sub(checksums(&used)) };
    // One checksum behind what is deflated, perhaps, and one within it.
    let behind = stored.len().checked_sub(checksums(&used[deflated + 1..]))?;
    let within = checksums(&used[..deflated]);
    let limit = (bytes + within + 1) as u64;
    let mut from = ZlibDecoder::new(&stored[..behind]).take(limit);
    let found = copy(&mut from, &mut sink()).ok()?;
    (found as usize).checked_sub(within)
}
