//! Own class blocks on the host: a thread takes a block through a whole window, while its weights
//! and its solver's state are hot; blocks that are left when threads don't come out even are shared
//! by all threads.

use std::ops::Range;
use std::sync::Arc;

use super::clipping::{scale_by_variable, squares_by_variable};
use super::drawn::Drawn;
use super::rows::Rows;
use super::searches::{Pass, advance_classes};
use crate::device::{
    Between, ByEpoch, ClassBlock, FullBatches, Joint, JointStep, Learn, Leaves, MiniBatches, Pace,
    Turn, VARIABLES,
};
use crate::error::Result;
use crate::kernel::mixture::{
    Block, Kernel, both_gradients, expert_gradient, fresh_expert_gradient, transpose,
};
use crate::kernel::vector::Instructions;
use crate::model::LANES;
use crate::optim::{MiniBatch, Offered, Step};
use crate::team::Team;

/// Class blocks that learn in the way S.
pub struct HeldBlocks<S> {
    blocks: Vec<Own<S>>,
    /// A gradient for each thread, of the block that it works on.
    gradients: Vec<Vec<f32>>,
}

/// One class block, its gradient and its losses.
struct Own<S> {
    block: ClassBlock<S>,
    /// Of the pass or the mini-batch under way; empty before the first, and where gradients don't
    /// outlast a block's mini-batch.
    gradient: Vec<f32>,
    /// [groups][16], of the pass under way.
    losses: Vec<f64>,
}

/// One thread's kernel with the gradient that it makes.
pub(crate) struct KernelAndGradient<'a> {
    pub(crate) kernel: &'a mut Kernel,
    pub(crate) gradient: &'a mut Vec<f32>,
}

impl KernelAndGradient<'_> {
    /// Pairs of one kernel and one gradient each; there are equally many.
    pub(crate) fn team<'a>(
        kernels: &'a mut [Kernel],
        gradients: &'a mut [Vec<f32>],
    ) -> Vec<KernelAndGradient<'a>> {
        let places = kernels.iter_mut().zip(gradients);
        places.map(|(kernel, gradient)| KernelAndGradient { kernel, gradient }).collect()
    }
}

impl AsMut<Kernel> for KernelAndGradient<'_> {
    fn as_mut(&mut self) -> &mut Kernel {
        self.kernel
    }
}

impl<S> ClassBlock<S> {
    fn at_rest(&self) -> Block<'_> {
        Block { layout: &self.layout, parameters: &self.weights }
    }
}

impl<S> Own<S> {
    /// Room for a gradient and for losses, zeros where there was none.
    fn make_room(&mut self) {
        self.gradient.resize(self.block.layout.parameters(), 0.0);
        self.losses.resize(self.block.layout.groups.len() * LANES, 0.0);
    }
}

impl<S> HeldBlocks<S> {
    pub(crate) fn new(blocks: Vec<ClassBlock<S>>) -> HeldBlocks<S> {
        let own = |block| Own { block, gradient: Vec::new(), losses: Vec::new() };
        HeldBlocks { blocks: blocks.into_iter().map(own).collect(), gradients: Vec::new() }
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
    pub(crate) fn take_sums(&mut self, index: usize) -> (Vec<f32>, Vec<f64>) {
        let own = &mut self.blocks[index];
        own.make_room();
        (std::mem::take(&mut own.gradient), std::mem::take(&mut own.losses))
    }

    /// Puts them back, as they are now.
    pub(crate) fn put_sums(&mut self, index: usize, (gradient, losses): (Vec<f32>, Vec<f64>)) {
        (self.blocks[index].gradient, self.blocks[index].losses) = (gradient, losses);
    }

    /// Losses of each block, of the pass or the mini-batch under way.
    pub(crate) fn losses(&self) -> impl Iterator<Item = Vec<f64>> {
        self.blocks.iter().map(|own| own.losses.clone())
    }
}

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
        self.gradients.resize_with(kernels.len(), Vec::new);
        let stopped = pace.stopping();
        let blocks = self.blocks.iter_mut().map(|own| &mut own.block);
        let blocks = blocks.filter(|block| !block.state.converged).collect();
        let learn = |team: &mut Team<KernelAndGradient>, block: &mut ClassBlock<MiniBatches>| {
            let (count, instructions) = (rows.labels().rows(), instructions_of(team));
            let mut gradient = std::mem::take(team.own().gradient);
            let mut drawn = Drawn::new(block.layout.width);
            for batch in block.state.left(rows.first, count, how.batch) {
                if stopped() {
                    break;
                }
                block.gradient(team, rows, how, batch.clone(), (&mut drawn, &mut gradient));
                block.step(team, instructions, how, (rows.first, batch), &gradient);
            }
            *team.own().gradient = gradient;
        };
        let mut threads = KernelAndGradient::team(kernels, &mut self.gradients);
        Team::new(&mut threads).polling(&mut || pace.poll()).together(blocks, learn);
    }

    /// The same where something stands between gradient and step: mini-batch by mini-batch over all
    /// blocks, in turns that are the same on all ranks, of which one is on its way while the next
    /// one's gradient is made. Where `between` says that the run stops, no further turn begins, and
    /// those under way change nothing.
    pub(crate) fn learn_in_turns(
        &mut self,
        kernels: &mut [Kernel],
        rows: &Rows,
        how: &Learn,
        between: &mut dyn Between,
        pace: &mut Pace,
    ) -> Result<()> {
        let count = rows.labels().rows();
        let mut gradients = vec![Vec::new(); kernels.len()];
        let mut threads = KernelAndGradient::team(kernels, &mut gradients);
        let team = &mut Team::new(&mut threads);
        for from in (0..count).step_by(how.batch) {
            let batch = from..(from + how.batch).min(count);
            let mut under_way: Option<(Turn, Vec<f64>)> = None;
            let blocks: Vec<usize> = (0..self.blocks.len())
                .filter(|index| self.of(*index).state.wants(rows.first + batch.end))
                .collect();
            for index in blocks.into_iter().map(Some).chain([None]) {
                let next = index.map(|block| {
                    let turn = Turn { block, rows: batch.clone() };
                    let block = self.of_mut(block);
                    let (losses, mut gradient) = (block.state.losses.clone(), Vec::new());
                    let drawn = &mut Drawn::new(block.layout.width);
                    block.gradient(team, rows, how, batch.clone(), (drawn, &mut gradient));
                    pace.poll();
                    between.give(&turn, gradient, pace.stopped()).map(|()| (turn, losses))
                });
                let next = next.transpose()?;
                let Some((turn, losses)) = std::mem::replace(&mut under_way, next) else {
                    continue;
                };
                let Some(gradient) = between.summed(&turn, pace)? else {
                    self.of_mut(turn.block).state.losses = losses;
                    if let Some((turn, losses)) = under_way {
                        between.summed(&turn, pace)?;
                        self.of_mut(turn.block).state.losses = losses;
                    }
                    return Ok(());
                };
                let instructions = instructions_of(team);
                let block = self.of_mut(turn.block);
                block.step(team, instructions, how, (rows.first, turn.rows), &gradient);
            }
        }
        Ok(())
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
        self.gradients = Vec::new();
    }
}

