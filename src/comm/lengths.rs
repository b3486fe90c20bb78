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
