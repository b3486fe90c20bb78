//! What stands between the gradient of a mini-batch and the step where several ranks have the same
//! class blocks: they add what each has summed, step, and give each other the weights.

use std::ops::Range;

use super::{Pace, Slices};
use crate::model::{LANES, Layout};

/// A class block at a mini-batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The block, counted from this rank's first.
    pub block: usize,
    /// The mini-batch of the window.
    pub batch: usize,
    /// Its rows, of all ranks.
    pub rows: usize,
    /// Rows of the epoch after it.
    pub end: usize,
}

/// Neighbouring panels of a block with their biases, whose gradient travels by itself. Its numbers:
/// `[panels][d][16]`, then `[panels][16]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub panels: Range<usize>,
}

/// What a rank says of going on, when it gives a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vote {
    GoOn,
    /// It is told to stop.
    Stops,
    /// It has an error, and what it gives is zeros.
    Failed,
}

/// Takes the weights of a part of a block: block, part, numbers.
pub type Put<'a> = dyn FnMut(usize, usize, &[f32]) + 'a;

/// Takes the sums of this rank's slices and gives weights: the step is not the device's. Asked on
/// the calling thread, turn after turn (`turns.rs`).
pub trait Between {
    /// All slices, and those that are summed here.
    fn slices(&self) -> Slices;

    /// The parts of a block.
    fn parts(&self, block: usize) -> Vec<Part>;

    /// Memory for a part of a block's gradient, holding anything.
    fn room(&mut self, block: usize, part: usize) -> Vec<f32>;

    /// Waits until the turn may begin: until it is known how all ranks voted on the one two before
    /// it, and the weights of the block's turn before, if any, are here; they go to `put`. False:
    /// some rank doesn't go on, and no turn begins.
    fn begin(&mut self, turn: &Turn, put: &mut Put, pace: &mut Pace) -> bool;

    /// Takes the nodes of the own slices (`tree::nodes_of`), in order, of a part of a turn, and
    /// starts its way. Parts come in order; the first carries this rank's vote.
    fn give(&mut self, turn: &Turn, part: usize, nodes: Vec<Vec<f32>>, vote: Vote);

    /// Goes on with what has come, waiting for nobody.
    fn tend(&mut self);

    /// Waits for all turns that were given, whose weights go to `put`, and leaves nothing under
    /// way. Gives those that took no step, in order, on all ranks alike: at most the last two.
    fn end(&mut self, put: &mut Put, pace: &mut Pace) -> Vec<Turn>;
}

impl Part {
    /// `count` parts of a block, as even as can be; fewer where it has fewer panels.
    pub fn all(layout: &Layout, count: usize) -> Vec<Part> {
        let (panels, count) = (layout.panels, count.clamp(1, layout.panels.max(1)));
        let start = |part: usize| part * panels / count;
        (0..count).map(|part| Part { panels: start(part)..start(part + 1) }).collect()
    }

    /// Numbers of the part.
    pub fn numbers(&self, layout: &Layout) -> usize {
        self.panels.len() * LANES * (layout.width + 1)
    }

    /// Where its weights and its biases lie among the block's numbers.
    pub fn places(&self, layout: &Layout) -> [Range<usize>; 2] {
        let Range { start, end } = self.panels;
        let [panel, biases] = [layout.width * LANES, layout.biases()];
        [start * panel..end * panel, biases + start * LANES..biases + end * LANES]
    }

    /// Where its numbers of a block's go, and they: copied, `to` is the part.
    pub fn taken<'a>(
        &self,
        layout: &Layout,
        block: &'a [f32],
        to: &'a mut [f32],
    ) -> [(&'a mut [f32], &'a [f32]); 2] {
        let [weights, biases] = self.places(layout);
        let (to_weights, to_biases) = to.split_at_mut(weights.len());
        [(to_weights, &block[weights]), (to_biases, &block[biases])]
    }

    /// Places among a block's numbers, and what goes there: copied, the block has the part.
    pub fn placed<'a>(
        &self,
        layout: &Layout,
        numbers: &'a [f32],
        block: &'a mut [f32],
    ) -> [(&'a mut [f32], &'a [f32]); 2] {
        let [weights, biases] = self.places(layout);
        let (of_weights, of_biases) = numbers.split_at(weights.len());
        let (before, rest) = block.split_at_mut(layout.biases());
        let biases = biases.start - before.len()..biases.end - before.len();
        [(&mut before[weights], of_weights), (&mut rest[biases], of_biases)]
    }

    /// Copies its numbers of a block's.
    pub fn take(&self, layout: &Layout, block: &[f32], to: &mut Vec<f32>) {
        to.resize(self.numbers(layout), 0.0);
        self.taken(layout, block, to).into_iter().for_each(|(to, from)| to.copy_from_slice(from));
    }

    /// Puts them into a block's.
    pub fn put(&self, layout: &Layout, numbers: &[f32], block: &mut [f32]) {
        let pairs = self.placed(layout, numbers, block);
        pairs.into_iter().for_each(|(to, from)| to.copy_from_slice(from));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::spec::Dummy;

    #[test]
    fn parts_are_all_numbers_of_a_block_once() {
        let layout = Layout::new(0..40, vec![2; 40], Dummy::Learned, 7);
        let numbers: Vec<f32> = (0..layout.parameters()).map(|place| place as f32).collect();
        for count in [1, 2, 4, 15, 99] {
            let parts = Part::all(&layout, count);
            assert_eq!(parts.len(), count.min(layout.panels));
            let mut found = vec![-1.0; numbers.len()];
            let mut taken = vec![7.0];
            for part in &parts {
                part.take(&layout, &numbers, &mut taken);
                part.put(&layout, &taken, &mut found);
            }
            assert_eq!(found, numbers);
        }
    }
}
