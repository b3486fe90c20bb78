//! Windows of rows on a device: activations row by row and turned, and labels.

use std::rc::Rc;

use super::queue::{Memory, Queue};
use crate::kernel::text::calls::{self, Rows};
use crate::kernel::text::sweeps::Truth;
use crate::labels::Labels;
use crate::model::stride_of;

/// Rows that pass class blocks, on a device.
pub(crate) struct Window {
    rows: usize,
    width: usize,
    /// [rows][stride of d], and the same turned, [d][rows rounded up to four].
    activations: Rc<Memory>,
    turned: Memory,
    truth: Marks,
}

/// Which labels rows have, and what they count, if not all 1.
struct Marks {
    offsets: Memory,
    labels: Memory,
    weights: Option<Memory>,
}

/// Where rows come from: row i begins at number `places[i]`.
pub(crate) struct Source<'a> {
    pub(crate) numbers: &'a Memory,
    pub(crate) places: &'a [i64],
    pub(crate) width: usize,
}

impl Window {
    /// Puts rows in order. `weights` are what they count, empty where all count 1.
    ///
    /// # Errors
    /// The device is full or lost.
    pub(crate) fn new(
        queue: &Queue,
        source: Source,
        labels: &Labels,
        weights: &[f32],
    ) -> Result<Window, String> {
        let (rows, width) = (source.places.len(), source.width);
        let stride = stride_of(width);
        let places = queue.upload(source.places)?;
        let activations = queue.make(rows * stride * size_of::<f32>())?;
        let (arrived, to) = (source.numbers.buffer(), activations.buffer());
        queue.launch(&calls::order_rows((rows, stride), arrived, places.buffer(), to))?;
        Window::of(queue, (Rc::new(activations), width), labels, weights)
    }

    /// Rows that lie in order already, [rows][stride]. `weights` as of `new`.
    ///
    /// # Errors
    /// The device is full or lost.
    pub(crate) fn of(
        queue: &Queue,
        (activations, width): (Rc<Memory>, usize),
        labels: &Labels,
        weights: &[f32],
    ) -> Result<Window, String> {
        let (rows, stride) = (labels.rows(), stride_of(width));
        let turned_row = rows.next_multiple_of(4);
        assert!(activations.fits(rows * stride * size_of::<f32>()), "activations of each row");
        let straight = Rows { buffer: activations.buffer(), from: 0, row: stride };
        let turned = queue.make(width * turned_row * size_of::<f32>())?;
        queue.launch(&calls::turn((rows, width), straight, turned.buffer(), turned_row))?;
        let mut offsets = vec![0i32];
        for row in 0..labels.rows() {
            offsets.push(offsets[row] + labels.row(row).len() as i32);
        }
        let truth = Marks {
            offsets: queue.upload(&offsets)?,
            labels: queue.upload(labels.classes())?,
            weights: match weights {
                [] => None,
                weights => Some(queue.upload(weights)?),
            },
        };
        Ok(Window { rows, width, activations, turned, truth })
    }

    /// What the activations lie in.
    pub(crate) fn into_activations(self) -> Rc<Memory> {
        self.activations
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The activations, [rows][stride].
    pub(crate) fn activations(&self) -> &Memory {
        &self.activations
    }

    /// The activations turned, [d][rows rounded up to four].
    ///
    /// # Errors
    /// The device is lost, or a launch has failed.
    #[allow(dead_code, reason = "gpu-check compares it with the processor's")]
    pub(crate) fn turned_numbers(&self) -> Result<Vec<f32>, String> {
        self.turned.read(0, self.width * self.rows.next_multiple_of(4))
    }

    pub(super) fn truth(&self) -> Truth {
        let Marks { offsets, labels, weights } = &self.truth;
        Truth {
            offsets: offsets.buffer(),
            labels: labels.buffer(),
            weights: weights.as_ref().map(Memory::buffer),
        }
    }

    /// From a row on, as the product's forms take them.
    pub(super) fn straight(&self, row: usize) -> Rows {
        let stride = stride_of(self.width);
        Rows { buffer: self.activations.buffer(), from: row * stride, row: stride }
    }

    /// The same turned; the row is a multiple of four.
    pub(super) fn turned(&self, row: usize) -> Rows {
        Rows { buffer: self.turned.buffer(), from: row, row: self.rows.next_multiple_of(4) }
    }
}
