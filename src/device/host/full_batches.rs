//! Class blocks on the host whose classes search by themselves: a window adds to the sums of every
//! block, and at a pass's end every search takes its step.

use std::sync::Arc;

use super::blocks::{HeldBlocks, Own};
use super::rows::Rows;
use super::searches::{Pass, advance_classes};
use crate::device::slices::{AllRows, SlicePart};
use crate::device::{ByEpoch, ClassBlock, FullBatches, Pace, Solving};
use crate::kernel::mixture::{Kernel, expert_gradient};
use crate::optim::Offered;
use crate::team::Team;

impl<S: Solving> HeldBlocks<S> {
    /// Adds what a window's rows give to the sums of the blocks that `learn`: of each slice of all
    /// rows that pass as a chain of its own.
    pub(super) fn add_slices(
        &mut self,
        mut team: Team<Kernel>,
        (rows, all): (&Rows, &AllRows),
        pace: &mut Pace,
        learn: impl Fn(&S) -> bool,
    ) {
        let (passing, stopped) = (rows.passing(), pace.stopping());
        let window = rows.first..rows.first + rows.labels().rows();
        let evaluate = |team: &mut Team<Kernel>, own: &mut Own<S>| {
            own.make_room();
            let instructions = team.own().gemm().instructions();
            let Own { block, gradient, losses, complete } = own;
            for SlicePart { slice, rows, last } in all.within(&window) {
                if stopped() {
                    break;
                }
                expert_gradient(team, block.at_rest(), passing, rows, gradient, losses);
                if last && all.slices.count > 1 {
                    let slice = all.slices.own.start + slice;
                    complete.take(team, instructions, slice, (gradient, losses));
                }
            }
        };
        let blocks = self.blocks.iter_mut().filter(|own| learn(&own.block.state)).collect();
        team.polling(&mut || pace.poll()).together(blocks, evaluate);
    }
}

impl HeldBlocks<FullBatches> {
    /// The blocks that still search.
    fn searching(&mut self) -> impl Iterator<Item = &mut Own<FullBatches>> {
        self.blocks.iter_mut().filter(|own| !own.block.state.converged())
    }

    /// Adds what a window's rows give to every class's value and gradient.
    pub(crate) fn evaluate(
        &mut self,
        team: Team<Kernel>,
        rows: &Rows,
        all: &AllRows,
        pace: &mut Pace,
    ) {
        self.add_slices(team, (rows, all), pace, |state| !state.converged());
    }

    /// Gives every search its objective, mean loss + l2 |w|^2 / 2, and its gradient, and moves its
    /// class to the next trial.
    pub(crate) fn advance(
        &mut self,
        mut team: Team<Kernel>,
        rows: usize,
        l2: f64,
        offered: &Offered,
    ) {
        team.for_each(self.searching().collect::<Vec<_>>(), |kernel, own| {
            own.advance(kernel, rows, l2, offered);
        });
    }

    pub(crate) fn forget(&mut self) {
        self.blocks.iter_mut().for_each(Own::forget);
    }

    pub(crate) fn settle(&mut self) {
        for Own { block: ClassBlock { layout, weights, state }, .. } in &mut self.blocks {
            state.settle(layout, Arc::<Vec<f32>>::make_mut(weights));
        }
    }
}

impl Own<FullBatches> {
    fn forget(&mut self) {
        self.gradient.fill(0.0);
        self.losses.fill(0.0);
        self.complete.forget();
    }

    fn advance(&mut self, kernel: &mut Kernel, rows: usize, l2: f64, offered: &Offered) {
        self.make_room();
        let instructions = kernel.gemm().instructions();
        let sums = (&mut self.gradient, &mut self.losses);
        self.complete.total(&mut Team::alone(kernel), instructions, sums);
        let ClassBlock { layout, weights, state } = &mut self.block;
        let pass = Pass { losses: &self.losses, gradient: &self.gradient, rows, l2 };
        advance_classes(kernel, layout, Arc::<Vec<f32>>::make_mut(weights), state, pass, offered);
        self.forget();
    }
}
