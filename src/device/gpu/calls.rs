//! What the device does when it is called.

use std::sync::Arc;

use super::blocks::Blocks;
use super::cut::{Extent, bytes_of};
use super::network::Network;
use super::rows::Rows;
use super::scores::Rest;
use super::steps::Steps;
use super::turns::GpuTurns;
use super::wave::{Visitor, Wave};
use super::{Bounds, Gpu, HOST_ROWS, failure};
use crate::device::{
    AllRows, Apart, Arrived, AtRest, Batch, Between, ByEpoch, ClassBlock, Device, FramesAgain,
    FullBatches, Joint, JointStep, Learn, Leaves, MiniBatches, Nodes, Pace, Piece, Scores, Solving,
    VARIABLES, Which, take_turns,
};
use crate::error::Result;
use crate::labels::Labels;
use crate::metrics::TopList;
use crate::model::annotator::Annotator;
use crate::model::features::Features;
use crate::model::{Layout, Matrix};
use crate::optim::adam::Adam;
use crate::optim::{Offered, SharedState, Step};

impl Device for Gpu {
    type Network<'a> = Network<'a>;
    type Steps = Steps;
    type Wave = Wave;
    type Rows = Rows;
    type Rest<'a> = Rest<'a>;
    type Visitor = Visitor;
    type Blocks<S: Solving> = Blocks<S>;

    fn at_once(&self) -> usize {
        self.host.at_once()
    }

    fn own_memory(&self) -> Option<usize> {
        Some(self.queue.limit())
    }

    fn divide(&mut self, room: Bounds) {
        self.keep_to(room);
    }

