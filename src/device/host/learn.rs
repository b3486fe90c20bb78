//! Class blocks on the host that learn by mini-batches: a thread takes a block through a whole
//! window, while its weights and its solver's state are hot.

use std::mem::take;
use std::ops::Range;
use std::sync::Arc;

use super::blocks::{HeldBlocks, Own};
use super::carry::{Carry, KernelAndCarry};
use super::drawn::Drawn;
use super::rows::Rows;
use crate::device::{ClassBlock, Learn, MiniBatches, Negatives, Pace, Slices};
use crate::kernel::mixture::{Block, Kernel, fresh_expert_gradient};
use crate::kernel::vector::Instructions;
use crate::optim::Step;
use crate::team::Team;

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
        self.carries.resize_with(kernels.len(), Carry::default);
        let stopped = pace.stopping();
        let blocks = self.blocks.iter_mut().map(|own| &mut own.block);
        let blocks = blocks.filter(|block| !block.state.converged).collect();
        let learn = |team: &mut Team<KernelAndCarry>, block: &mut ClassBlock<MiniBatches>| {
            let (count, instructions) = (rows.labels().rows(), instructions_of(team));
            let mut drawn = Drawn::new(block.layout.width);
            let mut carry = take(team.own().carry);
            for batch in block.state.left(rows.first, count, how.batch) {
                let through = (batch.clone(), stopped);
                let gradient = block.gradient(team, rows, how, through, (&mut drawn, &mut carry));
                let Some(gradient) = gradient else { break };
                block.step(team, instructions, how, (rows.first, batch), &gradient);
                carry.give_back(gradient);
            }
            *team.own().carry = carry;
        };
        let mut threads = KernelAndCarry::team(kernels, &mut self.carries);
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
        self.carries = Vec::new();
    }
}

fn instructions_of(team: &mut Team<KernelAndCarry>) -> Instructions {
    team.own().kernel.gemm().instructions()
}

impl ClassBlock<MiniBatches> {
    /// The gradient over the rows of a mini-batch from which the block learns; its losses go to the
    /// epoch's. None, and losses as they were, where the run is to stop before the last slice.
    fn gradient(
        &mut self,
        team: &mut Team<KernelAndCarry>,
        window: &Rows,
        how: &Learn,
        (batch, stopped): (Range<usize>, &(dyn Fn() -> bool + Sync)),
        (drawn, carry): (&mut Drawn, &mut Carry),
    ) -> Option<Vec<f32>> {
        let instructions = instructions_of(team);
        let before = if how.slices > 1 { self.state.losses.clone() } else { Vec::new() };
        for (index, slice) in Slices::all(how.slices).of(batch.len()).enumerate() {
            if stopped() {
                carry.forget();
                if index > 0 {
                    self.state.losses = before;
                }
                return None;
            }
            let mut gradient = carry.room(self.weights.len());
            let (lanes, rows) =
                (self.layout.lanes(), batch.start + slice.start..batch.start + slice.end);
            let block = Block { layout: &self.layout, parameters: &self.weights };
            let losses = &mut self.state.losses[index * lanes..(index + 1) * lanes];
            let from = (how.negatives, rows, window.first);
            slice_gradient(team, block, window, from, drawn, (&mut gradient, losses));
            carry.push(team, instructions, (index, gradient));
        }
        Some(carry.total(team, instructions).expect("a slice"))
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

/// The gradient over the rows of a slice from which a block learns, from +0 on; losses go to a
/// chain of theirs. Row i here is at `position` + i of the epoch.
pub(super) fn slice_gradient(
    team: &mut Team<impl AsMut<Kernel> + Send>,
    block: Block,
    window: &Rows,
    (negatives, mut rows, position): (Option<Negatives>, Range<usize>, usize),
    drawn: &mut Drawn,
    (gradient, losses): (&mut [f32], &mut [f64]),
) {
    let mut passing = window.passing();
    if let Some(negatives) = negatives {
        drawn.draw(negatives, block.layout, passing, rows, position);
        (passing, rows) = (drawn.passing(), 0..drawn.rows());
    }
    match rows.is_empty() {
        true => gradient.fill(0.0),
        false => fresh_expert_gradient(team, block, passing, rows, gradient, losses),
    }
}
