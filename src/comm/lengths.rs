//! Parts that lie one after the other.

use std::sync::OnceLock;

use bytemuck::Pod;

use super::seal::SEAL;

/// Where each of the consecutive parts of these lengths begins.
pub(super) fn offsets(counts: &[usize]) -> Vec<usize> {
    counts.iter().scan(0, |at, count| Some(std::mem::replace(at, *at + count))).collect()
}

/// Cuts `all` into consecutive parts of these lengths.
pub(super) fn split<T: Pod>(all: &[T], counts: &[usize]) -> Vec<Vec<T>> {
    let at = offsets(counts);
    counts.iter().zip(at).map(|(count, at)| all[at..at + count].to_vec()).collect()
}

/// Bytes of parts of so many numbers, each with its seal; an empty one has none.
pub(super) fn sealed<T>(counts: &[usize]) -> Vec<usize> {
    let bytes = counts.iter().map(|count| count * size_of::<T>());
    bytes.map(|bytes| if bytes == 0 { 0 } else { bytes + SEAL }).collect()
}

/// Bytes of a segment of a long broadcast, at least; one that is longer than two goes along a chain
/// of all ranks (`mpi/chain.rs`). Longer than what networks send before it is asked for: what a
/// rank hasn't asked for stays where it is.
const SEGMENT: usize = 1 << 16;
/// Segments of such a broadcast, at most.
const SEGMENTS: usize = 256;

/// Bytes of each segment of a broadcast of so many, where it goes along a chain.
pub(crate) fn chain_segment(bytes: usize) -> Option<usize> {
    (bytes > 2 * SEGMENT).then(|| bytes.div_ceil(SEGMENTS).max(SEGMENT))
}

/// Bytes of all parts of an all-gather that goes in rounds (`mpi/short.rs`), at most, and ranks of
/// such a one, at least: fewer are as fast with a message for each.
const SHORT_MAX: usize = 1 << 16;
const MANY_RANKS: usize = 65;

/// Sets how many ranks are many, so that tests need only a few.
const VARIABLE: &str = "REELSCALE_MANY_RANKS";

/// Bytes of each part of an all-gather of parts of these lengths, where it goes in rounds.
pub(crate) fn goes_in_rounds(counts: &[usize]) -> Option<usize> {
    static MANY: OnceLock<usize> = OnceLock::new();
    let many = *MANY.get_or_init(|| {
        let set = std::env::var(VARIABLE).ok().and_then(|text| text.parse().ok());
        set.unwrap_or(MANY_RANKS)
    });
    let (part, equal) = (*counts.first()?, counts.windows(2).all(|pair| pair[0] == pair[1]));
    let short = (1..=SHORT_MAX / counts.len()).contains(&part);
    (equal && short && counts.len() >= many).then_some(part)
}
