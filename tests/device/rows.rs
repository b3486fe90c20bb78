//! Rows that came by: sent up as they are put there.

use std::rc::Rc;

use reelscale::internals::device::Arrived;
use reelscale::internals::labels::Labels;
use reelscale::internals::model::stride_of;

use super::storage::{Buffer, Meter};

/// Rows of a window or mini-batch.
pub struct Rows {
    pub first: usize,
    pub width: usize,
    /// [rows][stride of d]
    pub activations: Buffer<f32>,
    pub labels: Labels,
}

impl Rows {
    pub fn new(meter: &Rc<Meter>, arrived: Arrived) -> Rows {
        let Arrived { first, rows, width, put } = arrived;
        // What is there before says nothing.
        let (mut numbers, mut labels) = (vec![f32::NAN; rows * stride_of(width)], Labels::new());
        labels.push(&[7]);
        put(&mut numbers, &mut labels);
        Rows { first, width, activations: Buffer::up(meter, &numbers), labels }
    }

    /// v of one row.
    pub fn row(&self, row: usize) -> &[f32] {
        let stride = stride_of(self.width);
        &self.activations[row * stride..(row + 1) * stride]
    }
}
