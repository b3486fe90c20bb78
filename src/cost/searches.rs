//! What ranks of a column move at the end of a pass over all rows, where classes search by
//! themselves (`flow::column::Classes`), counted as in `traffic.rs`.
//!
//! Of a block of k classes and p numbers, of which k' and p' are at home at this rank, with a nodes
//! of its slices, A of all:
//!
//! ```text
//! 4 a p + 8 a k + 4 p' + 16 k' -> 4 A p' + 8 A k' + 4 (p - p') + 16 (k - k')      4 calls
//! ```
//!
//! beside seals: one for each rank that gives or takes a part that isn't empty, and one number of
//! each all-gather.

use super::traffic::{Moved, NUMBER, Share};
use crate::comm::SEAL;
use crate::partition::Owners;
use crate::tree::nodes_of;

/// Bytes of a loss.
const LOSS: usize = size_of::<f64>();

/// What a rank of a column moves of a block at a pass's end. `numbers` are those of each class,
/// `slices` those of the column's ranks.
pub fn searches(numbers: &[usize], slices: &Owners) -> Moved {
    let (ranks, rank) = (slices.ranks(), slices.rank());
    let nodes: Vec<usize> = slices.runs().into_iter().map(|run| nodes_of(run).len()).collect();
    let start = |rank: usize| rank * numbers.len() / ranks;
    let classes: Vec<usize> = (0..ranks).map(|rank| start(rank + 1) - start(rank)).collect();
    let counts: Vec<usize> =
        (0..ranks).map(|rank| numbers[start(rank)..start(rank + 1)].iter().sum()).collect();
    let home = |of: &[usize], bytes: usize| {
        let givers = nodes.iter().filter(|nodes| **nodes * of[rank] > 0).count();
        let takers = of.iter().filter(|count| nodes[rank] * **count > 0).count();
        Moved {
            sent: bytes * nodes[rank] * of.iter().sum::<usize>() + SEAL * takers,
            received: bytes * nodes.iter().sum::<usize>() * of[rank] + SEAL * givers,
            calls: 1,
        }
    };
    let to_all = |of: &[usize], bytes: usize, times: usize| {
        let share = Share { own: times * of[rank], all: times * of.iter().sum::<usize>() };
        share.gathered(bytes, ranks)
    };
    let sums = home(&counts, NUMBER) + home(&classes, LOSS);
    sums + to_all(&counts, NUMBER, 1) + to_all(&classes, LOSS, 2)
}
