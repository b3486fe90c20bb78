//! Who takes which rows of a window: in a grid of ranks each of its rows takes its slices of every
//! mini-batch (docs/thousand-ranks.md, section 3).

use std::ops::Range;

use super::Order;
use crate::device::{Slices, host_arithmetic, slice};
use crate::partition::Grid;
use crate::team::Team;

/// Own rows that a thread finds at once.
const FOUND_AT_ONCE: usize = 4096;

/// The rows of a grid of ranks, and which of this rank's rows go to which.
#[derive(Clone)]
pub(super) struct Takers {
    grid: Grid,
    order: Order,
    /// Rows of all ranks, of a mini-batch, and of a window.
    total: usize,
    batch: usize,
    window: usize,
    /// Where this rank's rows stand in the order, and which those are, counted from its first; none
    /// where whoever knows a window's rows knows that.
    own: Vec<(usize, usize)>,
}

impl Takers {
    pub(super) fn new(
        (grid, order): (&Grid, &Order),
        [total, batch, window]: [usize; 3],
        own: Range<usize>,
        threads: usize,
    ) -> Takers {
        let (grid, order) = (grid.clone(), order.clone());
        let mut takers = Takers { grid, order, total, batch, window, own: Vec::new() };
        if !takers.all_take_all() {
            let mut positions: Vec<usize> = own.collect();
            if let Order::Shuffled(permutation) = &takers.order {
                let pieces = positions.chunks_mut(FOUND_AT_ONCE);
                Team::new(&mut vec![(); threads])
                    .for_each(pieces, |(), rows| host_arithmetic::places_of(permutation, rows));
            }
            takers.own = positions.into_iter().zip(0..).collect();
            takers.own.sort_unstable();
        }
        takers
    }

    /// Whether every rank takes all rows.
    pub(super) fn all_take_all(&self) -> bool {
        self.grid.all_take_all()
    }

    /// Rows of the grid.
    pub(super) fn rows(&self) -> usize {
        self.grid.rows()
    }

    /// The row of the grid that a rank stands in.
    pub(super) fn row_of(&self, rank: usize) -> Option<usize> {
        self.grid.place(rank).map(|place| place.row)
    }

    /// The positions of a window that a row of the grid takes, in order. Of the natural order each
    /// takes a part of its own run of all rows.
    pub(super) fn positions(&self, window: &Range<usize>, row: usize) -> Vec<Range<usize>> {
        if self.rows() == 1 {
            return vec![window.clone()];
        }
        let slices = self.grid.slices();
        let slices = Slices { count: slices.blocks(), own: slices.run(row) };
        let shifted = |run: Range<usize>, by: usize| run.start + by..run.end + by;
        match &self.order {
            Order::Natural => {
                let run = slices.run(self.total);
                let (count, number) =
                    (self.total.div_ceil(self.window), window.start / self.window);
                vec![shifted(slice(run.len(), count, number), run.start)]
            }
            Order::Shuffled(_) => {
                let batches = window.clone().step_by(self.batch);
                let rows = |from: usize| self.batch.min(window.end - from);
                batches.map(|from| shifted(slices.run(rows(from)), from)).collect()
            }
        }
    }

    /// This rank's rows of a window, row by row of the grid, and where each of those begins and
    /// ends among them.
    pub(super) fn own_rows(&self, window: &Range<usize>, rows: &mut Vec<usize>) -> Vec<usize> {
        rows.clear();
        let mut ends = vec![0];
        for row in 0..self.rows() {
            for run in self.positions(window, row) {
                let at = |position: usize| self.own.partition_point(|own| own.0 < position);
                rows.extend(self.own[at(run.start)..at(run.end)].iter().map(|own| own.1));
            }
            ends.push(rows.len());
        }
        ends
    }
}
