//! What ranks give of a window that aren't there, for whoever stands in for them
//! (`reelscale bench rank`): of the same lengths, with true seals.

use std::cell::OnceCell;
use std::rc::Rc;

use super::plan::Plan;
use super::record::{Form, Lengths, Mask, head_words, part_words, write_head};
use crate::comm::{AnyRow, Cargo};
use crate::flow::own_rows::seal_of;

/// Parts of all ranks of a window.
pub(super) struct Others {
    form: Form,
    plan: Rc<Plan>,
    /// The window after it, of which parts say how long they are.
    next: Option<Rc<Plan>>,
    /// The rows of each rank in both.
    by_rank: OnceCell<[Vec<Vec<usize>>; 2]>,
}

impl Others {
    pub(super) fn new(form: Form, plan: Rc<Plan>, next: Option<Rc<Plan>>) -> Others {
        Others { form, plan, next, by_rank: OnceCell::new() }
    }

    /// How many words each rank gives, as ranks tell each other: what this rank has `told`, where
    /// in the place of its row of the grid that stands, and a seal.
    pub(super) fn counts(self, told: Vec<u64>, row: Option<usize>) -> Cargo<'static> {
        Cargo::Made(Rc::new(move |rank, all, to: &mut [u8]| {
            let mut told = told.clone();
            if let Some(row) = row {
                told[row] = part_words(&self.lengths(self.rows(rank)[0], all)) as u64;
            }
            let told: &[u8] = bytemuck::cast_slice(&told);
            let (counts, seal) = to.split_at_mut(told.len());
            counts.copy_from_slice(told);
            seal.copy_from_slice(&crc32c::crc32c(told).to_le_bytes());
        }))
    }

    /// The parts themselves.
    pub(super) fn parts(self) -> Cargo<'static> {
        Cargo::Made(Rc::new(move |rank, all, to: &mut [u8]| {
            self.write(rank, all, bytemuck::cast_slice_mut(to));
        }))
    }

    fn write(&self, rank: usize, all: &dyn AnyRow, to: &mut [u32]) {
        if to.is_empty() {
            return;
        }
        let [rows, next] = self.rows(rank);
        let next = self.next.as_ref().map_or(0, |_| part_words(&self.lengths(next, all)));
        let (lengths, mut mask) = (self.lengths(rows, all), Mask::new());
        let (head, mut rest) = to.split_at_mut(head_words(rows.len()));
        write_head(next, &lengths, head);
        for (row, [words, _]) in rows.iter().zip(lengths) {
            let (record, after) = rest.split_at_mut(words as usize);
            let (numbers, labels) = all.row(*row);
            let written =
                self.form.write(*row, (numbers, seal_of(numbers)), labels, record, &mut mask);
            written.expect("the seal is of these numbers");
            rest = after;
        }
    }

    /// The rows of a rank in this window and the next one.
    fn rows(&self, rank: usize) -> [&[usize]; 2] {
        let of = |plan: &Plan| {
            let mut by_rank = vec![Vec::new(); plan.counts.len()];
            let holders = plan.rows.iter().zip(&plan.holders);
            holders.for_each(|(row, holder)| by_rank[*holder as usize].push(*row));
            by_rank
        };
        let both = self
            .by_rank
            .get_or_init(|| [of(&self.plan), self.next.as_deref().map_or_else(Vec::new, of)]);
        both.each_ref().map(|by_rank| by_rank.get(rank).map_or(&[][..], |rows| &rows[..]))
    }

    fn lengths(&self, rows: &[usize], all: &dyn AnyRow) -> Vec<Lengths> {
        let mut mask = Mask::new();
        let rows = rows.iter();
        rows.map(|row| self.form.lengths(*row, all.row(*row).1.len(), &mut mask)).collect()
    }
}
