//! What follows from keys of the checked job, each in one place.

use super::keys::{DataJob, ExpertsJob, SharedJob};
use crate::optim::irprop::Steps;
use crate::optim::{Offered, Solver};

/// Where validation rows come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Validation<'a> {
    /// Shards of their own.
    Globs(&'a [String]),
    /// This share of the training rows, by row block, seeded.
    Fraction(f64),
    /// There are none; stopping rules then look at the training loss.
    None,
}

#[doc(hidden)]
impl DataJob {
    pub fn validation_rows(&self) -> Validation<'_> {
        match (self.validation.as_slice(), self.validation_fraction) {
            ([], 0.0) => Validation::None,
            ([], fraction) => Validation::Fraction(fraction),
            (globs, _) => Validation::Globs(globs),
        }
    }
}

#[doc(hidden)]
impl ExpertsJob {
    /// Rows of a window: whole mini-batches.
    pub(crate) fn window_rows(&self) -> usize {
        (self.window / self.batch).max(1) * self.batch
    }

    /// Rows of a step, of so many in all, and whether it is a pass over them.
    pub(crate) fn step_rows(&self, all: usize) -> (usize, bool) {
        match self.solver {
            Solver::MiniBatch(_) => (self.batch, false),
            Solver::FullBatch(_) => (all, true),
        }
    }

    /// What its full-batch solvers go by.
    pub(crate) fn offered(&self) -> Offered {
        let (tolerance, learning_rate) = (self.tolerance, self.learning_rate);
        Offered { tolerance, learning_rate, steps: Steps::default() }
    }

    /// Whether validation decides when the step or its classes stop, so that a best is kept.
    pub(crate) fn watched(&self) -> bool {
        self.patience > 0 || self.class_patience > 0
    }

    /// Whether the model is validated within the step.
    pub(crate) fn validates_within(&self) -> bool {
        self.watched() || self.validate_every > 0
    }
}

#[doc(hidden)]
impl SharedJob {
    /// What its solvers go by.
    pub(crate) fn offered(&self) -> Offered {
        let steps = Steps { initial: self.step_initial, min: self.step_min, max: self.step_max };
        Offered { tolerance: 0.0, learning_rate: self.learning_rate, steps }
    }
}
