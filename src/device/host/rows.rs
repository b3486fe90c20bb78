//! Rows that came by, in order in the host's memory.

use crate::device::Arrived;
use crate::kernel::mixture::{Kernel, Passing};
use crate::labels::Labels;
use crate::model::{Matrix, stride_of};
use crate::team::Team;

/// Rows that a thread puts in their places at once.
const ROWS: usize = 64;

/// Activations and labels, row by row.
pub struct Rows {
    /// Position of the first in its epoch.
    pub(crate) first: usize,
    activations: Matrix,
    labels: Labels,
}

impl Rows {
    pub(crate) fn of(mut team: Team<Kernel>, arrived: Arrived, before: Option<Rows>) -> Rows {
        let Arrived { first, width, numbers, from, labels, dropout } = arrived;
        let memory = before.map(|rows| rows.activations).filter(|own| own.width() == width);
        let mut activations = memory.unwrap_or_else(|| Matrix::zeros(0, width));
        activations.resize(from.len());
        let stride = stride_of(width);
        let pieces = from.chunks(ROWS).zip(activations.data.chunks_mut(ROWS * stride)).enumerate();
        let work = |_: &mut Kernel, (piece, (from, places)): (usize, (&[usize], &mut [f32]))| {
            let rows = from.iter().zip(places.chunks_exact_mut(stride));
            for (row, (from, place)) in (piece * ROWS..).zip(rows) {
                place.copy_from_slice(&numbers[*from..from + stride]);
                if let Some((dropout, drawn_by)) = dropout {
                    dropout.apply(drawn_by[row], place);
                }
            }
        };
        team.for_each(pieces, work);
        Rows { first, activations, labels }
    }

    pub(crate) fn labels(&self) -> &Labels {
        &self.labels
    }

    pub(crate) fn passing(&self) -> Passing<'_> {
        Passing { activations: &self.activations, labels: &self.labels, weights: &[] }
    }
}
