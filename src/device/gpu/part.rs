//! Class blocks that lie on a device: batch by batch, each launch over as many blocks as it can be.
//!
//! Parameters, what solvers keep of each of them and sums of losses lie on the device. On the host
//! are layouts and the rest of the blocks' state, with nothing in the place of what lies there.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::{Arc, Weak};

use super::held::{Held, Vector};
use super::queue::{Memory, Queue};
use crate::device::host::HeldBlocks;
use crate::device::{ByEpoch, ClassBlock, Solving};

/// Class blocks that learn in the way S.
pub(super) struct Part<S> {
    /// None where there are no blocks.
    pub(super) held: Option<Held>,
    pub(super) own: RefCell<Vec<Own<S>>>,
    /// Of a mini-batch or a pass, as long as the parameters; made when first wanted.
    pub(super) gradient: Option<Vector>,
    /// Whether the next rows of a pass begin its sums.
    pub(super) begins: bool,
    /// dL/dv of a mini-batch.
    pub(super) slopes: Option<Memory>,
}

/// One of them, less what the device has.
pub(super) struct Own<S> {
    pub(crate) block: ClassBlock<S>,
    /// Weights as somebody still holds them, while the device has the same.
    weights: Weak<Vec<f32>>,
    /// The same of the average.
    average: Weak<Vec<f32>>,
}

impl<S> Own<S> {
    /// Weights and average have changed places.
    pub(super) fn swap(&mut self) {
        std::mem::swap(&mut self.weights, &mut self.average);
    }

    /// The weights that anybody holds aren't the device's any more.
    pub(super) fn changed(&mut self) {
        (self.weights, self.average) = (Weak::new(), Weak::new());
    }
}

impl<S: Solving> Part<S> {
    pub(super) fn new(
        (queue, logits_bytes): (&Queue, usize),
        epsilon: f32,
        blocks: Vec<ClassBlock<S>>,
    ) -> Result<Part<S>, String> {
        let layouts: Vec<_> = blocks.iter().map(|block| block.layout.clone()).collect();
        let (mut held, mut own) = (None, Vec::new());
        for (index, mut block) in blocks.into_iter().enumerate() {
            let vectors = block.state.take_vectors();
            if held.is_none() {
                let (layouts, count) = (layouts.clone(), vectors.len());
                held = Some(Held::new(queue, layouts, epsilon, count, logits_bytes)?);
            }
            let held = held.as_ref().expect("just made");
            held.write(held.parameters(), index, &block.weights)?;
            assert_eq!(vectors.len(), held.vectors().len(), "blocks that learn alike");
            for (to, numbers) in held.vectors().iter().zip(vectors) {
                held.write(to, index, &numbers)?;
            }
            if let Some(losses) = block.state.sums() {
                held.set_losses(index, losses)?;
            }
            let weights = Arc::downgrade(&std::mem::take(&mut block.weights));
            own.push(Own { block, weights, average: Weak::new() });
        }
        let own = RefCell::new(own);
        Ok(Part { held, own, gradient: None, begins: true, slopes: None })
    }

    pub(super) fn count(&self) -> usize {
        self.own.borrow().len()
    }

    pub(super) fn held(&self) -> &Held {
        self.held.as_ref().expect("a block")
    }

    /// What the device does next, with a gradient's room.
    pub(super) fn parts(&mut self) -> Result<(&mut Held, &Vector), String> {
        let held = self.held.as_mut().expect("a block");
        if self.gradient.is_none() {
            self.gradient = Some(held.zeros()?);
        }
        Ok((held, self.gradient.as_ref().expect("just made")))
    }

    /// A block's weights: the same as long as somebody holds them and they don't change.
    pub(super) fn weights(&self, index: usize) -> Result<Arc<Vec<f32>>, String> {
        if let Some(weights) = self.own.borrow()[index].weights.upgrade() {
            return Ok(weights);
        }
        let held = self.held();
        let weights = Arc::new(held.read(held.parameters(), index)?);
        self.own.borrow_mut()[index].weights = Arc::downgrade(&weights);
        Ok(weights)
    }

    /// Shows a block with all that it has.
    pub(super) fn read(
        &self,
        index: usize,
        look: &mut dyn FnMut(&ClassBlock<S>),
    ) -> Result<(), String> {
        self.make_whole(index)?;
        let block = &mut self.own.borrow_mut()[index].block;
        look(block);
        block.state.take_vectors();
        block.weights = Arc::default();
        Ok(())
    }

