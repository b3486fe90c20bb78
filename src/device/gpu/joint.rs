//! Class blocks on a device in pretraining, where everything learns jointly.

use super::failure;
use super::in_turn::Beside;
use super::mixture::Sums;
use super::node_sums::NodeSums;
use super::part::{Part, runs};
use super::rows::Rows;
use super::waiting::{QUEUED, wait_alone};
use crate::device::host::squares_of_panels;
use crate::device::{Joint, JointStep, Leaves, Solving, VARIABLES};
use crate::error::Result;
use crate::kernel::text::calls::{Rates, Stepper};
use crate::model::{LANES, Layout, stride_of};
use crate::optim::MiniBatch;

impl<S: Solving> Part<S> {
    /// Both gradients of a mini-batch: with respect to the weights, which stay, and each block's
    /// part of dL/dv as a leaf, where that is wanted. Losses are those of this mini-batch.
    pub(super) fn gradients(
        &mut self,
        rows: &Rows,
        slopes: Option<&mut dyn Leaves>,
        beside: Beside,
    ) -> Result<()> {
        let Some(held) = &self.held else { return Ok(()) };
        let queue = &held.queue.clone();
        let failed = failure(queue);
        held.class_losses.clear().map_err(&failed)?;
        let (all, blocks) = (0..rows.count(), self.count());
        match slopes {
            None => {
                let (held, gradient) = self.parts().map_err(&failed)?;
                held.expert_gradient(&rows.window, all, 0..blocks, gradient, (Sums::Begin, 0))
                    .map_err(&failed)?;
            }
            Some(slopes) => {
                let (first, numbers) = (slopes.next(), rows.count() * stride_of(held.width));
                let mut vectors = std::mem::take(&mut self.slopes);
                let mut sums = NodeSums::new(queue, (first, blocks), numbers, &mut vectors);
                for block in 0..blocks {
                    slopes.wanted()?;
                    let (held, gradient) = self.parts().map_err(&failed)?;
                    let one = block..block + 1;
                    let dv = sums.room().map_err(&failed)?;
                    dv.clear()
                        .and_then(|()| {
                            held.both_gradients(&rows.window, all.clone(), one, gradient, dv)
                        })
                        .and_then(|()| sums.add())
                        .and_then(|()| queue.mark())
                        .and_then(|()| wait_alone(queue, QUEUED, beside))
                        .map_err(&failed)?;
                }
                sums.give(slopes, &failed)?;
                self.slopes = vectors;
            }
        }
        Ok(())
    }
}

impl Part<Joint> {
    /// Squared norms of those gradients, by variable.
    pub(crate) fn squares(&self) -> std::result::Result<Vec<[f64; VARIABLES]>, String> {
        // Without gradients, which a stop may have left out, there is nothing to step by, either.
        let Some(gradient) = self.gradients.first() else {
            return Ok(vec![[0.0; VARIABLES]; self.count()]);
        };
        let Some(held) = &self.held else { return Ok(Vec::new()) };
        let (squares, biases) = (held.panel_squares(gradient)?, held.read_biases(gradient)?);
        let (mut squares, mut biases) = (squares.into_iter(), &biases[..]);
        let of_block = |layout: &Layout| {
            let (own, after) = biases.split_at(layout.panels * LANES);
            biases = after;
            squares_of_panels(layout, squares.by_ref().take(layout.panels), own)
        };
        Ok(held.layouts.iter().map(of_block).collect())
    }

    /// Adam's step of every block by its gradient.
    pub(crate) fn step(&mut self, step: &JointStep) -> std::result::Result<(), String> {
        let (Some(held), [gradient, ..]) = (&self.held, &self.gradients[..]) else { return Ok(()) };
        let [gates, experts, biases] = step.scales;
        held.scale(gradient, [gates, experts])?;
        let own = self.own.get_mut().iter_mut().enumerate();
        let rates = own.map(|(block, own)| {
            own.changed();
            (block, own.block.state.0.rate(step.learning_rate))
        });
        for (run, rate) in runs(rates) {
            let rates = Rates { rate, scale: 1.0, l2: step.l2 };
            held.step(run, gradient, (Stepper::Adam, rates), biases)?;
        }
        Ok(())
    }
}
