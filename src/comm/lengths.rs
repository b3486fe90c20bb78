//! Parts that lie one after the other.

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
