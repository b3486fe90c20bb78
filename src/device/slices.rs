//! How the rows of a mini-batch are cut into slices, which are part of what is computed: each is a
//! chain of its own, and the chains are added along the tree (`tree.rs`). With one slice there is
//! one chain and nothing to add.

use std::ops::Range;

use crate::tree;

/// Rows of slice `index` of `count`, of so many rows: whole-number division, so that slices differ
/// by at most one row and are empty where there are fewer rows than slices.
pub fn slice(rows: usize, count: usize, index: usize) -> Range<usize> {
    let start = |index: usize| (index as u64 * rows as u64 / count as u64) as usize;
    start(index)..start(index + 1)
}

/// How many slices there are, and those whose rows are summed here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slices {
    pub count: usize,
    pub own: Range<usize>,
}

impl Slices {
    /// All of them are summed here.
    pub fn all(count: usize) -> Slices {
        Slices { count, own: 0..count }
    }

    /// The own ones of so many rows.
    pub fn of(&self, rows: usize) -> impl Iterator<Item = Range<usize>> {
        self.own.clone().map(move |index| slice(rows, self.count, index))
    }

    /// The rows of all own ones, of so many rows.
    pub fn run(&self, rows: usize) -> Range<usize> {
        let start = |index| slice(rows, self.count, index).start;
        start(self.own.start)..start(self.own.end)
    }
}

/// A mini-batch, and which of its rows are here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The whole mini-batch, by positions in the epoch.
    pub positions: Range<usize>,
    /// Rows of each own slice, in order, counted from the first row here. Between them is none.
    pub own: Vec<Range<usize>>,
    /// Position in the epoch of the first own row.
    pub first: usize,
}

impl Batch {
    /// Number of own rows.
    pub fn rows(&self) -> usize {
        self.own.iter().map(Range::len).sum()
    }

    /// The mini-batches of `batch` rows, the last one perhaps of fewer, of a window at these
    /// positions of the epoch. Of each window the own rows are here, mini-batch after mini-batch.
    pub fn of_window(window: &Range<usize>, batch: usize, slices: &Slices) -> Vec<Batch> {
        let mut here = 0;
        let batches = window.clone().step_by(batch).map(|from| {
            let positions = from..(from + batch).min(window.end);
            let run = slices.run(positions.len());
            let shift = |row: usize| row - run.start + here;
            let own = slices.of(positions.len()).map(|own| shift(own.start)..shift(own.end));
            let own = own.collect();
            here += run.len();
            Batch { first: from + run.start, positions, own }
        });
        batches.collect()
    }
}

/// All rows of a pass, and the slices of them that are summed here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllRows {
    pub count: usize,
    pub slices: Slices,
}

/// What a window has of a slice of a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePart {
    /// Which one, counted from the first own one.
    pub slice: usize,
    /// Its rows, counted from the window's first.
    pub rows: Range<usize>,
    /// Whether the slice ends with them.
    pub last: bool,
}

impl AllRows {
    /// The own slices of which a window at these positions of the pass has something, in order.
    /// One without rows is with the window that the next own row is in, or the last one's.
    pub fn within(&self, window: &Range<usize>) -> Vec<SlicePart> {
        let (own, end) = (self.slices.of(self.count), self.slices.run(self.count).end);
        let parts = own.enumerate().filter_map(|(slice, run)| {
            let rows = run.start.max(window.start)..run.end.min(window.end);
            let next_is_here = window.contains(&run.start) || window.end == end && run.start == end;
            let here = !rows.is_empty() || run.is_empty() && next_is_here;
            here.then(|| SlicePart {
                slice,
                rows: rows.start - window.start..rows.end - window.start,
                last: run.end <= window.end,
            })
        });
        parts.collect()
    }
}

/// Vectors that it takes at most to add so many slices, one after the other, along the tree.
pub(crate) fn vectors_of(slices: usize) -> usize {
    slices.ilog2() as usize + 1
}