    /// Brings the host's block all that the device has of it.
    fn make_whole(&self, index: usize) -> Result<(), String> {
        let held = self.held();
        let weights = self.weights(index)?;
        let vectors = held.vectors().iter().map(|vector| held.read(vector, index));
        let vectors = vectors.collect::<Result<Vec<_>, _>>()?;
        self.bring_losses(index)?;
        let block = &mut self.own.borrow_mut()[index].block;
        block.weights = weights;
        block.state.put_vectors(vectors);
        Ok(())
    }

    /// Changes a block's weights on the host.
    pub(super) fn rewrite(
        &mut self,
        index: usize,
        with: impl FnOnce(&mut ClassBlock<S>, &mut [f32]),
    ) -> Result<(), String> {
        let mut weights = Arc::unwrap_or_clone(self.weights(index)?);
        let own = &mut self.own.get_mut()[index];
        with(&mut own.block, &mut weights);
        own.weights = Weak::new();
        let held = self.held();
        held.write(held.parameters(), index, &weights)
    }

    /// Gives back what the next mini-batch makes anew, so that others have room.
    pub(super) fn make_way(&mut self) {
        self.slopes = None;
        if let Some(held) = &mut self.held {
            held.exchange(&mut None);
        }
    }

    /// The blocks with all that they have, once the device has come to where they are.
    pub(super) fn take_home(self) -> Result<Vec<ClassBlock<S>>, String> {
        (0..self.count()).try_for_each(|index| self.make_whole(index))?;
        Ok(self.own.into_inner().into_iter().map(|own| own.block).collect())
    }

    /// Brings the sums of a pass as the host has them, which goes on.
    pub(super) fn bring_sums<T>(&mut self, home: &mut HeldBlocks<T>) -> Result<(), String> {
        for index in 0..self.count() {
            let (gradient, losses) = home.sums(index);
            let (held, room) = self.parts()?;
            held.write(room, index, gradient)?;
            held.set_losses(index, losses)?;
        }
        self.begins = false;
        Ok(())
    }

    /// Takes the sums of a pass or a mini-batch to the host.
    pub(super) fn take_sums<T>(&mut self, home: &mut HeldBlocks<T>) -> Result<(), String> {
        for index in 0..self.count() {
            let (gradient, losses) = home.sums(index);
            let (held, room) = self.parts()?;
            held.read_into(room, index, gradient)?;
            *losses = held.losses(index)?;
        }
        Ok(())
    }

    /// Brings the sums of a block's losses to its state, where they belong there.
    fn bring_losses(&self, index: usize) -> Result<(), String> {
        if let Some(losses) = self.own.borrow_mut()[index].block.state.sums() {
            *losses = self.held().losses(index)?;
        }
        Ok(())
    }
}

impl<S: ByEpoch> Part<S> {
    pub(super) fn class_losses(&self) -> Result<Vec<Vec<f64>>, String> {
        let losses = (0..self.count()).map(|index| {
            self.bring_losses(index)?;
            Ok(self.own.borrow()[index].block.state.losses())
        });
        losses.collect()
    }

    /// Number of blocks that still learn.
    pub(super) fn left(&self) -> usize {
        self.own.borrow().iter().filter(|own| !own.block.state.converged()).count()
    }

    /// Ends the learning of classes that have stopped, at where the weights stand.
    pub(super) fn end(&mut self, index: usize, stopped: &[bool]) -> Result<(), String> {
        let weights = self.weights(index)?;
        let ClassBlock { layout, state, .. } = &mut self.own.get_mut()[index].block;
        state.end(layout, &weights, stopped);
        Ok(())
    }

    /// Neighbouring blocks that still learn, as runs.
    pub(super) fn learning(&mut self) -> Vec<Range<usize>> {
        still_learning(self.own.get_mut().iter().map(|own| &own.block))
    }
}

/// Neighbours that still learn, as runs.
pub(super) fn still_learning<'a, S: ByEpoch + 'a>(
    blocks: impl Iterator<Item = &'a ClassBlock<S>>,
) -> Vec<Range<usize>> {
    let learning = blocks.enumerate().filter(|(_, block)| !block.state.converged());
    runs(learning.map(|(index, _)| (index, ()))).into_iter().map(|run| run.0).collect()
}

/// Neighbours that have the same to do, in runs.
pub(super) fn runs<K: PartialEq>(all: impl Iterator<Item = (usize, K)>) -> Vec<(Range<usize>, K)> {
    let mut runs: Vec<(Range<usize>, K)> = Vec::new();
    for (index, kind) in all {
        match runs.last_mut() {
            Some((run, same)) if run.end == index && *same == kind => run.end += 1,
            _ => runs.push((index..index + 1, kind)),
        }
    }
    runs
}
