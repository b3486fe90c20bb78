//! The processor as a device whose work is measured, or rests as long as it would take.

use std::sync::Arc;

use super::aside::Aside;
use super::meter::Meter;
use super::steps::columns;
use crate::cost::flops;
use crate::device::{
    AllRows, Apart, Arrived, AtRest, Batch, Between, ByEpoch, ClassBlock, Device, FramesAgain,
    FullBatches, Host, Joint, JointStep, Learn, Leaves, MiniBatches, Nodes, Pace, Piece, Scores,
    Solving, VARIABLES, Which,
};
use crate::error::Result;
use crate::labels::Labels;
use crate::model::annotator::Annotator;
use crate::model::features::Features;
use crate::model::{Layout, Matrix};
use crate::optim::adam::Adam;
use crate::optim::{Offered, SharedState, Step};
use crate::team::replay;

/// Polls of a rest in the place of the work on one window.
const POLLS: usize = 64;

/// The processor, measured.
pub(super) struct Metered<'a> {
    pub(super) host: Host,
    pub(super) meter: &'a Meter<'a>,
    /// Floating-point operations a second that it rests by in the expert step, where it doesn't
    /// compute.
    pub(super) rests: Option<f64>,
    /// How many times as many rows of the shared step there are as are here.
    pub(super) stretch: f64,
    /// Rows of the mini-batch of pretraining that is under way.
    pub(super) batch: usize,
}

impl Metered<'_> {
    /// Arithmetic on rows that are here in part.
    fn stretched<R>(&mut self, work: impl FnOnce(&mut Host) -> R) -> R {
        let (meter, stretch, host) = (self.meter, self.stretch, &mut self.host);
        meter.arithmetic(|| match stretch == 1.0 {
            true => work(host),
            false => replay::stretched(stretch, || work(host)),
        })
    }
}

