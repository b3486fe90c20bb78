//! Class blocks on a device in pretraining, where everything learns jointly.

use super::failure;
use super::in_turn::Beside;
use super::mixture::Sums;
use super::part::{Part, runs};
use super::rows::Rows;
use crate::device::host::squares_of_panels;
use crate::device::{Joint, JointStep, Leaves, Solving, VARIABLES};
use crate::error::Result;
use crate::kernel::text::calls::{Rates, Stepper};
use crate::model::stride_of;
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
                let bytes = rows.count() * stride_of(held.width) * size_of::<f32>();
                let dv = match self.slopes.take().filter(|memory| memory.fits(bytes)) {
                    Some(memory) => memory,
                    None => queue.make(bytes).map_err(&failed)?,
                };
                for block in 0..blocks {
                    beside().map_err(&failed)?;
                    let mut leaf = slopes.room()?;
                    let (held, gradient) = self.parts().map_err(&failed)?;
                    let one = block..block + 1;
                    dv.clear()
                        .and_then(|()| {
                            held.both_gradients(&rows.window, all.clone(), one, gradient, &dv)
                        })
                        .and_then(|()| dv.read_into(0, &mut leaf))
                        .map_err(&failed)?;
                    slopes.add(leaf);
                }
                self.slopes = Some(dv);
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
        let squares = (0..self.count()).map(|block| {
            let held = self.held();
            let panels = held.panel_squares(block, gradient)?;
            let biases = held.read_biases(gradient, block)?;
            Ok(squares_of_panels(&held.layouts[block], panels.into_iter(), &biases))
        });
        squares.collect()
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
