//! Rows that came by, in order in the host's memory.

use crate::device::Arrived;
use crate::kernel::mixture::Passing;
use crate::labels::Labels;
use crate::model::Matrix;

/// Activations and labels, row by row.
pub struct Rows {
    /// Position of the first in its epoch.
    pub(crate) first: usize,
    activations: Matrix,
    labels: Labels,
}

impl Rows {
    /// The rows that arrived, in the memory of those `before`.
    pub(crate) fn of(arrived: Arrived, before: Option<Rows>) -> Rows {
        let Arrived { first, rows, width, put } = arrived;
        let memory = before.filter(|before| before.activations.width() == width);
        let (mut activations, mut labels) = match memory {
            Some(before) => (before.activations, before.labels),
            None => (Matrix::zeros(0, width), Labels::new()),
        };
        activations.resize(rows);
        put(&mut activations.data, &mut labels);
        Rows { first, activations, labels }
    }

    pub(crate) fn labels(&self) -> &Labels {
        &self.labels
    }

    pub(crate) fn passing(&self) -> Passing<'_> {
        Passing { activations: &self.activations, labels: &self.labels, weights: &[] }
    }
}
