//! Class blocks that lie on a device: batch by batch, each launch over as many blocks as it can be.
//!
//! Parameters, what solvers keep of each of them and sums of losses lie on the device. On the host
//! are layouts and the rest of the blocks' state, with nothing in the place of what lies there.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::{Arc, Weak};

use super::held::{Held, Scratch, Tables, Vector};
use super::luggage::{Luggage, Trip, Which};
use super::queue::{Memory, Queue};
use crate::device::{Apart, ByEpoch, ClassBlock, Solving};

/// Class blocks that learn in the way S.
pub(super) struct Part<S> {
    /// None where there are no blocks.
    pub(super) held: Option<Held>,
    pub(super) own: RefCell<Vec<Own<S>>>,
    /// Of a mini-batch or a pass, as long as the parameters, and of slices before the one under
    /// way; made when first wanted.
    pub(super) gradients: Vec<Vector>,
    /// Whether the next rows of a pass begin its sums.
    pub(super) begins: bool,
    /// What dL/dv of a mini-batch is summed in.
    pub(super) slopes: Vec<Memory>,
    /// What the host has of each block that comes and goes; of those that stay what it has of a
    /// pass that goes slice by slice.
    pub(super) luggage: Vec<Luggage>,
}

/// What parts work in, one after the other.
#[derive(Default)]
pub(super) struct Lent(Option<Scratch>, Vec<Memory>);

/// Memory for blocks that come and go, and for gradients of theirs once they had some.
pub(super) struct Room(pub(super) Held, pub(super) Vec<Vector>);

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
                let new = Held::new(queue, layouts, epsilon, count, logits_bytes)?;
                held = Some(new.with_chains(block.state.chains())?);
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
        let (own, luggage) = (RefCell::new(own), Vec::new());
        Ok(Part { held, own, gradients: Vec::new(), begins: true, slopes: Vec::new(), luggage })
    }

    /// Blocks that come, less what is in their luggage, in this memory; and their way there, with
    /// `what` of each, during which nobody works on them.
    pub(super) fn coming(
        Room(mut held, gradients): Room,
        blocks: Vec<(ClassBlock<S>, Luggage)>,
        what: &[Which],
    ) -> (Part<S>, Trip) {
        let tables = held.renew(blocks.iter().map(|(block, _)| block.layout.clone()).collect());
        let own = blocks.into_iter().map(|(block, luggage)| {
            let weights = Arc::downgrade(&luggage.weights);
            (Own { block, weights, average: Weak::new() }, luggage)
        });
        let (own, luggage): (Vec<_>, _) = own.unzip();
        let each = (0..own.len()).flat_map(|block| what.iter().map(move |what| (block, *what)));
        let trip = Trip::new(each, tables);
        let (held, own) = (Some(held), RefCell::new(own));
        (Part { held, own, gradients, begins: true, slopes: Vec::new(), luggage }, trip)
    }

    /// The way home of `what` of each of those blocks, on which nobody works any more. Weights that
    /// the host has as they are don't travel, nor does what else hasn't changed since they came.
    pub(super) fn going(&mut self, what: &[Which]) -> Trip {
        let mut numbers = Vec::new();
        for (block, (own, luggage)) in
            self.own.get_mut().iter_mut().zip(&mut self.luggage).enumerate()
        {
            let known = own.weights.upgrade();
            let same = known.as_ref().is_some_and(|known| Arc::ptr_eq(known, &luggage.weights));
            own.changed();
            let fresh = match known {
                Some(known) => {
                    luggage.weights = known;
                    false
                }
                None => true,
            };
            for which in what {
                let travels = match which {
                    Which::Weights => fresh,
                    Which::Vector(_) => !same,
                    Which::Gradient | Which::Losses(_) => true,
                };
                if travels {
                    numbers.push((block, *which));
                }
            }
            // Memory that nobody else holds is written again.
            if fresh
                && what.contains(&Which::Weights)
                && Arc::get_mut(&mut luggage.weights).is_none()
            {
                luggage.weights = Arc::new(vec![0.0; luggage.weights.len()]);
            }
        }
        Trip::new(numbers.into_iter(), Tables { shapes: Vec::new(), learned: Vec::new() })
    }

    /// The blocks with their luggage, and the memory that they were in.
    pub(super) fn leave(self) -> (Vec<(ClassBlock<S>, Luggage)>, Room) {
        let blocks = self.own.into_inner().into_iter().map(|own| own.block);
        let room = Room(self.held.expect("blocks that came"), self.gradients);
        (blocks.zip(self.luggage).collect(), room)
    }

    pub(super) fn count(&self) -> usize {
        self.own.borrow().len()
    }

    pub(super) fn held(&self) -> &Held {
        self.held.as_ref().expect("a block")
    }

    /// What the device does next, with a gradient's room.
    pub(super) fn parts(&mut self) -> Result<(&mut Held, &Vector), String> {
        let (held, gradients) = self.parts_with(1)?;
        Ok((held, &gradients[0]))
    }

    /// The same with room for so many gradients at least.
    pub(super) fn parts_with(&mut self, count: usize) -> Result<(&mut Held, &[Vector]), String> {
        let held = self.held.as_mut().expect("a block");
        while self.gradients.len() < count {
            self.gradients.push(held.zeros()?);
        }
        Ok((held, &self.gradients))
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

    /// Exchanges what it works in.
    pub(super) fn lend(&mut self, lent: &mut Lent) {
        if let Some(held) = &mut self.held {
            held.exchange(&mut lent.0);
            std::mem::swap(&mut self.slopes, &mut lent.1);
        }
    }

    /// Losses by class of each block, as the device has them.
    pub(super) fn losses(&self) -> Result<Vec<Vec<f64>>, String> {
        (0..self.count()).map(|block| self.held().losses(block)).collect()
    }

    /// Brings the sums of a block's losses to its state, where they belong there.
    fn bring_losses(&self, index: usize) -> Result<(), String> {
        if let Some(losses) = self.own.borrow_mut()[index].block.state.sums() {
            *losses = self.held().losses(index)?;
        }
        Ok(())
    }
}

impl Part<Apart> {
    /// Has somebody else change a block's state, with its losses.
    pub(super) fn change_state(
        &mut self,
        index: usize,
        with: &mut dyn FnMut(&mut Apart),
    ) -> Result<(), String> {
        self.bring_losses(index)?;
        let state = &mut self.own.get_mut()[index].block.state;
        with(state);
        let losses = state.losses.clone();
        self.held().set_losses(index, &losses)
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
        neighbours(self.own.get_mut().iter().map(|own| !own.block.state.converged()))
    }
}

/// Neighbours that are to learn, as runs.
pub(super) fn neighbours(learn: impl Iterator<Item = bool>) -> Vec<Range<usize>> {
    let learning = learn.enumerate().filter(|(_, learns)| *learns);
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
