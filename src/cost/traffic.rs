//! What the flows move between ranks, as each rank counts it (`Comm::traffic`): what it
//! contributes, what others give it, and collective calls (docs/exchanges.md, "An exchange").
//!
//! With P ranks, N rows of d activations and l labels in all, of which this rank holds n and m, W
//! windows, C class blocks of parameters p in all, of which this rank owns c and q, and a vector of
//! L numbers of 4 bytes; bytes that this rank contributes -> bytes that others give it, calls:
//!
//! ```text
//! expert step, an epoch   4 (d + 3) n + 4 m + 8 W + 12
//!                      -> 4 (d + 3) (N - n) + 4 (l - m) + (8 W + 12) (P - 1)      W + 1
//! shared step, a pass     4 q + 4 c -> 4 (p - q) + 4 (C - c)                       C
//! ordered sum             4 L a + 4 P + 12 + 4 L / P + 4
//!                      -> 4 (L / P) A + 4 P + 12 (P - 1) + 4 (L - L / P) + 4 (P - 1)  3
//! a column's turn, part   4 a p + 4 R + 4 p / R + 16
//!                      -> 4 A p / R + (4 R + 8) (R - 1) + 4 (p - p / R) + 8 (R - 1)  4
//! pretraining, an epoch   4 d n + 4 (n + m) + 4 d N a + 48 S + 4 S P + 10
//!                      -> 4 d (N - n) + 4 (N - n + l - m) + 4 d n A
//!                         + 48 S (P - 1) + 4 S P + 10 (P - 1)                      6 S + 2
//!                         and S times three ordered sums, of 3 calls each
//! ```
//!
//! A column has R ranks, each with a nodes of its slices, A in all; a part of a block's gradient
//! has p numbers, of which a rank steps p / R. d stands for the stride of d numbers; of a row of
//! the expert step with dropout for those that are left, and a 32nd of all. Two words of a row of a
//! window say how long it and its labels are, one of each part how long the next one is, which a
//! seal follows. Four bytes of each part are its seal, the crc32c that proves it: of each row of a
//! window, of each class block, of what each rank gives to each other one unless that is empty (4 P
//! at most), and of every word or two that ranks tell each other (12 for 8, 20 for 16, 5 for 1).
//!
//! An epoch of the expert step on a grid is its windows, where a rank takes the rows of its own row
//! of the grid, a turn of each block of its column at each mini-batch, the losses of its slices
//! once and averages twice; and a boundary at each window, the loss as an ordered sum, and five
//! words.
//!
//! One rank alone makes no calls in the expert step's windows, in ordered sums and in passes of the
//! shared step. a is the number of partial sums that this rank is left with, A that of all ranks: 1
//! and P where P is a power of two and runs are even. (The part of the exchange that a rank keeps
//! counts on both sides.) The ordered sums of each of pretraining's S mini-batches are the shared
//! layers' gradient over groups of rows and, over class blocks, 3 squared norms and the loss in
//! f64; its dL/dv, summed over class blocks, goes home without being given to all. All of that is
//! among the P ranks that pretrain; where others wait, they have the words of boundaries with them
//! (12 S + 10), and at an epoch's end two broadcasts of the shared layers and the loss.

use std::iter::Sum;
use std::ops::{Add, Mul, Range};

use crate::comm::SEAL;
use crate::kernel::matrix::stride_of;
use crate::kernel::vector::LANES;
use crate::partition::{Grid, Owners};
use crate::tree::nodes_of;

/// Bytes of a number of activations, weights and labels.
pub(super) const NUMBER: usize = 4;
/// Bytes of the longest part that ranks tell each other before they exchange parts.
const LENGTH: usize = 8;
/// Bytes that say how long a row of a window and its labels are.
const ROW_HEAD: usize = 8;
/// Bytes of the part of a rank in a window beside its rows: how long its next one is, and a seal.
const PART_HEAD: usize = 4 + SEAL;
/// Bytes of what ranks tell each other at a boundary: flags, and digests of the shared layers and
/// of the class blocks that others have, too.
const BOUNDARY: usize = 12;
/// Variables of a class block whose gradients are clipped each by itself: gates, experts, biases.
const NORMS: usize = 3;

/// What one rank moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Bytes that it contributes.
    pub sent: usize,
    /// Bytes that others give it.
    pub received: usize,
    /// Collective calls.
    pub calls: usize,
}

impl Add for Moved {
    type Output = Moved;

    fn add(self, other: Moved) -> Moved {
        Moved {
            sent: self.sent + other.sent,
            received: self.received + other.received,
            calls: self.calls + other.calls,
        }
    }
}

impl Mul<usize> for Moved {
    type Output = Moved;

