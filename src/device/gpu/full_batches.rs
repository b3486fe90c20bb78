//! Class blocks on a device whose classes search by themselves: values and gradients are the
//! device's, searches the host's.

use std::ops::Range;
use std::sync::Arc;

use super::in_turn::Beside;
use super::mixture::Sums;
use super::part::Part;
use super::rows::Rows;
use super::waiting::wait_beside;
use crate::device::host::{Pass, advance_classes};
use crate::device::{ByEpoch, FullBatches, Pace, Solving};
use crate::kernel::mixture::Kernel;
use crate::optim::Offered;
use crate::team::Team;

/// Rows whose logits are made at once.
pub(crate) const ROWS: usize = 2048;

impl<S: Solving> Part<S> {
    /// Adds what a window's rows give to the value and the gradient of every class of the blocks
    /// that are `learning`.
    pub(super) fn evaluate(
        &mut self,
        learning: &[Range<usize>],
        rows: &Rows,
        pace: &mut Pace,
        beside: Beside,
    ) -> Result<(), String> {
        for from in (0..rows.count()).step_by(ROWS) {
            if pace.stopped() || learning.is_empty() {
                return Ok(());
            }
            let own = from..(from + ROWS).min(rows.count());
            let sums = self.go_on()?;
            let (held, gradient) = self.parts()?;
            for run in learning {
                held.expert_gradient(&rows.window, own.clone(), run.clone(), gradient, sums)?;
            }
            let queue = &self.held().queue;
            queue.mark()?;
            wait_beside(queue, pace, 1, beside)?;
        }
        Ok(())
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
    }

    /// Puts every class at its last accepted point.
    pub(crate) fn settle(&mut self) -> Result<(), String> {
        for index in 0..self.count() {
            self.rewrite(index, |block, weights| block.state.settle(&block.layout, weights))?;
        }
        Ok(())
    }
}
