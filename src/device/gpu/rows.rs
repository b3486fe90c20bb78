//! Rows that came by, in order in a device's memory.

use std::ops::Range;
use std::rc::Rc;

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
    /// The activations on the host, where the next window's are put.
    numbers: Vec<f32>,
    /// What those of the window before lay in, where the next window's can come while these are
    /// worked on.
    spare: Option<Rc<Memory>>,
}

impl Rows {
    /// The rows that arrived, in place of those `before`, which nobody needs any more.
    pub(crate) fn new(
        queue: &Queue,
        arrived: Arrived,
        before: Option<Rows>,
    ) -> Result<Rows, String> {
        let Arrived { first, rows, width, put } = arrived;
        let (mut numbers, mut labels, room, spare) = match before {
            Some(Rows { numbers, labels, window, spare, .. }) => {
                (numbers, labels, spare, Some(window.into_activations()))
            }
            None => (Vec::new(), Labels::new(), None, None),
        };
        numbers.resize(rows * stride_of(width), 0.0);
        put(&mut numbers, &mut labels);
        let room = match room.filter(|room| room.fits(size_of_val(&numbers[..]))) {
            Some(room) => room,
            None => Rc::new(queue.make(size_of_val(&numbers[..]))?),
        };
        room.write_beside(0, &numbers)?;
        let window = Window::of(queue, (room, width), &labels, &[])?;
        Ok(Rows { first, width, labels, window, numbers, spare })
    }

    pub(crate) fn count(&self) -> usize {
        self.labels.rows()
    }

    /// Of some rows those that a block learns from where negatives are drawn. Row i is at
    /// `position` + i of the epoch.
    pub(crate) fn draw(
        &self,
        queue: &Queue,
        negatives: Negatives,
        layout: &Layout,
        (rows, position): (Range<usize>, usize),
    ) -> Result<Window, String> {
        let (mut places, mut labels, mut weights) = (Vec::new(), Labels::new(), Vec::new());
        for row in rows {
            let own = self.labels.row_within(row, &layout.classes);
            if let Some(weight) = negatives.weight(layout, own, position + row) {
                places.push((row * stride_of(self.width)) as i64);
                labels.push(own);
                weights.push(weight);
            }
        }
        let (numbers, width) = (self.window.activations(), self.width);
        let source = Source { numbers, places: &places, width };
        Window::new(queue, source, &labels, &weights)
    }
}
