//! The processor as a device: a thread for each core that the rank may use, each with a kernel of
//! its own, on the host's memory. Goes block by block.

mod apart;
mod blocks;
mod carry;
mod clipping;
mod drawn;
mod full_batches;
mod learn;
mod network;
mod rows;
mod searches;
mod visits;

use std::sync::Arc;

use self::apart::HostTurns;
pub(crate) use self::blocks::HeldBlocks;
pub(crate) use self::carry::{Complete, KernelAndSums, Vectors};
pub(crate) use self::clipping::squares_of_panels;
pub(crate) use self::network::{Network, Wave};
pub(crate) use self::rows::Rows;
pub(crate) use self::searches::{ClassPass, Pass, advance_class, advance_classes};
pub(crate) use self::visits::Visitor;
use super::{
    AllRows, Apart, Arrived, AtRest, Batch, Between, ByEpoch, ClassBlock, Device, FramesAgain,
    FullBatches, Joint, JointStep, Learn, Leaves, MiniBatches, Nodes, Pace, Piece, Scores, Solving,
    VARIABLES, Which, take_turns,
};
use crate::error::Result;
use crate::kernel::mixture::Kernel;
pub(crate) use crate::kernel::vector::Instructions;
use crate::labels::Labels;
use crate::metrics::TopList;
use crate::model::annotator::Annotator;
use crate::model::features::Features;
use crate::model::{Layout, Matrix};
use crate::optim::adam::Adam;
use crate::optim::{MiniBatch, Offered, SharedState, Step};
use crate::team::Team;
use crate::tree::Summing;

/// The processor.
pub struct Host {
    /// One for each thread.
    kernels: Vec<Kernel>,
    instructions: Instructions,
}

impl Host {
    /// `threads` threads, at least one, on these instructions; `epsilon` is eps of the loss.
    #[doc(hidden)]
    pub(crate) fn new(instructions: Instructions, threads: usize, epsilon: f32) -> Host {
        let kernels = (0..threads.max(1)).map(|_| Kernel::new(instructions, epsilon)).collect();
        Host { kernels, instructions }
    }

    /// As `new`, with the instructions of this name; "auto" is the best of this processor.
    ///
    /// # Errors
    /// What was expected instead, where it has none of that name.
    pub fn named(name: &str, threads: usize, epsilon: f32) -> std::result::Result<Host, String> {
        Ok(Host::new(Instructions::parse(name)?, threads, epsilon))
    }

    /// With the best instructions of this processor.
    pub fn detected(threads: usize, epsilon: f32) -> Host {
        Host::new(Instructions::detect(), threads, epsilon)
    }

    pub fn threads(&self) -> usize {
        self.kernels.len()
    }

    #[doc(hidden)]
    pub(crate) fn instructions(&self) -> Instructions {
        self.instructions
    }

    /// One for each thread.
    pub(crate) fn kernels_mut(&mut self) -> &mut [Kernel] {
        &mut self.kernels
    }

    pub(crate) fn team(&mut self) -> Team<'_, Kernel> {
        Team::new(&mut self.kernels)
    }
}

impl Device for Host {
    type Network<'a> = Network<'a>;
    type Steps = ();
    type Wave = Wave;
    type Rows = Rows;
    type Rest<'a> = &'a dyn AtRest;
    type Visitor = Visitor;
    type Blocks<S: Solving> = HeldBlocks<S>;

    fn at_once(&self) -> usize {
        self.threads()
    }

