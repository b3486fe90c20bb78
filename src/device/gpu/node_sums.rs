//! Leaves of an ordered sum that are made on a device: it adds them along the tree, and only the
//! sums that are left of them come home.

use super::queue::{Memory, Queue};
use crate::device::Leaves;
use crate::error::{Error, Result};
use crate::kernel::text::calls;
use crate::tree::{Summing, nodes_of};

/// A run of leaves, in memory that is used again.
pub(super) struct NodeSums<'a> {
    queue: &'a Queue,
    first: usize,
    /// Numbers of a leaf.
    numbers: usize,
    order: Summing,
    vectors: &'a mut Vec<Memory>,
    /// Leaves made so far.
    made: usize,
}

impl<'a> NodeSums<'a> {
    /// Of `count` leaves of so many numbers from leaf `first` of the tree on; `vectors` is memory
    /// of such sums before, if any.
    pub(super) fn new(
        queue: &'a Queue,
        (first, count): (usize, usize),
        numbers: usize,
        vectors: &'a mut Vec<Memory>,
    ) -> NodeSums<'a> {
        let order = Summing::nodes_of(first..first + count);
        vectors.retain(|memory| memory.fits(numbers * size_of::<f32>()));
        NodeSums { queue, first, numbers, order, vectors, made: 0 }
    }

    /// Memory for the next leaf, which holds anything.
    ///
    /// # Errors
    /// The device is full or lost.
    pub(super) fn room(&mut self) -> std::result::Result<&Memory, String> {
        let vector = self.order.vector(self.made);
        while self.vectors.len() <= vector {
            self.vectors.push(self.queue.make(self.numbers * size_of::<f32>())?);
        }
        Ok(&self.vectors[vector])
    }

    /// The next leaf has been made there.
    ///
    /// # Errors
    /// The device is lost.
    pub(super) fn add(&mut self) -> std::result::Result<(), String> {
        for (left, right) in self.order.adds(self.made) {
            let [left, right] = [left, right].map(|vector| self.vectors[*vector].buffer());
            self.queue.launch(&calls::add((0, self.numbers), left, right))?;
        }
        self.made += 1;
        Ok(())
    }

    /// All leaves have been made: what is left of them goes to `leaves`.
    ///
    /// # Errors
    /// The device is lost; no more are wanted.
    pub(super) fn give(
        self,
        leaves: &mut dyn Leaves,
        failed: &dyn Fn(String) -> Error,
    ) -> Result<()> {
        assert_eq!(self.made, self.order.leaves(), "leaves of the run");
        let nodes = nodes_of(self.first..self.first + self.made);
        for (node, vector) in nodes.into_iter().zip(self.order.sums()) {
            let mut sum = leaves.room()?;
            self.vectors[*vector].read_into(0, &mut sum).map_err(failed)?;
            leaves.add_sum(node.leaves(), sum);
        }
        Ok(())
    }
}
