//! Negative subsampling in the expert step: of the rows that have no label of a class block, the
//! block learns from some only, each weighted with the inverse of its chance to be drawn (Horvitz
//! and Thompson 1952), so that the expected gradient stays what it is.

use crate::model::Layout;
use crate::rng::{Purpose, Stream};

/// How negatives are drawn in one epoch: the same on all ranks and threads.
#[derive(Clone, Copy, Debug)]
pub struct Negatives {
    /// Chance of a row without labels of the block.
    pub share: f32,
    pub seed: u64,
    /// Rows of all epochs before this one.
    pub first: u64,
    pub class_count: usize,
}

impl Negatives {
    /// What the row at `position` of the epoch, with these labels of the block, counts to it; None:
    /// the block doesn't learn from the row.
    pub(crate) fn weight(&self, layout: &Layout, labels: &[u32], position: usize) -> Option<f32> {
        match labels {
            [] if !self.takes(layout, position) => None,
            [] => Some(1.0 / self.share),
            _ => Some(1.0),
        }
    }

    /// Whether the block learns from the row at `position` of the epoch, which has no label of it.
    pub fn takes(&self, layout: &Layout, position: usize) -> bool {
        let row = self.first + position as u64;
        let index = row * self.class_count as u64 + layout.classes.start as u64;
        Stream::new(self.seed, Purpose::Negatives, index).uniform() < self.share
    }
}
