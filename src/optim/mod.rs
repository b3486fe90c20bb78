//! Optimizers: states that are told gradients and give steps.

pub mod adagrad;
pub mod adam;
pub mod average;
pub mod irprop;
pub mod lbfgs;

use serde::{Deserialize, Serialize};

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