    fn network<'a>(&mut self, model: &'a Annotator) -> Network<'a> {
        Network::new(model)
    }

    fn activations(
        &mut self,
        network: &Network<'_>,
        pieces: &mut dyn Iterator<Item = Result<(Features, Labels)>>,
        take: &mut dyn FnMut(Matrix, Labels) -> Result<()>,
    ) -> Result<()> {
        network.activations(self.team(), pieces, take)
    }

    fn forward(
        &mut self,
        network: &Network<'_>,
        pieces: &mut dyn Iterator<Item = Result<Piece>>,
    ) -> Result<Wave> {
        network.forward(self.team(), pieces)
    }

    fn outputs(&mut self, wave: &Wave, to: &mut Vec<f32>) -> Result<()> {
        wave.outputs(to);
        Ok(())
    }

    fn give_slopes(&mut self, wave: &mut Wave, slopes: &[f32]) -> Result<()> {
        wave.give_slopes(slopes);
        Ok(())
    }

    fn losses(&mut self, wave: &Wave) -> Result<Vec<f64>> {
        Ok(wave.losses())
    }

    fn backward(
        &mut self,
        network: &Network<'_>,
        wave: Wave,
        frames: &dyn FramesAgain,
        leaves: &mut dyn Leaves,
    ) -> Result<()> {
        network.backward(&mut self.kernels, wave, frames, leaves)
    }

    fn step_shared(
        &mut self,
        weights: &mut [f32],
        adam: &mut Adam,
        gradient: &[f32],
        step: Step,
    ) -> Result<()> {
        let instructions = self.instructions;
        adam.step(&mut self.team(), instructions, weights, gradient, step);
        Ok(())
    }

    fn advance_shared(
        &mut self,
        weights: &mut [f32],
        (solver, ()): (&mut SharedState, &mut ()),
        found: (f64, &[f32]),
        offered: &Offered,
    ) -> Result<()> {
        let instructions = self.instructions;
        solver.advance(&mut self.team(), instructions, weights, found, offered);
        Ok(())
    }

    fn visitor(&mut self, layout: &Layout, weights: Arc<Vec<f32>>) -> Visitor {
        Visitor::new(layout, weights)
    }

    fn visit(&mut self, visitor: &Visitor, wave: &mut Wave, pace: &mut Pace) -> Result<()> {
        visitor.visit(self.team(), wave, pace);
        Ok(())
    }

    fn rest<'a>(&mut self, rows: &'a dyn AtRest) -> &'a dyn AtRest {
        rows
    }

    fn scores(
        &mut self,
        visitor: &Visitor,
        rest: &&dyn AtRest,
        which: Which,
        pace: &mut Pace,
    ) -> Result<Scores> {
        visitor.scores(self.team(), *rest, which, pace)
    }

    fn best(
        &mut self,
        (visitor, _): (&Visitor, usize),
        rest: &&dyn AtRest,
        which: Which,
        lists: &mut [TopList],
        pace: &mut Pace,
    ) -> Result<()> {
        visitor.best(self.team(), *rest, which, lists, pace)
    }

    fn bring(&mut self, arrived: Arrived, before: Option<Rows>) -> Result<Rows> {
        Ok(Rows::of(arrived, before))
    }

    fn hold<S: Solving>(&mut self, blocks: Vec<ClassBlock<S>>) -> Result<HeldBlocks<S>> {
        Ok(HeldBlocks::new(blocks))
    }

    fn read<S: Solving>(
        &self,
        blocks: &HeldBlocks<S>,
        index: usize,
        look: &mut dyn FnMut(&ClassBlock<S>),
    ) -> Result<()> {
        look(blocks.of(index));
        Ok(())
    }

    fn weights<S: Solving>(&self, blocks: &HeldBlocks<S>, index: usize) -> Result<Arc<Vec<f32>>> {
        Ok(blocks.of(index).weights.clone())
    }

    fn change<S: Solving>(
        &mut self,
        blocks: &mut HeldBlocks<S>,
        index: usize,
        with: &mut dyn FnMut(&mut [f32]),
    ) -> Result<()> {
        with(Arc::<Vec<f32>>::make_mut(&mut blocks.of_mut(index).weights));
        Ok(())
    }

    fn class_losses<S: ByEpoch>(&self, blocks: &HeldBlocks<S>) -> Result<Vec<Vec<f64>>> {
        Ok(blocks.all().map(|block| block.state.losses()).collect())
    }

    fn left<S: ByEpoch>(&self, blocks: &HeldBlocks<S>) -> Result<usize> {
        Ok(blocks.all().filter(|block| !block.state.converged()).count())
    }

    fn end<S: ByEpoch>(
        &mut self,
        blocks: &mut HeldBlocks<S>,
        index: usize,
        stopped: &[bool],
    ) -> Result<()> {
        let ClassBlock { layout, weights, state } = blocks.of_mut(index);
        state.end(layout, weights, stopped);
        Ok(())
    }

    fn learn(
        &mut self,
        blocks: &mut HeldBlocks<MiniBatches>,
        rows: &Rows,
        how: &Learn,
        pace: &mut Pace,
    ) -> Result<()> {
        blocks.learn(&mut self.kernels, rows, how, pace);
        Ok(())
    }

    fn learn_apart(
        &mut self,
        blocks: &mut HeldBlocks<Apart>,
        (rows, batches): (&Rows, &[Batch]),
        how: &Learn,
        between: &mut dyn Between,
        pace: &mut Pace,
    ) -> Result<()> {
        let (team, order) = (self.team(), Summing::nodes_of(between.slices().own));
        take_turns(&mut HostTurns { blocks, team, rows, how, order }, batches, between, pace)
    }

    fn change_state(
        &mut self,
        blocks: &mut HeldBlocks<Apart>,
        index: usize,
        with: &mut dyn FnMut(&mut Apart),
    ) -> Result<()> {
        with(&mut blocks.of_mut(index).state);
        Ok(())
    }

    fn swap_averages(&mut self, blocks: &mut HeldBlocks<MiniBatches>) -> Result<()> {
        blocks.swap_averages();
        Ok(())
    }

    fn end_epoch(&mut self, blocks: &mut HeldBlocks<MiniBatches>, tolerance: f64) -> Result<()> {
        blocks.end_epoch(tolerance);
        Ok(())
    }

    fn evaluate(
        &mut self,
        blocks: &mut HeldBlocks<FullBatches>,
        rows: &Rows,
        all: &AllRows,
        pace: &mut Pace,
    ) -> Result<()> {
        blocks.evaluate(self.team(), rows, all, pace);
        Ok(())
    }

    fn evaluate_apart(
        &mut self,
        blocks: &mut HeldBlocks<Apart>,
        rows: &Rows,
        all: &AllRows,
        pace: &mut Pace,
    ) -> Result<()> {
        blocks.evaluate(self.team(), rows, all, pace);
        Ok(())
    }

    fn sums(&mut self, blocks: &mut HeldBlocks<Apart>, index: usize) -> Result<Nodes> {
        Ok(blocks.sums(index))
    }

    fn advance(
        &mut self,
        blocks: &mut HeldBlocks<FullBatches>,
        rows: usize,
        l2: f64,
        offered: &Offered,
    ) -> Result<()> {
        blocks.advance(self.team(), rows, l2, offered);
        Ok(())
    }

    fn forget(&mut self, blocks: &mut HeldBlocks<FullBatches>) -> Result<()> {
        blocks.forget();
        Ok(())
    }

    fn settle(&mut self, blocks: &mut HeldBlocks<FullBatches>) -> Result<()> {
        blocks.settle();
        Ok(())
    }

    fn gradients(
        &mut self,
        blocks: &mut HeldBlocks<Joint>,
        rows: &Rows,
        slopes: Option<&mut dyn Leaves>,
    ) -> Result<Vec<Vec<f64>>> {
        blocks.gradients(self.team(), rows, slopes)
    }

    fn squares(&self, blocks: &HeldBlocks<Joint>) -> Result<Vec<[f64; VARIABLES]>> {
        Ok(blocks.squares())
    }

    fn step(&mut self, blocks: &mut HeldBlocks<Joint>, step: &JointStep) -> Result<()> {
        blocks.step(self.team(), step);
        Ok(())
    }
}
