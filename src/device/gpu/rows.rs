//! Rows that came by, in order in a device's memory.

use std::ops::Range;

use super::queue::{Memory, Queue};
use super::window::{Source, Window};
use crate::device::{Arrived, Negatives};
use crate::labels::Labels;
use crate::model::{Layout, stride_of};

/// Activations on the device, labels there and on the host.
pub struct Rows {
    /// Position of the first in its epoch.
    pub(crate) first: usize,
    width: usize,
    pub(crate) labels: Labels,
    pub(crate) window: Window,
    /// What the rows arrived in, where the next window's can arrive while these are worked on.
    arrived: Memory,
}

impl Rows {
    /// The rows that arrived, in place of those `before`, which nobody needs any more.
    pub(crate) fn new(
        queue: &Queue,
        arrived: Arrived,
        before: Option<Rows>,
    ) -> Result<Rows, String> {
        let Arrived { first, width, numbers, from, labels, dropout } = arrived;
        let room = before.map(|before| before.arrived);
        let arrived = match room.filter(|room| room.fits(size_of_val(numbers))) {
            Some(room) => room,
            None => queue.make(size_of_val(numbers))?,
        };
        arrived.write_beside(0, numbers)?;
        let places: Vec<i64> = from.iter().map(|place| *place as i64).collect();
        let streams: Option<Vec<u32>> = dropout.map(|(dropout, drawn_by)| {
            let streams = drawn_by.iter().map(|row| dropout.stream(*row));
            streams.flat_map(|stream| [stream as u32, (stream >> 32) as u32]).collect()
        });
        let dropout = dropout.map(|(dropout, _)| dropout.on_device());
        let dropout = dropout.zip(streams.as_deref());
        let source = Source { numbers: &arrived, places: &places, width, dropout };
        let window = Window::new(queue, source, &labels, &[])?;
        Ok(Rows { first, width, labels, window, arrived })
    }

    pub(crate) fn count(&self) -> usize {
        self.labels.rows()
    }

    /// The rows of a mini-batch that a block learns from where negatives are drawn.
    pub(crate) fn draw(
        &self,
        queue: &Queue,
        negatives: Negatives,
        layout: &Layout,
        rows: Range<usize>,
    ) -> Result<Window, String> {
        let (mut places, mut labels, mut weights) = (Vec::new(), Labels::new(), Vec::new());
        for row in rows {
            let own = self.labels.row_within(row, &layout.classes);
            if let Some(weight) = negatives.weight(layout, own, self.first + row) {
                places.push((row * stride_of(self.width)) as i64);
                labels.push(own);
                weights.push(weight);
            }
        }
        let (numbers, width) = (self.window.activations(), self.width);
        let source = Source { numbers, places: &places, width, dropout: None };
        Window::new(queue, source, &labels, &weights)
    }
}