fn instructions_of(team: &mut Team<KernelAndGradient>) -> Instructions {
    team.own().kernel.gemm().instructions()
}

impl ClassBlock<MiniBatches> {
    /// The gradient over the rows of a mini-batch from which the block learns; its losses go to the
    /// epoch's.
    fn gradient(
        &mut self,
        team: &mut Team<KernelAndGradient>,
        window: &Rows,
        how: &Learn,
        batch: Range<usize>,
        (drawn, gradient): (&mut Drawn, &mut Vec<f32>),
    ) {
        gradient.resize(self.weights.len(), 0.0);
        let (mut passing, mut rows) = (window.passing(), batch);
        if let Some(negatives) = how.negatives {
            drawn.draw(negatives, &self.layout, passing, rows, window.first);
            (passing, rows) = (drawn.passing(), 0..drawn.rows());
        }
        let block = Block { layout: &self.layout, parameters: &self.weights };
        let losses = &mut self.state.losses;
        match rows.is_empty() {
            true => gradient.fill(0.0),
            false => fresh_expert_gradient(team, block, passing, rows, gradient, losses),
        }
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

impl HeldBlocks<FullBatches> {
    /// The blocks that still search.
    fn searching(&mut self) -> impl Iterator<Item = &mut Own<FullBatches>> {
        self.blocks.iter_mut().filter(|own| !own.block.state.converged())
    }

    /// Adds what a window's rows give to every class's value and gradient.
    pub(crate) fn evaluate(&mut self, mut team: Team<Kernel>, rows: &Rows, pace: &mut Pace) {
        let (passing, stopped) = (rows.passing(), pace.stopping());
        let all = 0..rows.labels().rows();
        let evaluate = |team: &mut Team<Kernel>, own: &mut Own<FullBatches>| {
            if !stopped() {
                own.make_room();
                let Own { block, gradient, losses } = own;
                expert_gradient(team, block.at_rest(), passing, all.clone(), gradient, losses);
            }
        };
        let blocks = self.searching().collect();
        team.polling(&mut || pace.poll()).together(blocks, evaluate);
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
    }

    fn advance(&mut self, kernel: &mut Kernel, rows: usize, l2: f64, offered: &Offered) {
        self.make_room();
        let ClassBlock { layout, weights, state } = &mut self.block;
        let pass = Pass { losses: &self.losses, gradient: &self.gradient, rows, l2 };
        advance_classes(kernel, layout, Arc::<Vec<f32>>::make_mut(weights), state, pass, offered);
        self.forget();
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
                let Own { block, gradient, losses } = own;
                let (block, all) = (block.at_rest(), all.clone());
                losses.fill(0.0);
                match wanted {
                    false => fresh_expert_gradient(team, block, passing, all, gradient, losses),
                    true => {
                        dv.fill(0.0);
                        let slopes = (&transpose(block)[..], &mut dv[..]);
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
        team.for_each(&mut self.blocks, |kernel, own| {
            let Own { block: ClassBlock { layout, weights, state }, gradient, .. } = own;
            scale_by_variable(layout, gradient, step.scales);
            let instructions = kernel.gemm().instructions();
            let (learning_rate, decayed) = (step.learning_rate, layout.biases());
            let step = Step { learning_rate, scale: 1.0, l2: step.l2, decayed };
            let (team, weights) = (&mut Team::alone(kernel), Arc::make_mut(weights));
            state.0.step(team, instructions, weights, gradient, step);
        });
    }
}