    fn mul(self, times: usize) -> Moved {
        let Moved { sent, received, calls } = self;
        Moved { sent: sent * times, received: received * times, calls: calls * times }
    }
}

impl Sum for Moved {
    fn sum<I: Iterator<Item = Moved>>(all: I) -> Moved {
        all.fold(Moved::default(), Moved::add)
    }
}

/// How much of something one rank has, and how much all ranks have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    pub own: usize,
    pub all: usize,
}

impl Share {
    /// Every rank's part goes to all others.
    fn to_all(self, bytes: usize) -> Moved {
        Moved { sent: bytes * self.own, received: bytes * (self.all - self.own), calls: 0 }
    }

    /// The same in an all-gather of so many ranks, each part of which ends with its seal, a whole
    /// number.
    pub(super) fn gathered(self, bytes: usize, ranks: usize) -> Moved {
        let sealed = Share { own: self.own + 1, all: self.all + ranks };
        Moved { calls: 1, ..sealed.to_all(bytes) }
    }
}

/// Every one of `ranks` ranks gives all others so many bytes and their seal.
fn word(bytes: usize, ranks: usize) -> Moved {
    let sealed = bytes + SEAL;
    Moved { sent: sealed, received: sealed * (ranks - 1), calls: 1 }
}

/// In `times` turns every rank gives all others the labels of its rows, their number and themselves
/// for each row, after words of how long these parts are and their seals.
fn labels_to_all(rows: Share, labels: Share, times: usize, ranks: usize) -> Moved {
    let parts = Moved { calls: times, ..rows.to_all(NUMBER) + labels.to_all(NUMBER) };
    word(2 * LENGTH, ranks) * times + parts
}

/// Bytes of a row of `width` activations on its way, without dropout, labels aside: its numbers,
/// what its part says of it, and its seal.
pub(crate) fn row_bytes(width: usize) -> usize {
    NUMBER * stride_of(width) + ROW_HEAD + SEAL
}

/// Bytes of a class block of so many parameters on its way, with its seal.
pub(crate) fn block_bytes(parameters: usize) -> usize {
    NUMBER * parameters + SEAL
}

/// An epoch of the expert step, or a pass of L-BFGS: all rows pass in so many windows. Rows, the
/// numbers that travel of them (the stride of d of each, or what dropout leaves and a bit for each)
/// and labels are those of one rank and of all.
pub fn windows_travel(
    (rows, numbers, labels): (Share, Share, Share),
    windows: usize,
    ranks: usize,
) -> Moved {
    if ranks == 1 {
        return Moved::default();
    }
    let heads = Share { own: windows, all: windows * ranks }.to_all(PART_HEAD);
    let rows = rows.to_all(ROW_HEAD + SEAL) + numbers.to_all(NUMBER) + labels.to_all(NUMBER);
    word(LENGTH, ranks) + Moved { calls: windows, ..rows + heads }
}

/// The same in a grid of `grid_rows` rows, where not every rank takes all rows. Rows, their numbers
/// and labels are those that this rank gives, and those that the row of the grid takes that it
/// stands in, if it stands in one. What a rank gives to several others it contributes once; what
/// it keeps counts on both sides.
pub fn windows_travel_in_grid(
    (given, taken): ([usize; 3], Option<[usize; 3]>),
    windows: usize,
    ranks: usize,
    grid_rows: usize,
) -> Moved {
    let bytes = |[rows, numbers, labels]: [usize; 3]| {
        (ROW_HEAD + SEAL) * rows + NUMBER * (numbers + labels)
    };
    let heads = |parts: usize| PART_HEAD * parts * windows;
    let sent = bytes(given) + heads(grid_rows);
    let received = taken.map_or(0, |taken| bytes(taken) + heads(ranks));
    word(LENGTH * (grid_rows + 1), ranks) + Moved { sent, received, calls: windows }
}

/// A pass of all class blocks past the rows: of a wave of the shared step, or of scoring, less what
/// ranks then agree on. `parameters` are those of each block, which lie with ranks as `owners` say.
pub fn experts_travel(parameters: &[usize], owners: &Owners, rank: usize) -> Moved {
    if owners.ranks() == 1 {
        return Moved::default();
    }
    let bytes = |blocks: Range<usize>| parameters[blocks].iter().map(|one| block_bytes(*one)).sum();
    let blocks = Share { own: bytes(owners.run(rank)), all: bytes(0..parameters.len()) };
    Moved { calls: parameters.len(), ..blocks.to_all(1) }
}

