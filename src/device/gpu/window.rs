//! Windows of rows on a device: activations row by row and turned, and labels.

use super::launcher::{Launcher, release, upload};
use crate::kernel::text::calls::{self, Buffer, Rows};
use crate::kernel::text::sweeps::Truth;
use crate::labels::Labels;
use crate::model::Matrix;

/// Rows that pass class blocks, on a device.
pub struct Window {
    rows: usize,
    /// [rows][stride of d], and the same turned, [d][rows rounded up to four].
    activations: Buffer,
    turned: Buffer,
    pub stride: usize,
    turned_row: usize,
    pub truth: Truth,
}

impl Window {
    /// Brings rows up. `weights` are what they count, empty where all count 1.
    ///
    /// # Errors
    /// The device is full or lost.
    pub fn bring(
        launcher: &mut dyn Launcher,
        activations: &Matrix,
        labels: &Labels,
        weights: &[f32],
    ) -> Result<Window, String> {
        let (rows, stride) = (activations.rows(), activations.stride());
        let turned_row = rows.next_multiple_of(4);
        let mut offsets = vec![0i32];
        for row in 0..labels.rows() {
            offsets.push(offsets[row] + labels.row(row).len() as i32);
        }
        let given = upload(launcher, &activations.data)?;
        let turned = launcher.make(activations.width() * turned_row * size_of::<f32>())?;
        let from = Rows { buffer: given, from: 0, row: stride };
        launcher.launch(&calls::turn((rows, activations.width()), from, turned, turned_row))?;
        let truth = Truth {
            offsets: upload(launcher, &offsets)?,
            labels: upload(launcher, labels.classes())?,
            weights: match weights {
                [] => None,
                weights => Some(upload(launcher, weights)?),
            },
        };
        Ok(Window { rows, activations: given, turned, stride, turned_row, truth })
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Gives its memory back.
    pub fn free(self, launcher: &mut dyn Launcher) {
        release(launcher, &[self.activations, self.turned]);
        release(launcher, &[self.truth.offsets, self.truth.labels]);
        release(launcher, self.truth.weights.as_slice());
    }
}

impl Window {
    /// From a row on, as the product's forms take them.
    pub fn straight(&self, row: usize) -> Rows {
        Rows { buffer: self.activations, from: row * self.stride, row: self.stride }
    }

    /// The same turned; the row is a multiple of four.
    pub fn turned(&self, row: usize) -> Rows {
        Rows { buffer: self.turned, from: row, row: self.turned_row }
    }
}
