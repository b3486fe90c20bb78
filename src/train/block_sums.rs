//! Sums over class blocks, along the one fixed tree: losses, squared norms.

use crate::comm::{Comm, OrderedSum};
use crate::partition::Owners;

/// The sum over all class blocks of one number each, given those of this rank's own ones.
#[track_caller]
pub(crate) fn total_over_blocks(comm: &Comm, owners: &Owners, own: Vec<f64>) -> f64 {
    sums_over_blocks(comm, owners, own.into_iter().map(|number| vec![number]).collect(), 1)[0]
}

/// As `total_over_blocks`, of `length` numbers each.
#[track_caller]
pub(crate) fn sums_over_blocks(
    comm: &Comm,
    owners: &Owners,
    own: Vec<Vec<f64>>,
    length: usize,
) -> Vec<f64> {
    let mut sum = OrderedSum::new(comm, "sums over class blocks", owners.runs(), length);
    own.into_iter().for_each(|numbers| sum.add(numbers));
    sum.finish(comm)
}
