//! Which rows a window has that come here, who holds them, and what this rank gives.

use std::ops::Range;

use super::record::{Form, Lengths, Mask, part_words};
use super::takers::Takers;
use super::{ROWS_AT_ONCE, Travel};
use crate::team::Team;

/// The rows of a window.
#[derive(Default)]
pub(super) struct Plan {
    /// Of the window, and the first of those that come here.
    pub(super) positions: Range<usize>,
    pub(super) first: usize,
    /// The rows that come here, in their order, of all ranks' rows.
    pub(super) rows: Vec<usize>,
    /// The rank that holds each.
    pub(super) holders: Vec<u32>,
    /// How many each rank holds.
    pub(super) counts: Vec<usize>,
    /// This rank's, counted from its first: those that go to the ranks of a row of the grid, in
    /// their order, row after row.
    pub(super) own: Vec<usize>,
    /// Where those of each row of the grid begin, and the end.
    pub(super) bounds: Vec<usize>,
    /// Of each of those.
    pub(super) lengths: Vec<Lengths>,
}

/// Rows that a thread finds at once: what the permutation works on together.
const FOUND_AT_ONCE: usize = 512;

impl Plan {
    /// That of the window at these positions, in the memory of an earlier one.
    pub(super) fn new(
        travel: &Travel,
        (takers, form): (&Takers, &Form),
        positions: Range<usize>,
        memory: Plan,
    ) -> Plan {
        let Travel { comm, own, runs, order, .. } = travel;
        let mut threads = vec![Mask::new(); comm.threads()];
        let row = takers.row_of(comm.rank());
        let taken = row.map_or_else(Vec::new, |row| takers.positions(&positions, row));
        let first = taken.first().map_or(positions.start, |run| run.start);
        let mut plan = Plan { positions, first, ..memory };
        let count = taken.iter().map(Range::len).sum();
        plan.rows.resize(count, 0);
        plan.holders.resize(count, 0);
        let pieces = taken.into_iter().flat_map(pieces);
        let mut rest = (&mut plan.rows[..], &mut plan.holders[..]);
        let pieces: Vec<_> = pieces
            .map(|run| {
                let (rows, rows_after) = std::mem::take(&mut rest.0).split_at_mut(run.len());
                let (holders, after) = std::mem::take(&mut rest.1).split_at_mut(run.len());
                rest = (rows_after, after);
                (run.start, rows, holders)
            })
            .collect();
        Team::new(&mut threads).for_each(pieces, |_, (first, rows, holders)| {
            order.rows(first, rows);
            for (row, holder) in rows.iter().zip(holders) {
                *holder = runs.partition_point(|run| run.end <= *row) as u32;
            }
        });
        plan.count(runs.len());
        plan.find_own(travel, takers);
        if comm.size() == 1 {
            return plan;
        }
        plan.lengths.resize(plan.own.len(), [0; 2]);
        let pieces = plan.own.chunks(ROWS_AT_ONCE).zip(plan.lengths.chunks_mut(ROWS_AT_ONCE));
        Team::new(&mut threads).for_each(pieces, |mask, (rows, lengths)| {
            for (row, length) in rows.iter().zip(lengths) {
                let labels = own.labels.row(*row).len();
                *length = form.lengths(own.rows.start + row, labels, mask);
            }
        });
        plan
    }

    /// Counts what each of so many ranks holds.
    fn count(&mut self, ranks: usize) {
        self.counts.clear();
        self.counts.resize(ranks, 0);
        self.holders.iter().for_each(|holder| self.counts[*holder as usize] += 1);
    }

    /// Finds what this rank gives.
    fn find_own(&mut self, travel: &Travel, takers: &Takers) {
        if !takers.all_take_all() {
            self.bounds = takers.own_rows(&self.positions, &mut self.own);
            return;
        }
        let (rank, first) = (travel.comm.rank() as u32, travel.own.rows.start);
        self.own.clear();
        let held = self.rows.iter().zip(&self.holders).filter(|(_, holder)| **holder == rank);
        self.own.extend(held.map(|(row, _)| row - first));
        self.bounds.clear();
        self.bounds.extend([0, self.own.len()]);
    }

    /// What this rank gives each row of the grid: rows, and lengths of their records.
    pub(super) fn shares(&self) -> impl Iterator<Item = (&[usize], &[Lengths])> {
        let runs = self.bounds.windows(2).map(|ends| ends[0]..ends[1]);
        runs.map(|run| (&self.own[run.clone()], &self.lengths[run]))
    }

    /// Words of each of those parts.
    pub(super) fn share_words(&self) -> Vec<usize> {
        self.shares().map(|(_, lengths)| part_words(lengths)).collect()
    }
}

/// A run of positions in pieces.
fn pieces(run: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = run.end;
    run.step_by(FOUND_AT_ONCE).map(move |from| from..(from + FOUND_AT_ONCE).min(end))
}
