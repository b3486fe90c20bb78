//! Class blocks on the host that learn by mini-batches: a thread takes a block through a whole
//! window, while its weights and its solver's state are hot.

use std::mem::take;
use std::ops::Range;
use std::sync::Arc;

use super::blocks::{HeldBlocks, Own};
use super::carry::{KernelAndSums, Vectors};
use super::drawn::Drawn;
use super::rows::Rows;
use crate::device::{ClassBlock, Learn, MiniBatches, Negatives, Pace, Slices};
use crate::kernel::mixture::{Block, Kernel, sliced_expert_gradient};
use crate::kernel::vector::Instructions;
use crate::optim::Step;
use crate::team::Team;
use crate::tree::Summing;

impl HeldBlocks<MiniBatches> {
    /// Takes every block that still learns through the mini-batches of the window that it hasn't
    /// seen.
    pub(crate) fn learn(
        &mut self,
        kernels: &mut [Kernel],
        rows: &Rows,
        how: &Learn,
        pace: &mut Pace,
    ) {
        self.sums.resize_with(kernels.len(), Vectors::default);
        let (stopped, order) = (pace.stopping(), Summing::of_all(how.slices));
        let blocks = self.blocks.iter_mut().map(|own| &mut own.block);
        let blocks = blocks.filter(|block| !block.state.converged).collect();
        let learn = |team: &mut Team<KernelAndSums>, block: &mut ClassBlock<MiniBatches>| {
            let (count, instructions) = (rows.labels().rows(), instructions_of(team));
            let mut drawn = Drawn::new(block.layout.width);
            let mut sums = take(team.own().sums);
            for batch in block.state.left(rows.first, count, how.batch) {
                let through = (batch.clone(), stopped);
                let with = (&order, &mut drawn, &mut sums);
                if !block.gradient(team, rows, how, through, with) {
                    break;
                }
                let gradient = sums.at(order.sums()[0]);
                block.step(team, instructions, how, (rows.first, batch), gradient);
            }
            *team.own().sums = sums;
        };
        let mut threads = KernelAndSums::team(kernels, &mut self.sums);
        Team::new(&mut threads).polling(&mut || pace.poll()).together(blocks, learn);
    }

    pub(crate) fn swap_averages(&mut self) {
        for Own { block, .. } in &mut self.blocks {
            if let Some(average) = &mut block.state.average {
                std::mem::swap(&mut average.weights, &mut block.weights);
            }
        }
    }

    pub(crate) fn end_epoch(&mut self, tolerance: f64) {
        self.blocks.iter_mut().for_each(|own| own.block.state.end_epoch(tolerance));
        self.sums = Vec::new();
    }
}

fn instructions_of(team: &mut Team<KernelAndSums>) -> Instructions {
    team.own().kernel.gemm().instructions()
}

impl ClassBlock<MiniBatches> {
    /// Sums the gradient over the rows of a mini-batch from which the block learns, in this order
    /// of its slices; its losses go to the epoch's. No, and losses as they were, where the run is
    /// to stop before the end.
    fn gradient(
        &mut self,
        team: &mut Team<KernelAndSums>,
        window: &Rows,
        how: &Learn,
        (batch, stopped): (Range<usize>, &(dyn Fn() -> bool + Sync)),
        (order, drawn, sums): (&Summing, &mut Drawn, &mut Vectors),
    ) -> bool {
        let shifted = |slice: Range<usize>| batch.start + slice.start..batch.start + slice.end;
        let slices: Vec<_> = Slices::all(how.slices).of(batch.len()).map(shifted).collect();
        let before = self.state.losses.clone();
        let vectors = sums.of(order.vectors(), self.weights.len());
        let block = Block { layout: &self.layout, parameters: &self.weights };
        let (from, into) = ((how.negatives, &slices[..], window.first), (order, vectors));
        let losses = &mut self.state.losses;
        let all = sum_slices(team, (block, window), from, drawn, into, losses, || !stopped());
        if !all {
            self.state.losses = before;
        }
        all
    }

    /// The step by a mini-batch's gradient, which is the sum over its rows. The window's first row
    /// is the `first` of the epoch.
    pub(crate) fn step<T: Send>(
        &mut self,
        team: &mut Team<T>,
        instructions: Instructions,
        how: &Learn,
        (first, batch): (usize, Range<usize>),
        gradient: &[f32],
    ) {
        let step = Step {
            learning_rate: how.learning_rate,
            scale: 1.0 / batch.len() as f32,
            l2: how.l2,
            decayed: self.layout.biases(),
        };
        let weights = Arc::make_mut(&mut self.weights);
        self.state.solver.step(team, instructions, weights, gradient, step);
        if let Some(average) = &mut self.state.average {
            average.step(team, instructions, weights);
        }
        self.state.rows = first + batch.end;
    }
}

/// Sums the gradient over the rows of slices from which a block learns, each from +0 on, and their
/// losses each to a chain of its own (`sliced_expert_gradient`). Row i here is at `position` + i of
/// the epoch.
pub(super) fn sum_slices(
    team: &mut Team<impl AsMut<Kernel> + Send>,
    (block, window): (Block, &Rows),
    (negatives, slices, position): (Option<Negatives>, &[Range<usize>], usize),
    drawn: &mut Drawn,
    (order, vectors): (&Summing, &mut [Vec<f32>]),
    losses: &mut [f64],
    go_on: impl FnMut() -> bool,
) -> bool {
    let Some(negatives) = negatives else {
        let of = (slices, order);
        return sliced_expert_gradient(team, block, window.passing(), of, vectors, losses, go_on);
    };
    let slices = drawn.draw(negatives, block.layout, window.passing(), slices, position);
    let of = (&slices[..], order);
    sliced_expert_gradient(team, block, drawn.passing(), of, vectors, losses, go_on)
}
