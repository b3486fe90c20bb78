//! Optimizers: states that are told gradients and give steps.

pub mod adagrad;
pub mod adam;
pub mod average;
pub mod irprop;
pub mod lbfgs;

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::kernel::vector::LANES;

/// Which optimizer the expert step runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Solver {
    Adagrad,
    Adam,
    /// Full batch, per class.
    Lbfgs,
}

/// Which optimizer the shared step runs on full-batch gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SharedSolver {
    Irprop,
    Adam,
}

/// What an optimizer takes a step with.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub learning_rate: f32,
    /// What the gradient is multiplied by.
    pub scale: f32,
    /// Times the parameter is added to the gradient, for the first `decayed` parameters.
    pub l2: f32,
    pub decayed: usize,
}

impl Step {
    /// The parameters that decay with their `l2`, and the others.
    fn parts(&self, parameters: usize) -> [(f32, Range<usize>); 2] {
        [(self.l2, 0..self.decayed), (0.0, self.decayed..parameters)]
    }
}

/// Whether all of them are numbers, and finite.
fn finite(numbers: &[f32]) -> bool {
    numbers.iter().all(|number| number.is_finite())
}

/// What an error says of vectors of a state that was read back, where they aren't all as long as
/// the parameters.
fn other_lengths<const N: usize>(found: [&[f32]; N], parameters: usize) -> Option<String> {
    let found = found.map(<[f32]>::len);
    let same = found.iter().all(|length| *length == parameters);
    (!same).then(|| format!("found {found:?} numbers, expected {parameters} each"))
}

/// Length of the stretches in which `threads` share a step over so many parameters.
fn stretch(parameters: usize, threads: usize) -> usize {
    parameters.div_ceil(threads).next_multiple_of(LANES).max(LANES)
}