/// An ordered sum of vectors of `length` numbers of `number` bytes each, given to all ranks. The
/// leaves lie with ranks as `owners` say.
pub fn ordered_sum(length: usize, number: usize, owners: &Owners, rank: usize) -> Moved {
    let ranks = owners.ranks();
    if ranks == 1 {
        return Moved::default();
    }
    let slice = |rank: usize| (rank + 1) * length / ranks - rank * length / ranks;
    let takers = (0..ranks).filter(|rank| slice(*rank) > 0).count();
    let slices = Share { own: slice(rank), all: length };
    let given = Moved { calls: 1, ..slices.to_all(number) };
    // The seal takes the place of a whole number.
    let seals = Share { own: 1, all: ranks }.to_all(SEAL.next_multiple_of(number));
    let bytes = Share { own: number * slice(rank), all: number * length };
    partials_home(bytes, 1, (takers, slice(rank) > 0), owners, rank) + given + seals
}

/// In `times` turns every rank gives each other one its part of each of its partial sums: of
/// vectors of `bytes.all` bytes in all turns together, of which this rank takes `bytes.own`. Of
/// each of them `takers` ranks take a part, this one if it `takes`.
fn partials_home(
    bytes: Share,
    times: usize,
    (takers, takes): (usize, bool),
    owners: &Owners,
    rank: usize,
) -> Moved {
    let partials: Vec<usize> = owners.runs().into_iter().map(|run| nodes_of(run).len()).collect();
    let givers = partials.iter().filter(|count| **count > 0).count();
    let seals = Moved {
        sent: SEAL * takers * usize::from(partials[rank] > 0),
        received: SEAL * givers * usize::from(takes),
        calls: 1,
    };
    let parts = Moved {
        sent: bytes.all * partials[rank],
        received: bytes.own * partials.iter().sum::<usize>(),
        calls: 0,
    };
    (word(LENGTH, owners.ranks()) + seals) * times + parts
}

/// A turn of a class block in a column of two ranks or more: its gradient, cut into parts of so
/// many numbers, to weights that have been stepped. `slices` are those of the column's ranks.
pub fn turn(parts: &[usize], slices: &Owners) -> Moved {
    let (ranks, rank) = (slices.ranks(), slices.rank());
    let nodes: Vec<usize> = slices.runs().into_iter().map(|run| nodes_of(run).len()).collect();
    let of_part = |numbers: &usize| {
        let stretch = stretch(*numbers, ranks, rank);
        let sums = Moved {
            sent: NUMBER * nodes[rank] * stretch.all,
            received: NUMBER * nodes.iter().sum::<usize>() * stretch.own,
            calls: 1,
        };
        let weights = Moved { calls: 1, ..stretch.to_all(NUMBER) };
        sums + word(NUMBER * (1 + ranks), ranks) + weights + word(NUMBER, ranks)
    };
    parts.iter().map(of_part).sum()
}

/// What one of a column's ranks steps of a part of so many numbers.
fn stretch(numbers: usize, ranks: usize, rank: usize) -> Share {
    let start = |rank: usize| LANES * (rank * (numbers / LANES) / ranks);
    Share { own: start(rank + 1) - start(rank), all: numbers }
}

/// An epoch of the expert step by mini-batches, as one rank of a grid sees it.
#[derive(Clone, Copy, Debug)]
pub struct ExpertEpoch<'a> {
    pub grid: &'a Grid,
    /// Who owns which class block.
    pub owners: &'a Owners,
    pub windows: usize,
    /// Mini-batches.
    pub batches: usize,
    /// Rows, their numbers that travel and labels: of those that this rank gives, and of those that
    /// the row of the grid takes that it stands in, if it stands in one.
    pub given: [usize; 3],
    pub taken: Option<[usize; 3]>,
    /// Of each class block of its column the numbers of its parts, and its lanes.
    pub blocks: &'a [(Vec<usize>, usize)],
    pub averaging: bool,
}

/// What the rank moves in an epoch of the expert step after which another one comes, less its
/// validation.
pub fn experts(epoch: &ExpertEpoch) -> Moved {
    let ExpertEpoch { grid, owners, windows, given, taken, .. } = *epoch;
    let ranks = grid.ranks();
    let travel = match taken {
        Some(taken) if grid.all_take_all() => {
            let share = |at: usize| Share { own: given[at], all: taken[at] };
            windows_travel((share(0), share(1), share(2)), windows, ranks)
        }
        _ => windows_travel_in_grid((given, taken), windows, ranks, grid.rows()),
    };
    // Ranks agree before the windows, on the loss, on the model that is shown and at the end, and
    // tell each other how many blocks are left.
    let words = word(BOUNDARY, ranks) * windows + word(1, ranks) * 4 + word(LENGTH, ranks);
    let loss = ordered_sum(1, size_of::<f64>(), owners, owners.rank());
    let apart = grid.rows() > 1 && grid.own().is_some();
    travel + words + loss + if apart { in_column(epoch) } else { Moved::default() }
}