/// The sums of `chains` [slices][lanes] of losses along the tree, `[lanes]`.
pub(crate) fn totals(chains: &[f64], lanes: usize) -> Vec<f64> {
    let chains = chains.chunks_exact(lanes).map(<[f64]>::to_vec);
    let sum = tree::sum(chains, |mut left, right| {
        left.iter_mut().zip(right).for_each(|(left, right)| *left += right);
        left
    });
    sum.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_all_rows_once_in_order() {
        for count in 1..20 {
            for rows in 0..3 * count + 2 {
                let mut next = 0;
                for index in 0..count {
                    let slice = slice(rows, count, index);
                    assert_eq!(slice.start, next);
                    assert!(slice.len() == rows / count || slice.len() == rows.div_ceil(count));
                    next = slice.end;
                }
                assert_eq!(next, rows, "{count} slices");
            }
        }
        assert_eq!(slice(1 << 48, 4096, 4095).end, 1 << 48);
    }

    /// Before slice k is added there are as many partial sums as k has ones in binary.
    #[test]
    fn slices_take_as_many_vectors_as_are_planned() {
        for slices in 1..300usize {
            let most = (0..slices).map(|slice| slice.count_ones() as usize + 1).max();
            assert_eq!(most, Some(vectors_of(slices)), "{slices} slices");
        }
    }

    /// Windows of any length go through all slices, in order, and each one ends once.
    #[test]
    fn windows_have_every_slice_of_a_pass() {
        for (count, all) in [(1, 7), (3, 7), (4, 260), (12, 5), (5, 1)] {
            for own in [0..count, 0..count / 2, count / 2..count] {
                let run = Slices { count, own: own.clone() };
                let all = AllRows { count: all, slices: run.clone() };
                for window in 1..all.count + 2 {
                    let (mut open, mut ended) = (0, 0);
                    let rows = run.run(all.count);
                    for from in rows.clone().step_by(window) {
                        let here = from..(from + window).min(rows.end);
                        for part in all.within(&here) {
                            assert_eq!(part.slice, ended, "in order");
                            open += part.rows.len();
                            if part.last {
                                let slice = slice(all.count, count, own.start + ended);
                                assert_eq!(std::mem::take(&mut open), slice.len());
                                ended += 1;
                            }
                        }
                    }
                    let empty = rows.is_empty();
                    assert!(empty || ended == own.len() && open == 0, "{all:?}, {window}");
                }
            }
        }
    }

    /// However slices are dealt, each row of a window is a row of one rank, and a row of the slice
    /// that it is in without ranks.
    #[test]
    fn a_column_has_the_rows_of_a_window_between_its_ranks() {
        let window = 200..200 + 3 * 48 + 20;
        for count in [1, 2, 3, 12, 64] {
            for cuts in [vec![], vec![1], vec![0, 1], vec![count / 2, count - 1, count]] {
                let ends = cuts.iter().copied().chain([count]);
                let starts = [0].into_iter().chain(cuts.iter().copied());
                let mut found = vec![Vec::new(); 4];
                for own in starts.zip(ends).filter(|(from, to)| from <= to) {
                    let slices = Slices { count, own: own.0..own.1 };
                    let mut next = 0;
                    let batches = Batch::of_window(&window, 48, &slices);
                    assert_eq!(batches.len(), found.len());
                    for (batch, found) in batches.iter().zip(&mut found) {
                        assert_eq!(batch.own.len(), slices.own.len());
                        let begin = next;
                        for (index, rows) in slices.own.clone().zip(&batch.own) {
                            assert_eq!(rows.start, next, "no row between slices");
                            next = rows.end;
                            let position = |row| batch.first + row - begin;
                            found.extend(rows.clone().map(|row| (position(row), index)));
                        }
                    }
                }
                for (batch, found) in found.iter().enumerate() {
                    let from = 200 + batch * 48;
                    let rows = if batch == 3 { 20 } else { 48 };
                    let expected = (0..count).flat_map(|index| {
                        slice(rows, count, index).map(move |row| (from + row, index))
                    });
                    assert!(expected.eq(found.iter().copied()), "{count} slices, {cuts:?}");
                }
            }
        }
    }
}