impl Device for Metered<'_> {
    type Network<'a> = <Host as Device>::Network<'a>;
    type Steps = ();
    type Wave = <Host as Device>::Wave;
    type Rows = <Host as Device>::Rows;
    type Rest<'a> = <Host as Device>::Rest<'a>;
    type Visitor = <Host as Device>::Visitor;
    type Blocks<S: Solving> = <Host as Device>::Blocks<S>;

    fn learn(
        &mut self,
        blocks: &mut Self::Blocks<MiniBatches>,
        rows: &Self::Rows,
        how: &Learn,
        pace: &mut Pace,
    ) -> Result<()> {
        let (count, meter) = (rows.labels().rows(), self.meter);
        let learned = match self.rests {
            None => meter.arithmetic(|| self.host.learn(blocks, rows, how, pace)),
            Some(rate) => {
                let layouts = || blocks.all().map(|block| &block.layout);
                let width = layouts().next().map_or(0, |layout| layout.width);
                let flop = flops::logits_and_gradient(count, width, columns(layouts()));
                meter.arithmetic(|| meter.rest(flop / rate, POLLS, &mut || pace.poll()));
                Ok(())
            }
        };
        meter.piece(count);
        learned
    }

    fn at_once(&self) -> usize {
        self.host.at_once()
    }

    fn network<'a>(&mut self, model: &'a Annotator) -> Self::Network<'a> {
        self.host.network(model)
    }

    fn activations(
        &mut self,
        network: &Self::Network<'_>,
        pieces: &mut dyn Iterator<Item = Result<(Features, Labels)>>,
        take: &mut dyn FnMut(Matrix, Labels) -> Result<()>,
    ) -> Result<()> {
        self.host.activations(network, pieces, take)
    }

    fn forward(
        &mut self,
        network: &Self::Network<'_>,
        pieces: &mut dyn Iterator<Item = Result<Piece>>,
    ) -> Result<Self::Wave> {
        self.stretched(|host| host.forward(network, pieces))
    }

    fn outputs(&mut self, wave: &Self::Wave, to: &mut Vec<f32>) -> Result<()> {
        self.host.outputs(wave, to)
    }

    fn give_slopes(&mut self, wave: &mut Self::Wave, slopes: &[f32]) -> Result<()> {
        self.host.give_slopes(wave, slopes)
    }

    fn losses(&mut self, wave: &Self::Wave) -> Result<Vec<f64>> {
        self.host.losses(wave)
    }

    fn backward(
        &mut self,
        network: &Self::Network<'_>,
        wave: Self::Wave,
        frames: &dyn FramesAgain,
        leaves: &mut dyn Leaves,
    ) -> Result<()> {
        self.stretched(|host| host.backward(network, wave, frames, leaves))
    }

    fn step_shared(
        &mut self,
        weights: &mut [f32],
        adam: &mut Adam,
        gradient: &[f32],
        step: Step,
    ) -> Result<()> {
        self.meter.arithmetic(|| self.host.step_shared(weights, adam, gradient, step))
    }

    fn advance_shared(
        &mut self,
        weights: &mut [f32],
        solver: (&mut SharedState, &mut ()),
        found: (f64, &[f32]),
        offered: &Offered,
    ) -> Result<()> {
        let stepped =
            self.meter.arithmetic(|| self.host.advance_shared(weights, solver, found, offered));
        self.meter.piece(1);
        stepped
    }

    fn visitor(&mut self, layout: &Layout, weights: Arc<Vec<f32>>) -> Self::Visitor {
        self.host.visitor(layout, weights)
    }

    fn visit(
        &mut self,
        visitor: &Self::Visitor,
        wave: &mut Self::Wave,
        pace: &mut Pace,
    ) -> Result<()> {
        self.stretched(|host| host.visit(visitor, wave, pace))
    }

    fn rest<'a>(&mut self, rows: &'a dyn AtRest) -> Self::Rest<'a> {
        self.host.rest(rows)
    }

    fn scores(
        &mut self,
        visitor: &Self::Visitor,
        rest: &Self::Rest<'_>,
        which: Which,
        pace: &mut Pace,
    ) -> Result<Scores> {
        self.host.scores(visitor, rest, which, pace)
    }

    fn bring(&mut self, arrived: Arrived, before: Option<Self::Rows>) -> Result<Self::Rows> {
        self.host.bring(arrived, before)
    }

    fn hold<S: Solving>(&mut self, blocks: Vec<ClassBlock<S>>) -> Result<Self::Blocks<S>> {
        self.host.hold(blocks)
    }

    fn read<S: Solving>(
        &self,
        blocks: &Self::Blocks<S>,
        index: usize,
        look: &mut dyn FnMut(&ClassBlock<S>),
    ) -> Result<()> {
        self.host.read(blocks, index, look)
    }

    fn weights<S: Solving>(&self, blocks: &Self::Blocks<S>, index: usize) -> Result<Arc<Vec<f32>>> {
        self.host.weights(blocks, index)
    }

    fn change<S: Solving>(
        &mut self,
        blocks: &mut Self::Blocks<S>,
        index: usize,
        with: &mut dyn FnMut(&mut [f32]),
    ) -> Result<()> {
        self.host.change(blocks, index, with)
    }

    fn class_losses<S: ByEpoch>(&self, blocks: &Self::Blocks<S>) -> Result<Vec<Vec<f64>>> {
        self.host.class_losses(blocks)
    }

    fn left<S: ByEpoch>(&self, blocks: &Self::Blocks<S>) -> Result<usize> {
        self.host.left(blocks)
    }

    fn end<S: ByEpoch>(
        &mut self,
        blocks: &mut Self::Blocks<S>,
        index: usize,
        stopped: &[bool],
    ) -> Result<()> {
        self.host.end(blocks, index, stopped)
    }

    fn change_state(
        &mut self,
        blocks: &mut Self::Blocks<Apart>,
        index: usize,
        with: &mut dyn FnMut(&mut Apart),
    ) -> Result<()> {
        self.host.change_state(blocks, index, with)
    }

    fn swap_averages(&mut self, blocks: &mut Self::Blocks<MiniBatches>) -> Result<()> {
        self.host.swap_averages(blocks)
    }

    fn end_epoch(&mut self, blocks: &mut Self::Blocks<MiniBatches>, tolerance: f64) -> Result<()> {
        self.host.end_epoch(blocks, tolerance)
    }

    fn evaluate(
        &mut self,
        blocks: &mut Self::Blocks<FullBatches>,
        rows: &Self::Rows,
        all: &AllRows,
        pace: &mut Pace,
    ) -> Result<()> {
        self.host.evaluate(blocks, rows, all, pace)
    }

    fn learn_apart(
        &mut self,
        blocks: &mut Self::Blocks<Apart>,
        rows: (&Self::Rows, &[Batch]),
        how: &Learn,
        between: &mut dyn Between,
        pace: &mut Pace,
    ) -> Result<()> {
        let (meter, count) = (self.meter, rows.1.iter().map(|batch| batch.positions.len()).sum());
        let aside = &mut Aside { between, meter };
        let learned = meter.arithmetic(|| self.host.learn_apart(blocks, rows, how, aside, pace));
        meter.piece(count);
        learned
    }

    fn evaluate_apart(
        &mut self,
        blocks: &mut Self::Blocks<Apart>,
        rows: &Self::Rows,
        all: &AllRows,
        pace: &mut Pace,
    ) -> Result<()> {
        self.host.evaluate_apart(blocks, rows, all, pace)
    }

    fn sums(&mut self, blocks: &mut Self::Blocks<Apart>, index: usize) -> Result<Nodes> {
        self.host.sums(blocks, index)
    }

    fn advance(
        &mut self,
        blocks: &mut Self::Blocks<FullBatches>,
        rows: usize,
        l2: f64,
        offered: &Offered,
    ) -> Result<()> {
        self.host.advance(blocks, rows, l2, offered)
    }

    fn forget(&mut self, blocks: &mut Self::Blocks<FullBatches>) -> Result<()> {
        self.host.forget(blocks)
    }

    fn settle(&mut self, blocks: &mut Self::Blocks<FullBatches>) -> Result<()> {
        self.host.settle(blocks)
    }

    fn gradients(
        &mut self,
        blocks: &mut Self::Blocks<Joint>,
        rows: &Self::Rows,
        slopes: Option<&mut dyn Leaves>,
    ) -> Result<Vec<Vec<f64>>> {
        self.batch = rows.labels().rows();
        self.meter.arithmetic(|| self.host.gradients(blocks, rows, slopes))
    }

    fn squares(&self, blocks: &Self::Blocks<Joint>) -> Result<Vec<[f64; VARIABLES]>> {
        self.meter.arithmetic(|| self.host.squares(blocks))
    }

    fn step(&mut self, blocks: &mut Self::Blocks<Joint>, step: &JointStep) -> Result<()> {
        let stepped = self.meter.arithmetic(|| self.host.step(blocks, step));
        self.meter.piece(self.batch);
        stepped
    }
}
