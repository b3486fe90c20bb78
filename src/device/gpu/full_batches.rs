//! Class blocks on a device whose classes search by themselves: values and gradients are the
//! device's, searches the host's.

use std::ops::Range;
use std::sync::Arc;

use super::in_turn::Beside;
use super::luggage::Luggage;
use super::mixture::Sums;
use super::part::Part;
use super::rows::Rows;
use super::waiting::wait_beside;
use crate::device::host::{Pass, advance_classes};
use crate::device::{AllRows, ByEpoch, FullBatches, Pace, SlicePart, Solving};
use crate::kernel::mixture::Kernel;
use crate::kernel::vector::Instructions;
use crate::optim::Offered;
use crate::team::Team;

/// Rows whose logits are made at once.
pub(crate) const ROWS: usize = 2048;

impl<S: Solving> Part<S> {
    /// Adds what a window's rows give to the value and the gradient of every class of the blocks
    /// that are `learning`, slice by slice.
    pub(super) fn evaluate(
        &mut self,
        learning: &[Range<usize>],
        (rows, all): (&Rows, &AllRows),
        pace: &mut Pace,
        beside: Beside,
    ) -> Result<(), String> {
        if learning.is_empty() {
            return Ok(());
        }
        let several = all.slices.count > 1;
        if several && self.begins {
            self.clear_sums()?;
        }
        let window = rows.first..rows.first + rows.count();
        for SlicePart { slice, rows: own, last } in all.within(&window) {
            for from in own.clone().step_by(ROWS) {
                if pace.stopped() {
                    return Ok(());
                }
                let some = from..(from + ROWS).min(own.end);
                let sums = (self.go_on()?, 0);
                let (held, gradient) = self.parts()?;
                for run in learning {
                    held.expert_gradient(&rows.window, some.clone(), run.clone(), gradient, sums)?;
                }
                let queue = &self.held().queue;
                queue.mark()?;
                wait_beside(queue, pace, 1, beside)?;
            }
            if several && last {
                self.complete(learning, all.slices.own.start + slice)?;
            }
        }
        Ok(())
    }

    /// Has the host take a slice's sums, and begins the next one.
    fn complete(&mut self, learning: &[Range<usize>], slice: usize) -> Result<(), String> {
        let count = self.count();
        self.luggage.resize_with(count, Luggage::default);
        for block in learning.iter().cloned().flatten() {
            let (held, gradient) = self.parts()?;
            let mut gradient = held.read(gradient, block)?;
            let mut losses = held.chain(0, block)?;
            let (mut alone, sums) = ((), (&mut gradient, &mut losses));
            let complete = &mut self.luggage[block].complete;
            complete.take(&mut Team::alone(&mut alone), Instructions::detect(), slice, sums);
        }
        self.clear_sums()
    }

    /// Sums begin with zeros, and go on from there.
    fn clear_sums(&mut self) -> Result<(), String> {
        self.begins = false;
        let (held, gradient) = self.parts()?;
        held.class_losses.clear()?;
        gradient.weights.clear()?;
        gradient.biases.clear()
    }

    /// Whether the sums of a pass begin, which they do once.
    fn go_on(&mut self) -> Result<Sums, String> {
        let begins = std::mem::replace(&mut self.begins, false);
        if !begins {
            return Ok(Sums::GoOn);
        }
        if let Some(held) = &self.held {
            held.class_losses.clear()?;
        }
        Ok(Sums::Begin)
    }
}

impl Part<FullBatches> {
    /// Gives every search its value and gradient, and puts its class at the next trial.
    pub(crate) fn advance(
        &mut self,
        mut team: Team<Kernel>,
        rows: usize,
        l2: f64,
        offered: &Offered,
    ) -> Result<(), String> {
        let learning: Vec<usize> = self.learning().into_iter().flatten().collect();
        let none = self.begins;
        for some in learning.chunks(team.threads()) {
            let mut given = Vec::new();
            for block in some {
                let weights = Arc::unwrap_or_clone(self.weights(*block)?);
                let (held, gradient) = self.parts()?;
                let (mut gradient, mut losses) =
                    (held.read(gradient, *block)?, held.losses(*block)?);
                if none {
                    gradient.fill(0.0);
                    losses.fill(0.0);
                }
                if let Some(luggage) = self.luggage.get_mut(*block) {
                    let sums = (&mut gradient, &mut losses);
                    luggage.complete.total(&mut team, Instructions::detect(), sums);
                }
                given.push((weights, gradient, losses));
            }
            let own = self.own.get_mut()[some[0]..=some[some.len() - 1]].iter_mut();
            let own = own.filter(|own| !own.block.state.converged());
            let items: Vec<_> = own.zip(&mut given).collect();
            team.for_each(items, |kernel, (own, (weights, gradient, losses))| {
                let pass = Pass { losses, gradient, rows, l2 };
                let block = &mut own.block;
                advance_classes(kernel, &block.layout, weights, &mut block.state, pass, offered);
            });
            for (block, (weights, ..)) in some.iter().zip(&given) {
                let held = self.held();
                held.write(held.parameters(), *block, weights)?;
                self.own.get_mut()[*block].changed();
            }
        }
        self.begins = true;
        Ok(())
    }

    /// Leaves out what a pass has given so far.
    pub(crate) fn forget(&mut self) {
        self.begins = true;
        self.luggage.iter_mut().for_each(|luggage| luggage.complete.forget());
    }

    /// Puts every class at its last accepted point.
    pub(crate) fn settle(&mut self) -> Result<(), String> {
        for index in 0..self.count() {
            self.rewrite(index, |block, weights| block.state.settle(&block.layout, weights))?;
        }
        Ok(())
    }
}
