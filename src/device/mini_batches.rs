//! The state of a class block that learns by mini-batches in the expert step.

use std::io;
use std::mem::take;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::apart::Apart;
use super::class_block::{ByEpoch, Solving};
use super::negatives::Negatives;
use super::slices::{Slices, totals, vectors_of};
use crate::model::Layout;
use crate::optim::average::Average;
use crate::optim::{MiniBatchSolver, MiniBatchState};
use crate::packed;

/// How class blocks learn from the rows of a window.
#[derive(Clone, Copy, Debug)]
pub struct Learn {
    /// Rows of a mini-batch.
    pub batch: usize,
    /// Slices that it is cut into, each of which is a chain of its own.
    pub slices: usize,
    pub learning_rate: f32,
    /// Penalty on the weights of gates and experts.
    pub l2: f32,
    /// Which rows without a label of the block it learns from; None: all.
    pub negatives: Option<Negatives>,
}

/// The state of a class block that learns by mini-batches, besides its weights.
#[derive(Serialize, Deserialize)]
pub struct MiniBatches {
    #[serde(rename = "optimizer")]
    pub solver: MiniBatchState,
    /// `[slices][groups][16]` losses of the epoch under way, before each mini-batch's step: of each
    /// slice of mini-batches a chain.
    #[serde(with = "packed")]
    pub losses: Vec<f64>,
    /// `[groups][16]` of the epoch before.
    #[serde(with = "packed")]
    last_losses: Vec<f64>,
    /// Rows of the epoch that it has learned from: a stop may come in the middle of a window.
    pub rows: usize,
    pub converged: bool,
    /// The moving average of the block's weights, where the job wants it.
    pub average: Option<Average>,
}

impl MiniBatches {
    /// Before the first mini-batch, of so many slices. `averaging` is the share of an average that
    /// a step leaves of it; 0: there is no average.
    pub fn new(
        layout: &Layout,
        solver: MiniBatchSolver,
        averaging: f32,
        slices: usize,
    ) -> MiniBatches {
        let losses = vec![0.0; slices * layout.lanes()];
        let last_losses = vec![f64::INFINITY; layout.lanes()];
        let average = (averaging > 0.0).then(|| Average::new(layout.parameters(), averaging));
        let solver = solver.begin(layout.parameters());
        MiniBatches { solver, losses, last_losses, rows: 0, converged: false, average }
    }

    /// What stands for a block that ranks of a column have between them, of which `slices` says
    /// those that are summed here.
    pub(crate) fn apart(&self, layout: &Layout, slices: &Slices) -> Apart {
        let (lanes, mut apart) = (layout.lanes(), Apart::new(layout, slices));
        let own = slices.own.start * lanes..slices.own.end * lanes;
        apart.losses.copy_from_slice(&self.losses[own]);
        apart.last_losses.copy_from_slice(&self.last_losses);
        (apart.rows, apart.converged) = (self.rows, self.converged);
        apart
    }

    /// The whole of what those ranks have: all slices' chains of losses, and what steps leave.
    pub(crate) fn of(
        apart: &Apart,
        losses: Vec<f64>,
        solver: MiniBatchState,
        average: Option<Average>,
    ) -> MiniBatches {
        let (last_losses, rows) = (apart.last_losses.clone(), apart.rows);
        MiniBatches { solver, losses, last_losses, rows, converged: apart.converged, average }
    }

