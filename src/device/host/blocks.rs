//! Own class blocks on the host, each with the sums under way. Threads take blocks; those that are
//! left when threads don't come out even are shared by all threads.

use std::mem::take;
use std::sync::Arc;

use super::carry::{Complete, Vectors};
use super::clipping::{scale_by_variable, squares_by_variable};
use super::rows::Rows;
use crate::device::{ClassBlock, Joint, JointStep, Leaves, VARIABLES};
use crate::error::Result;
use crate::kernel::mixture::{
    Block, Kernel, both_gradients, fresh_expert_gradient, transpose_into,
};
use crate::optim::{MiniBatch, Step};
use crate::team::Team;

/// Class blocks that learn in the way S.
pub struct HeldBlocks<S> {
    pub(super) blocks: Vec<Own<S>>,
    /// What each thread sums slices in, of the block that it works on.
    pub(super) sums: Vec<Vectors>,
}

/// A block's gradient and losses of a pass or of its slice, or of a mini-batch, and those of slices
/// before it.
pub(crate) type Sums = (Vec<f32>, Vec<f64>, Complete);

/// One class block, its gradient and its losses.
pub(super) struct Own<S> {
    pub(super) block: ClassBlock<S>,
    /// Of the pass, its slice or the mini-batch under way; empty before the first, and where
    /// gradients don't outlast a block's mini-batch.
    pub(super) gradient: Vec<f32>,
    /// [groups][16], of the same.
    pub(super) losses: Vec<f64>,
    /// Slices before it, where there are several.
    pub(super) complete: Complete,
}

impl<S> ClassBlock<S> {
    pub(super) fn at_rest(&self) -> Block<'_> {
        Block { layout: &self.layout, parameters: &self.weights }
    }
}

impl<S> Own<S> {
    /// Room for a gradient and for losses, zeros where there was none.
    pub(super) fn make_room(&mut self) {
        self.gradient.resize(self.block.layout.parameters(), 0.0);
        self.losses.resize(self.block.layout.lanes(), 0.0);
    }
}

impl<S> HeldBlocks<S> {
    pub(crate) fn new(blocks: Vec<ClassBlock<S>>) -> HeldBlocks<S> {
        let own = |block| Own {
            block,
            gradient: Vec::new(),
            losses: Vec::new(),
            complete: Complete::default(),
        };
        HeldBlocks { blocks: blocks.into_iter().map(own).collect(), sums: Vec::new() }
    }

    pub(crate) fn of(&self, index: usize) -> &ClassBlock<S> {
        &self.blocks[index].block
    }

    pub(crate) fn of_mut(&mut self, index: usize) -> &mut ClassBlock<S> {
        &mut self.blocks[index].block
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &ClassBlock<S>> {
        self.blocks.iter().map(|own| &own.block)
    }

    /// All of them, which are no longer here.
    pub(crate) fn take(&mut self) -> Vec<ClassBlock<S>> {
        self.blocks.drain(..).map(|own| own.block).collect()
    }

    /// Takes a block's gradient and losses of the pass or the mini-batch under way.
    pub(crate) fn take_sums(&mut self, index: usize) -> Sums {
        let own = &mut self.blocks[index];
        own.make_room();
        (take(&mut own.gradient), take(&mut own.losses), take(&mut own.complete))
    }

    /// Puts them back, as they are now.
    pub(crate) fn put_sums(&mut self, index: usize, sums: Sums) {
        let own = &mut self.blocks[index];
        (own.gradient, own.losses, own.complete) = sums;
    }

    /// Losses of each block, of the pass or the mini-batch under way.
    pub(crate) fn losses(&self) -> impl Iterator<Item = Vec<f64>> {
        self.blocks.iter().map(|own| own.losses.clone())
    }
}

impl HeldBlocks<Joint> {
    /// Both gradients of a mini-batch: with respect to the weights, which stay, and each block's
    /// part of dL/dv as a leaf, where that is wanted. Gives each block's losses by class.
    pub(crate) fn gradients(
        &mut self,
        mut team: Team<Kernel>,
        rows: &Rows,
        mut slopes: Option<&mut dyn Leaves>,
    ) -> Result<Vec<Vec<f64>>> {
        let (passing, all) = (rows.passing(), 0..rows.labels().rows());
        let mut losses = Vec::with_capacity(self.blocks.len());
        for turn in self.blocks.chunks_mut(team.threads()) {
            let mut parts = match &mut slopes {
                Some(slopes) => turn.iter().map(|_| slopes.room()).collect::<Result<Vec<_>>>()?,
                None => vec![Vec::new(); turn.len()],
            };
            type Item<'a> = (&'a mut Own<Joint>, &'a mut Vec<f32>);
            let wanted = slopes.is_some();
            let work = |team: &mut Team<Kernel>, (own, dv): Item| {
                own.make_room();
                let Own { block, gradient, losses, .. } = own;
                let (block, all) = (block.at_rest(), all.clone());
                losses.fill(0.0);
                match wanted {
                    false => fresh_expert_gradient(team, block, passing, all, gradient, losses),
                    true => {
                        let mut turned = Vec::new();
                        transpose_into(team, block, &mut turned);
                        dv.fill(0.0);
                        let slopes = (&turned[..], &mut dv[..]);
                        both_gradients(team, block, passing, all, gradient, slopes, losses);
                    }
                }
            };
            team.together(turn.iter_mut().zip(&mut parts).collect(), work);
            losses.extend(turn.iter().map(|own| own.losses.clone()));
            if let Some(slopes) = &mut slopes {
                parts.into_iter().for_each(|part| slopes.add(part));
            }
        }
        Ok(losses)
    }

    pub(crate) fn squares(&self) -> Vec<[f64; VARIABLES]> {
        let own = self.blocks.iter();
        own.map(|own| squares_by_variable(&own.block.layout, &own.gradient)).collect()
    }

    pub(crate) fn step(&mut self, mut team: Team<Kernel>, step: &JointStep) {
        let work = |team: &mut Team<Kernel>, own: &mut Own<Joint>| {
            let Own { block: ClassBlock { layout, weights, state }, gradient, .. } = own;
            scale_by_variable(team, layout, gradient, step.scales);
            let instructions = team.own().gemm().instructions();
            let (learning_rate, decayed) = (step.learning_rate, layout.biases());
            let step = Step { learning_rate, scale: 1.0, l2: step.l2, decayed };
            let weights = Arc::<Vec<f32>>::make_mut(weights);
            state.0.step(team, instructions, weights, gradient, step);
        };
        team.together(self.blocks.iter_mut().collect(), work);
    }
}
