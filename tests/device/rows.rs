//! Rows that came by: sent up as they came, put in order there.

use std::rc::Rc;

use reelscale::internals::device::{Arrived, Dropout};
use reelscale::internals::kernel::dropout::definition as dropout;
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
        let Arrived { first, width, numbers, from, labels, dropout } = arrived;
        let (up, stride) = (Buffer::up(meter, numbers), stride_of(width));
        let mut activations = Buffer::zeros(meter, from.len() * stride);
        for (row, place) in activations.chunks_exact_mut(stride).enumerate() {
            place.copy_from_slice(&up[from[row]..from[row] + stride]);
            if let Some((left_out, drawn_by)) = dropout {
                drop_out(left_out, drawn_by[row], place);
            }
        }
        Rows { first, width, activations, labels }
    }

    /// v of one row.
    pub fn row(&self, row: usize) -> &[f32] {
        let stride = stride_of(self.width);
        &self.activations[row * stride..(row + 1) * stride]
    }
}

/// The numbers of a row that dropout leaves.
fn drop_out(left_out: Dropout, row: usize, numbers: &mut [f32]) {
    let (bound, mut stream) = left_out.draw(row);
    for numbers in numbers.chunks_mut(4) {
        let bytes = stream.next_u32().to_le_bytes();
        let pairs = numbers.iter_mut().zip(bytes);
        pairs.for_each(|(x, byte)| *x = dropout::number(*x, byte, bound));
    }
}