    /// What in it, read from a checkpoint, no block with this solver, averaging and slices can have
    /// come to, if anything. A block that still learns has learned from `rows`, whole mini-batches
    /// of them or all.
    pub(crate) fn fault(
        &self,
        layout: &Layout,
        (solver, averaging, slices): (MiniBatchSolver, f32, usize),
        (rows, batch): (Range<usize>, usize),
    ) -> Option<String> {
        let parameters = layout.parameters();
        let solver = self.solver.fault(solver, parameters);
        let average = match &self.average {
            Some(average) if averaging > 0.0 => average.fault(parameters, averaging),
            None if averaging == 0.0 => None,
            _ => Some("found an average, or none, against the job".into()),
        };
        let [losses, last_losses] = [&self.losses, &self.last_losses];
        let lanes = layout.lanes();
        let counts = [losses.len(), last_losses.len()] == [slices * lanes, lanes];
        // Before the first epoch is over the last ones are infinite.
        let fine = losses.iter().all(|loss| loss.is_finite())
            && last_losses.iter().all(|loss| *loss > f64::NEG_INFINITY);
        let places = (rows.start..=rows.end).contains(&self.rows)
            && ((self.rows - rows.start).is_multiple_of(batch) || self.rows == rows.end);
        solver.or(average).or_else(|| match () {
            () if !counts || !fine => Some("losses: found others than a block has".into()),
            () if !places && !self.converged => {
                Some(format!("rows: found {}, expected mini-batches in {rows:?}", self.rows))
            }
            () => None,
        })
    }

    /// The mini-batches, by rows of a window of so many, that the block hasn't seen. The window's
    /// first row is the `first` of the epoch.
    pub(crate) fn left(
        &self,
        first: usize,
        rows: usize,
        batch: usize,
    ) -> impl Iterator<Item = Range<usize>> + use<> {
        let from = if self.converged { rows } else { self.rows - first };
        (from..rows).step_by(batch).map(move |from| from..(from + batch).min(rows))
    }

    /// Whether the block is to learn from the mini-batch that ends before row `end` of the epoch.
    pub(crate) fn wants(&self, end: usize) -> bool {
        !self.converged && self.rows < end
    }

    /// A block whose every class fell by less than `tolerance` has converged; its loss stays.
    pub fn end_epoch(&mut self, tolerance: f64) {
        self.rows = 0;
        if self.converged {
            return;
        }
        let losses = ByEpoch::losses(self);
        let settled = |(now, before): (&f64, &f64)| before - now <= tolerance * now;
        self.converged = tolerance > 0.0 && losses.iter().zip(&self.last_losses).all(settled);
        if !self.converged {
            self.last_losses = losses;
            self.losses.fill(0.0);
        }
    }
}

impl Solving for MiniBatches {
    const GRADIENT_LASTS: bool = false;

    fn put(&self, to: &mut dyn io::Write) -> io::Result<()> {
        packed::put(to, self)
    }

    /// The solver's, and then the average.
    fn take_vectors(&mut self) -> Vec<Vec<f32>> {
        let mut vectors: Vec<Vec<f32>> = self.solver.vectors().into_iter().map(take).collect();
        let average = self.average.as_mut().map(|average| take(&mut average.weights));
        vectors.extend(average.map(Arc::unwrap_or_clone));
        vectors
    }

    fn put_vectors(&mut self, vectors: Vec<Vec<f32>>) {
        let mut vectors = vectors.into_iter();
        self.solver.vectors().into_iter().zip(&mut vectors).for_each(|(to, own)| *to = own);
        if let Some(average) = &mut self.average {
            average.weights = Arc::new(vectors.next().expect("an average"));
        }
    }

    fn sums(&mut self) -> Option<&mut Vec<f64>> {
        Some(&mut self.losses)
    }

    fn chains(&self) -> usize {
        self.losses.len() / self.last_losses.len().max(1)
    }

    /// With one slice its gradient is a step at once.
    fn gradients(&self) -> usize {
        match self.chains() {
            1 => 0,
            several => vectors_of(several),
        }
    }
}

impl ByEpoch for MiniBatches {
    fn losses(&self) -> Vec<f64> {
        totals(&self.losses, self.last_losses.len())
    }

    fn converged(&self) -> bool {
        self.converged
    }

    /// A block learns until all of its classes have stopped.
    fn end(&mut self, _: &Layout, _: &[f32], stopped: &[bool]) {
        self.converged |= stopped.iter().all(|stopped| *stopped);
    }
}
