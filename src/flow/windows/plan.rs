//! Which rows a window has, and who holds them.

use std::ops::Range;

use super::record::{Form, Lengths, Mask, part_words};
use super::{ROWS_AT_ONCE, Travel};
use crate::team::Team;

/// The rows of a window.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) positions: Range<usize>,
    /// The row at each position, of all ranks' rows.
    pub(super) rows: Vec<usize>,
    /// The rank that holds each.
    pub(super) holders: Vec<u32>,
    /// How many each rank holds.
    pub(super) counts: Vec<usize>,
    /// This rank's, in their order, counted from its first.
    pub(super) own: Vec<usize>,
    /// Of each of those.
    pub(super) lengths: Vec<Lengths>,
}

/// Rows that a thread finds at once: what the permutation works on together.
const FOUND_AT_ONCE: usize = 512;

impl Plan {
    /// That of the window at these positions, in the memory of an earlier one.
    pub(super) fn new(travel: &Travel, form: &Form, positions: Range<usize>, memory: Plan) -> Plan {
        let mut plan = Plan { positions, ..memory };
        plan.rows.resize(plan.positions.len(), 0);
        plan.holders.resize(plan.positions.len(), 0);
        let mut threads = vec![Mask::new(); travel.comm.threads()];
        let pieces =
            plan.rows.chunks_mut(FOUND_AT_ONCE).zip(plan.holders.chunks_mut(FOUND_AT_ONCE));
        let (first, Travel { comm, own, runs, order, .. }) = (plan.positions.start, travel);
        Team::new(&mut threads).for_each(pieces.enumerate(), |_, (piece, (rows, holders))| {
            order.rows(first + piece * FOUND_AT_ONCE, rows);
            for (row, holder) in rows.iter().zip(holders) {
                *holder = runs.partition_point(|run| run.end <= *row) as u32;
            }
        });
        plan.counts.clear();
        plan.counts.resize(runs.len(), 0);
        plan.own.clear();
        let (rank, first) = (comm.rank(), own.rows.start);
        for (row, holder) in plan.rows.iter().zip(&plan.holders) {
            plan.counts[*holder as usize] += 1;
            if *holder as usize == rank {
                plan.own.push(row - first);
            }
        }
        if comm.size() == 1 {
            return plan;
        }
        plan.lengths.resize(plan.own.len(), [0; 2]);
        let pieces = plan.own.chunks(ROWS_AT_ONCE).zip(plan.lengths.chunks_mut(ROWS_AT_ONCE));
        Team::new(&mut threads).for_each(pieces, |mask, (rows, lengths)| {
            for (row, length) in rows.iter().zip(lengths) {
                let labels = own.labels.row(*row).len();
                *length = form.lengths(first + row, labels, mask);
            }
        });
        plan
    }

    /// Words of this rank's part.
    pub(super) fn own_words(&self) -> usize {
        part_words(&self.lengths)
    }
}