    fn network<'a>(&mut self, model: &'a Annotator) -> Network<'a> {
        self.network_of_steps(model, &mut Steps::default())
    }

    fn network_of_steps<'a>(&mut self, model: &'a Annotator, steps: &mut Steps) -> Network<'a> {
        Network::new(&self.queue, model, self.tile, steps)
    }

    fn activations(
        &mut self,
        network: &Network<'_>,
        pieces: &mut dyn Iterator<Item = Result<(Features, Labels)>>,
        take: &mut dyn FnMut(Matrix, Labels) -> Result<()>,
    ) -> Result<()> {
        match self.told(self.queue.alive().and_then(|()| network.layers()))? {
            Some(layers) => layers.activations(self.host.at_once(), pieces, take),
            None => self.host()?.activations(network.host(), pieces, take),
        }
    }

    fn forward(
        &mut self,
        network: &Network<'_>,
        pieces: &mut dyn Iterator<Item = Result<Piece>>,
    ) -> Result<Wave> {
        match self.told(self.queue.alive().and_then(|()| network.layers()))? {
            Some(layers) => layers.wave(self.run, pieces),
            None => self.host()?.forward(network.host(), pieces).map(Wave::of_host),
        }
    }

    fn outputs(&mut self, wave: &Wave, to: &mut Vec<f32>) -> Result<()> {
        self.told(self.queue.alive().and_then(|()| wave.outputs(to)))
    }

    fn give_slopes(&mut self, wave: &mut Wave, slopes: &[f32]) -> Result<()> {
        self.told(self.queue.alive().and_then(|()| wave.give_slopes(slopes)))
    }

    fn losses(&mut self, wave: &Wave) -> Result<Vec<f64>> {
        self.told(self.queue.alive().and_then(|()| wave.losses()))
    }

    fn backward(
        &mut self,
        network: &Network<'_>,
        wave: Wave,
        frames: &dyn FramesAgain,
        leaves: &mut dyn Leaves,
    ) -> Result<()> {
        let (host, segments) = self.told(self.queue.alive().and_then(|()| wave.into_parts()))?;
        match (host, self.told(network.layers())?) {
            (None, Some(layers)) => layers.leaves(segments, frames, leaves),
            (Some(wave), _) => self.host()?.backward(network.host(), wave, frames, leaves),
            (None, None) => panic!("a wave of this network"),
        }
    }

    fn step_shared(
        &mut self,
        weights: &mut [f32],
        adam: &mut Adam,
        gradient: &[f32],
        step: Step,
    ) -> Result<()> {
        self.host()?.step_shared(weights, adam, gradient, step)
    }

    fn advance_shared(
        &mut self,
        weights: &mut [f32],
        (solver, steps): (&mut SharedState, &mut Steps),
        found: (f64, &[f32]),
        offered: &Offered,
    ) -> Result<()> {
        match self.told(steps.advance(&self.queue, weights, solver, found))? {
            true => Ok(()),
            false => self.host()?.advance_shared(weights, (solver, &mut ()), found, offered),
        }
    }

    fn settle_shared(&mut self, solver: &mut SharedState, steps: &Steps) -> Result<()> {
        self.told(steps.settle(solver))
    }

    fn visitor(&mut self, layout: &Layout, weights: Arc<Vec<f32>>) -> Visitor {
        let visitor = Visitor::new((self.epsilon, self.room.logits_bytes), layout, weights);
        if self.staying > 0 { visitor.here(&self.queue) } else { visitor }
    }

    fn may_stay(&mut self, layouts: &[Layout]) -> bool {
        let of = |layout: &Layout| bytes_of(layout.width, 1)(Extent::of(layout));
        let bytes: usize = layouts.iter().map(of).sum();
        let stay = bytes <= self.room.rest_bytes.min(self.queue.left()) / 2;
        self.staying = if stay { bytes } else { 0 };
        stay
    }

    fn visit(&mut self, visitor: &Visitor, wave: &mut Wave, pace: &mut Pace) -> Result<()> {
        self.told(wave.visit(&self.queue, self.run, visitor, pace))
    }

    fn rest<'a>(&mut self, rows: &'a dyn AtRest) -> Rest<'a> {
        Rest::new(rows, (self.run.min(HOST_ROWS), self.room.rest_bytes - self.staying))
    }

    fn scores(
        &mut self,
        visitor: &Visitor,
        rest: &Rest<'_>,
        which: Which,
        pace: &mut Pace,
    ) -> Result<Scores> {
        rest.scores(&self.queue, visitor, which, pace)
    }

    fn best(
        &mut self,
        (visitor, first_class): (&Visitor, usize),
        rest: &Rest<'_>,
        which: Which,
        lists: &mut [TopList],
        pace: &mut Pace,
    ) -> Result<()> {
        let room = lists.first().map_or(0, TopList::room);
        match rest.best(&self.queue, (visitor, first_class), (which, room), pace)? {
            true => Ok(()),
            false => self.scores(visitor, rest, which, pace)?.offer(first_class, lists),
        }
    }

    fn give_best(&mut self, rest: &Rest<'_>, lists: &mut [TopList]) -> Result<()> {
        rest.give_best(&self.queue, lists)
    }

    fn bring(&mut self, arrived: Arrived, before: Option<Rows>) -> Result<Rows> {
        self.told(Rows::new(&self.queue, arrived, before))
    }

    fn hold<S: Solving>(&mut self, blocks: Vec<ClassBlock<S>>) -> Result<Blocks<S>> {
        self.told(Blocks::new(&self.queue, (self.room, self.epsilon), blocks))
    }

    fn read<S: Solving>(
        &self,
        blocks: &Blocks<S>,
        index: usize,
        look: &mut dyn FnMut(&ClassBlock<S>),
    ) -> Result<()> {
        self.told(blocks.read(index, look))
    }

    fn weights<S: Solving>(&self, blocks: &Blocks<S>, index: usize) -> Result<Arc<Vec<f32>>> {
        self.told(blocks.weights(index))
    }

    fn change<S: Solving>(
        &mut self,
        blocks: &mut Blocks<S>,
        index: usize,
        with: &mut dyn FnMut(&mut [f32]),
    ) -> Result<()> {
        self.told(blocks.change(index, with))
    }

    fn class_losses<S: ByEpoch>(&self, blocks: &Blocks<S>) -> Result<Vec<Vec<f64>>> {
        self.told(blocks.class_losses())
    }

    fn left<S: ByEpoch>(&self, blocks: &Blocks<S>) -> Result<usize> {
        self.told(self.queue.alive())?;
        Ok(blocks.left())
    }

    fn end<S: ByEpoch>(
        &mut self,
        blocks: &mut Blocks<S>,
        index: usize,
        stopped: &[bool],
    ) -> Result<()> {
        self.told(blocks.end(index, stopped))
    }

    fn learn(
        &mut self,
        blocks: &mut Blocks<MiniBatches>,
        rows: &Rows,
        how: &Learn,
        pace: &mut Pace,
    ) -> Result<()> {
        self.told(self.queue.alive().and_then(|()| blocks.learn(rows, how, pace)))
    }

    fn learn_apart(
        &mut self,
        blocks: &mut Blocks<Apart>,
        (rows, batches): (&Rows, &[Batch]),
        how: &Learn,
        between: &mut dyn Between,
        pace: &mut Pace,
    ) -> Result<()> {
        let (slices, kernels) = (between.slices(), self.host.kernels_mut());
        take_turns(&mut GpuTurns { blocks, rows, how, slices, kernels }, batches, between, pace)
    }

    fn change_state(
        &mut self,
        blocks: &mut Blocks<Apart>,
        index: usize,
        with: &mut dyn FnMut(&mut Apart),
    ) -> Result<()> {
        self.told(blocks.change_state(index, with))
    }

    fn swap_averages(&mut self, blocks: &mut Blocks<MiniBatches>) -> Result<()> {
        self.told(self.queue.alive())?;
        blocks.swap_averages();
        Ok(())
    }

    fn end_epoch(&mut self, blocks: &mut Blocks<MiniBatches>, tolerance: f64) -> Result<()> {
        self.told(blocks.end_epoch(tolerance))
    }

    fn evaluate(
        &mut self,
        blocks: &mut Blocks<FullBatches>,
        rows: &Rows,
        all: &AllRows,
        pace: &mut Pace,
    ) -> Result<()> {
        self.told(self.queue.alive().and_then(|()| blocks.evaluate(rows, all, pace)))
    }

    fn evaluate_apart(
        &mut self,
        blocks: &mut Blocks<Apart>,
        rows: &Rows,
        all: &AllRows,
        pace: &mut Pace,
    ) -> Result<()> {
        self.told(self.queue.alive().and_then(|()| blocks.evaluate(rows, all, pace)))
    }

    fn sums(&mut self, blocks: &mut Blocks<Apart>, index: usize) -> Result<Nodes> {
        self.told(self.queue.alive())?;
        Ok(blocks.sums(index))
    }

    fn advance(
        &mut self,
        blocks: &mut Blocks<FullBatches>,
        rows: usize,
        l2: f64,
        offered: &Offered,
    ) -> Result<()> {
        let failed = failure(&self.queue);
        blocks.advance(self.host()?.kernels_mut(), rows, l2, offered).map_err(failed)
    }

    fn forget(&mut self, blocks: &mut Blocks<FullBatches>) -> Result<()> {
        // Nothing that can fail: a rank that stops must not part from the others here.
        blocks.forget();
        Ok(())
    }

    fn settle(&mut self, blocks: &mut Blocks<FullBatches>) -> Result<()> {
        self.told(blocks.settle())
    }

    fn gradients(
        &mut self,
        blocks: &mut Blocks<Joint>,
        rows: &Rows,
        slopes: Option<&mut dyn Leaves>,
    ) -> Result<Vec<Vec<f64>>> {
        self.told(self.queue.alive())?;
        blocks.gradients(rows, slopes, &failure(&self.queue))
    }

    fn squares(&self, blocks: &Blocks<Joint>) -> Result<Vec<[f64; VARIABLES]>> {
        self.told(blocks.squares())
    }

    fn step(&mut self, blocks: &mut Blocks<Joint>, step: &JointStep) -> Result<()> {
        let failed = failure(&self.queue);
        blocks.step(self.host()?.kernels_mut(), step).map_err(failed)
    }
}
