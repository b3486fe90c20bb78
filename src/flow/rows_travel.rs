//! What is frozen travels: rows (activations and labels) pass every rank, whose class blocks stay
//! at home and learn.
//!
//! Expert step. Rows come in windows: every rank contributes those it holds and receives the whole
//! window, put into the order that all ranks agree on; the next window is on its way while this one
//! is worked on. No gradient crosses ranks.

use std::ops::Range;

use super::own_rows::OwnRows;
use crate::comm::Comm;
use crate::error::Result;
use crate::labels::Labels;
use crate::model::matrix::{Matrix, stride_of};
use crate::model::mixture::Passing;
use crate::rng::Permutation;

/// The order in which rows pass.
#[derive(Clone, Debug)]
pub enum Order {
    /// As they lie in the dataset.
    Natural,
    /// A random permutation, the same on all ranks.
    Shuffled(Permutation),
}

impl Order {
    fn row(&self, position: usize) -> usize {
        match self {
            Order::Natural => position,
            Order::Shuffled(permutation) => permutation.at(position),
        }
    }
}

/// Rows of consecutive positions of the order, on their way past the class blocks.
pub struct Window {
    pub activations: Matrix,
    pub labels: Labels,
}

impl Window {
    pub fn passing(&self) -> Passing<'_> {
        Passing { activations: &self.activations, labels: &self.labels }
    }
}

/// Which rows travel and how.
pub struct Travel<'a> {
    pub comm: &'a Comm,
    pub own: &'a OwnRows,
    /// The rows of each rank, one after the other from 0 to N.
    pub runs: &'a [Range<usize>],
    pub order: Order,
    /// Rows of a window.
    pub window: usize,
}

/// What this rank sends of a window, and what everyone's parts are.
struct Parts {
    mine: Vec<f32>,
    counts: Vec<usize>,
    /// For each position of the window the rank that holds its row.
    holders: Vec<usize>,
    labels: Vec<Vec<u32>>,
}

impl Travel<'_> {
    /// Calls `visit` with every window in order, on every rank.
    ///
    /// # Errors
    /// What reading back activations gives.
    pub fn windows(&self, mut visit: impl FnMut(&Window, &mut dyn FnMut())) -> Result<()> {
        let total = self.runs.last().expect("a run for each rank").end;
        let spans: Vec<Range<usize>> = (0..total)
            .step_by(self.window)
            .map(|from| from..(from + self.window).min(total))
            .collect();
        let mut here: Option<Window> = None;
        for span in spans {
            let next = self.fetch(span, &mut |poll| {
                if let Some(window) = &here {
                    visit(window, poll);
                }
            })?;
            here = Some(next);
        }
        if let Some(window) = &here {
            visit(window, &mut || ());
        }
        Ok(())
    }

    /// The rows at the positions `span`, while `during` runs.
    fn fetch(
        &self,
        span: Range<usize>,
        during: &mut dyn FnMut(&mut dyn FnMut()),
    ) -> Result<Window> {
        let stride = stride_of(self.own.width());
        let parts = self.parts(&span)?;
        let mut all = vec![0.0; span.len() * stride];
        self.comm.all_gather_v_during(&parts.mine, &parts.counts, &mut all, during);
        Ok(put_in_order(&parts, &all, self.own.width()))
    }

    /// Packs this rank's rows of a window and exchanges the labels, which are few.
    fn parts(&self, span: &Range<usize>) -> Result<Parts> {
        let stride = stride_of(self.own.width());
        let (mut rows, mut holders, mut label_words) = (Vec::new(), Vec::new(), Vec::new());
        let mut counts = vec![0; self.runs.len()];
        for position in span.clone() {
            let row = self.order.row(position);
            let holder = self.runs.partition_point(|run| run.end <= row);
            holders.push(holder);
            counts[holder] += stride;
            if holder == self.comm.rank() {
                let row = row - self.own.rows.start;
                rows.push(row);
                let labels = self.own.labels.row(row);
                label_words.push(labels.len() as u32);
                label_words.extend_from_slice(labels);
            }
        }
        let mut mine = Vec::with_capacity(counts[self.comm.rank()]);
        self.own.copy(&rows, &mut mine)?;
        let labels = self.comm.all_gather_any(&label_words);
        Ok(Parts { mine, counts, holders, labels })
    }
}

/// Lays rows that came rank by rank in the window's order.
fn put_in_order(parts: &Parts, all: &[f32], width: usize) -> Window {
    let mut activations = Matrix::zeros(parts.holders.len(), width);
    let mut labels = Labels::new();
    let stride = activations.stride();
    let mut next: Vec<usize> =
        parts.counts.iter().scan(0, |at, count| Some(std::mem::replace(at, *at + count))).collect();
    let mut next_label = vec![0; parts.labels.len()];
    for (position, holder) in parts.holders.iter().enumerate() {
        let at = next[*holder];
        activations.row_mut(position).copy_from_slice(&all[at..at + stride]);
        next[*holder] += stride;
        let (words, at) = (&parts.labels[*holder], next_label[*holder]);
        let count = words[at] as usize;
        labels.push(&words[at + 1..at + 1 + count]);
        next_label[*holder] += 1 + count;
    }
    Window { activations, labels }
}