/// What it moves of the class blocks that it shares.
fn in_column(epoch: &ExpertEpoch) -> Moved {
    let (slices, blocks) = (epoch.grid.slices(), epoch.blocks);
    let (ranks, rank) = (slices.ranks(), slices.rank());
    let turns = blocks.iter().map(|(parts, _)| turn(parts, slices)).sum::<Moved>() * epoch.batches;
    let lanes = blocks.iter().map(|block| block.1).sum::<usize>();
    let losses = Share { own: slices.own().len() * lanes, all: slices.blocks() * lanes };
    let losses = losses.gathered(size_of::<f64>(), ranks);
    let average = |(parts, _): &(Vec<usize>, usize)| {
        let own = parts.iter().map(|part| stretch(*part, ranks, rank).own).sum();
        Share { own, all: parts.iter().sum() }.gathered(NUMBER, ranks)
    };
    let averages = blocks.iter().map(average).sum::<Moved>() * (2 * usize::from(epoch.averaging));
    turns + losses + averages
}

/// An epoch of pretraining.
#[derive(Clone, Copy, Debug)]
pub struct Pretraining<'a> {
    /// All ranks, of which those of the tables learn and others wait.
    pub ranks: usize,
    /// Mini-batches; each takes rows of every group.
    pub steps: usize,
    /// Rows of one rank's groups, and of all.
    pub rows: Share,
    pub labels: Share,
    /// Width d of the activations.
    pub width: usize,
    /// Parameters of the shared layers, of which there are some.
    pub shared: usize,
    /// Who runs which group of row blocks.
    pub groups: &'a Owners,
    /// Who owns which class block.
    pub blocks: &'a Owners,
}

/// What `rank` moves in an epoch of pretraining, less its validation.
pub fn pretraining(epoch: &Pretraining, rank: usize) -> Moved {
    let Pretraining { ranks: all, steps, rows, labels, width, shared, groups, blocks } = *epoch;
    let (ranks, stride) = (groups.ranks(), NUMBER * stride_of(width));
    // Ranks agree before the first mini-batch and after the last one.
    let words = word(BOUNDARY, all) * steps + word(1, all) * 2;
    // Those that wait get the shared layers and the loss.
    let told = match NUMBER * shared + SEAL + size_of::<f64>() + SEAL {
        _ if ranks == all => Moved::default(),
        bytes if rank == 0 => Moved { sent: bytes, received: 0, calls: 2 },
        bytes => Moved { sent: 0, received: bytes, calls: 2 },
    };
    if rank >= ranks {
        return words + told;
    }
    let seals = Share { own: 1, all: ranks }.to_all(SEAL) * steps;
    let activations = Moved { calls: steps, ..rows.to_all(stride) + seals };
    let sums = [
        ordered_sum(shared, NUMBER, groups, rank),
        ordered_sum(NORMS, size_of::<f64>(), blocks, rank),
        ordered_sum(1, size_of::<f64>(), blocks, rank),
    ];
    let slopes = Share { own: stride * rows.own, all: stride * rows.all };
    let homes = groups.runs().iter().filter(|run| !run.is_empty()).count();
    let slopes = match ranks {
        1 => Moved::default(),
        _ => partials_home(slopes, steps, (homes, rows.own > 0), blocks, rank),
    };
    let sums = sums.into_iter().sum::<Moved>() * steps;
    activations + labels_to_all(rows, labels, steps, ranks) + slopes + sums + words + told
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of even runs on 4 ranks every one gives and takes twice three quarters of the vector, as in
    /// a ring, beside seals, a word, and what it keeps of its own partial sum.
    #[test]
    fn an_ordered_sum_moves_as_much_as_a_ring() {
        let (length, owners) = (4096, Owners::even(1024, 4, 0));
        let moved = ordered_sum(length, NUMBER, &owners, 1);
        let (vector, quarter) = (4 * length, length);
        assert_eq!(moved.sent, vector + quarter + 4 * 4 + 12 + 4);
        assert_eq!(moved.received, vector + (vector - quarter) + 4 * 4 + 3 * 12 + 3 * 4);
        assert_eq!(moved.calls, 3);
        assert_eq!(ordered_sum(length, NUMBER, &Owners::even(1024, 1, 0), 0), Moved::default());
    }

    /// A rank without leaves gives no partial sums, and takes its slice of those of others.
    #[test]
    fn an_idle_rank_only_takes() {
        let owners = Owners::in_shares(64, &[1, 0, 1], 0);
        let moved = ordered_sum(300, NUMBER, &owners, 1);
        assert_eq!(moved.sent, 12 + 4 * 100 + 4);
        assert_eq!(moved.received, 4 * 100 * 2 + 2 * 4 + 2 * 12 + 4 * 200 + 2 * 4);
    }
}
