//! A GPU, or another device that takes the device text (kernel/text/), with the processor's bits.
//!
//! Class blocks, the shared layers, rows and frames on their way through them and sums of losses
//! lie on it. The host steps the shared layers by what ranks have summed.

mod blocks;
mod bounds;
mod chains;
mod check;
pub(crate) mod choice;
pub mod cuda;
pub(crate) mod cut;
pub(crate) mod fetch;
pub(crate) mod frames;
pub(crate) mod frozen;
mod full_batches;
pub(crate) mod held;
mod in_turn;
mod joint;
pub(crate) mod lanes;
pub mod launcher;
mod layers;
mod learn;
pub(crate) mod look;
mod luggage;
pub(crate) mod mixture;
mod network;
pub mod opencl;
mod part;
pub mod queue;
mod rows;
mod scores;
mod shuttle;
pub(crate) mod staging;
mod turns;
mod waiting;
mod wave;
pub(crate) mod window;

use std::sync::Arc;

pub(crate) use self::blocks::Blocks;
pub use self::bounds::Bounds;
pub(crate) use self::full_batches::ROWS as PASS_ROWS;
pub(crate) use self::network::Network;
use self::queue::Queue;
pub(crate) use self::rows::Rows;
pub(crate) use self::scores::Rest;
pub(crate) use self::wave::{Visitor, Wave};
use super::host::{Host, Instructions};
use super::{
    AllRows, Arrived, AtRest, Between, ByEpoch, ClassBlock, Device, FramesAgain, FullBatches,
    Joint, JointStep, Learn, Leaves, MiniBatches, Pace, Piece, Scores, Solving, VARIABLES, Which,
};
use crate::error::{Error, Exit, Result};
use crate::labels::Labels;
use crate::model::annotator::Annotator;
use crate::model::features::Features;
use crate::model::{Layout, Matrix};
use crate::optim::adam::Adam;
use crate::optim::{Offered, SharedState, Step};
use crate::progress::phase;

/// Bytes that the logits of a mini-batch may take; more of them gain nothing.
pub(crate) const LOGITS_BYTES: usize = 1 << 30;

/// Rows that a class block visits or scores at once, and frames of a tile; fewer than about 2,000
/// leave a GPU idle.
pub(crate) const VISIT_ROWS: usize = 8192;

/// What the host computes beside it when a model is trained, as log lines say it.
pub(crate) const STAYS_ON_HOST: &str = "the shared layers' solvers and searches of L-BFGS";

/// A device with the device text's kernels, and the host beside it.
pub struct Gpu {
    host: Host,
    queue: Queue,
    epsilon: f32,
    /// Rows that class blocks visit or score at once.
    run: usize,
    /// Frames that pass the frame network at once, unless one video has more. None: the host takes
    /// models of frames through their shared layers.
    tile: Option<usize>,
    room: Bounds,
}

/// What an error of a device is to a run.
fn failure(queue: &Queue) -> impl Fn(String) -> Error + use<> {
    let queue = queue.clone();
    move |text| {
        // Since then some may have gone back.
        let held = queue.held_at_last();
        let (device, phase) = (queue.describe(), phase());
        let text = format!("{device}: {text}; it held {held} bytes ({phase})");
        Error::new(Exit::Resources, text)
    }
}

impl Gpu {
    /// `epsilon` is eps of the loss.
    pub fn new(host: Host, queue: Queue, epsilon: f32) -> Gpu {
        let (run, tile, room) = (VISIT_ROWS, Some(VISIT_ROWS), Bounds::default());
        Gpu { host, queue, epsilon, run, tile, room }
    }

    /// The same where class blocks visit and score other runs of rows, and other runs of frames
    /// pass: tests have few rows.
    #[doc(hidden)]
    pub fn in_runs_of(self, run: usize) -> Gpu {
        Gpu { run, tile: Some(run), ..self }
    }

    /// The same where the host takes models of frames through their shared layers, as it does where
    /// a pooling has no kernels.
    #[doc(hidden)]
    pub fn frames_on_host(self) -> Gpu {
        Gpu { tile: None, ..self }
    }

    /// The same where own class blocks have so many bytes of it.
    #[doc(hidden)]
    pub fn with_class_blocks_in(mut self, bytes: usize) -> Gpu {
        self.room.blocks_bytes = bytes;
        self
    }

    /// From now on its memory is divided so.
    pub fn keep_to(&mut self, room: Bounds) {
        self.room = room;
    }

    /// The host beside it, which gives the device back.
    pub(crate) fn into_host(self) -> Host {
        self.host
    }

    /// The instructions of the host beside it.
    pub(crate) fn instructions(&self) -> Instructions {
        self.host.instructions()
    }

    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// What the device gave, as an error of the run.
    fn told<T>(&self, outcome: std::result::Result<T, String>) -> Result<T> {
        outcome.map_err(failure(&self.queue))
    }

    /// The host, unless the device is lost: a lost one does nothing more.
    fn host(&mut self) -> Result<&mut Host> {
        self.told(self.queue.alive())?;
        Ok(&mut self.host)
    }
}

impl Device for Gpu {
    type Network<'a> = Network<'a>;
    type Wave = Wave;
    type Rows = Rows;
    type Rest<'a> = Rest<'a>;
    type Visitor = Visitor;
    type Blocks<S: Solving> = Blocks<S>;

    fn at_once(&self) -> usize {
        self.host.at_once()
    }

    fn network<'a>(&mut self, model: &'a Annotator) -> Network<'a> {
        Network::new(&self.queue, model, self.tile)
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
        solver: &mut SharedState,
        found: (f64, &[f32]),
        offered: &Offered,
    ) -> Result<()> {
        self.host()?.advance_shared(weights, solver, found, offered)
    }

    fn visitor(&mut self, layout: &Layout, weights: Arc<Vec<f32>>) -> Visitor {
        let room = (&self.queue, self.room.logits_bytes);
        Visitor::new(room, layout, self.epsilon, &weights)
    }

    fn visit(&mut self, visitor: &Visitor, wave: &mut Wave, pace: &mut Pace) -> Result<()> {
        self.told(wave.visit(&self.queue, self.run, visitor, pace))
    }

    fn rest<'a>(&mut self, rows: &'a dyn AtRest) -> Rest<'a> {
        Rest::new(rows, (self.run, self.room.rest_bytes))
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
        between: Option<&mut dyn Between>,
        pace: &mut Pace,
    ) -> Result<()> {
        match between {
            Some(between) => {
                self.told(self.queue.alive())?;
                blocks.learn_in_turns(rows, how, between, pace)
            }
            None => self.told(self.queue.alive().and_then(|()| blocks.learn(rows, how, pace))),
        }
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
