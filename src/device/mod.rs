//! What a rank computes with (docs/devices.md).
//!
//! A device owns the storage that it computes on and is asked for whole windows, waves and visits,
//! so that it may go block by block, while a block is hot in a cache, or batch by batch with one
//! launch over all blocks: the bits are the same.
//!
//! Every number is what `definition.rs` of its operation says. A device never talks to other ranks.
//! Arithmetic doesn't fail, but a device may be lost or full (exit 9), and what reads for it gives
//! its own errors; ranks agree on them above. After an error a device does nothing more and gives
//! the same one again; so calls that only make something for later ones give none.

mod apart;
mod at_rest;
mod between;
mod class_block;
mod dropout;
mod full_batches;
pub mod gpu;
pub(crate) mod host;
pub(crate) mod host_arithmetic;
mod leaves;
mod mini_batches;
mod negatives;
mod pace;
mod pieces;
pub(crate) mod slices;
mod turns;

use std::sync::Arc;

pub use self::apart::Apart;
pub(crate) use self::at_rest::no_numbers;
pub use self::at_rest::{AtRest, Resting, Scores, Which};
pub use self::between::{Between, Part, Put, Turn, Vote};
pub use self::class_block::{ByEpoch, ClassBlock, Joint, JointStep, Solving, VARIABLES};
pub use self::dropout::Dropout;
pub use self::full_batches::FullBatches;
pub(crate) use self::full_batches::searches;
pub use self::host::Host;
pub use self::leaves::Leaves;
pub use self::mini_batches::{Learn, MiniBatches};
pub use self::negatives::Negatives;
pub use self::pace::Pace;
pub use self::pieces::{FrameReader, FramesAgain, Piece};
pub use self::slices::{AllRows, Batch, SlicePart, Slices, slice};
pub use self::turns::{Giving, Turns, take_turns};
use crate::error::Result;
use crate::labels::Labels;
use crate::metrics::TopList;
use crate::model::annotator::Annotator;
use crate::model::features::Features;
use crate::model::{Layout, Matrix};
use crate::optim::adam::Adam;
use crate::optim::{Offered, SharedState, Step};

/// A device. A call may return before the device is done with it, but calls take effect in their
/// order, and one that gives numbers back waits for them.
pub trait Device {
    /// The shared layers' weights, ready to run forward and back.
    type Network<'a>;
    /// The shared layers' weights and what their solver keeps of each, between full-batch steps, as
    /// far as they lie on the device: at first nothing does.
    type Steps: Default;
    /// Row blocks, or groups of a mini-batch, on their way through the shared layers: what the way
    /// back needs, labels, dL/dv so far and each one's loss so far.
    type Wave;
    /// Activations and labels of a window or a mini-batch, in order.
    type Rows;
    /// This rank's rows at rest, of which a device may keep what fits.
    type Rest<'a>;
    /// A class block that visits: frozen weights.
    type Visitor;
    /// This rank's own class blocks, which learn in the way S.
    type Blocks<S: Solving>;

    /// Pieces of rows that it works on at once: so many are read ahead.
    fn at_once(&self) -> usize;

    /// Bytes of a memory of its own that it may take, where it has one.
    fn own_memory(&self) -> Option<usize> {
        None
    }

    /// Divides that memory so from now on; nothing lies there.
    fn divide(&mut self, _: gpu::Bounds) {}

    // Shared layers: features x to activations v, and the way back.

    /// The shared layers of `model`, as they are now.
    fn network<'a>(&mut self, model: &'a Annotator) -> Self::Network<'a>;

    /// The same where full-batch steps are taken: weights that lie on the device needn't go there.
    fn network_of_steps<'a>(
        &mut self,
        model: &'a Annotator,
        _: &mut Self::Steps,
    ) -> Self::Network<'a> {
        self.network(model)
    }

    /// Activations `[rows][d]` of each piece of rows, in their order, with its labels to `take`.
    /// Each piece's features are let go once they have been used.
    ///
    /// # Errors
    /// The first of what `pieces` and `take` give; nothing is asked of either after it.
    fn activations(
        &mut self,
        network: &Self::Network<'_>,
        pieces: &mut dyn Iterator<Item = Result<(Features, Labels)>>,
        take: &mut dyn FnMut(Matrix, Labels) -> Result<()>,
    ) -> Result<()>;

    /// Takes rows to their activations, for visits and the way back: dL/dv and losses are 0.
    ///
    /// # Errors
    /// The first that `pieces` gives.
    fn forward(
        &mut self,
        network: &Self::Network<'_>,
        pieces: &mut dyn Iterator<Item = Result<Piece>>,
    ) -> Result<Self::Wave>;

    /// Appends the activations of all rows, [rows][stride of d] in order, to `to`.
    fn outputs(&mut self, wave: &Self::Wave, to: &mut Vec<f32>) -> Result<()>;

    /// Sets dL/dv of all rows, [rows][stride of d] in order, where it came from elsewhere.
    fn give_slopes(&mut self, wave: &mut Self::Wave, slopes: &[f32]) -> Result<()>;

    /// The loss so far of each row block or group, in order.
    fn losses(&mut self, wave: &Self::Wave) -> Result<Vec<f64>>;

    /// Gives the gradient of the shared layers, in `SharedLayers`' order of parameters, over each
    /// row block or group as a leaf, in order. Of frame networks it reads `frames` again.
    ///
    /// # Errors
    /// The first that `frames` and `leaves` give.
    fn backward(
        &mut self,
        network: &Self::Network<'_>,
        wave: Self::Wave,
        frames: &dyn FramesAgain,
        leaves: &mut dyn Leaves,
    ) -> Result<()>;

    /// One step by the gradient of some rows on the shared layers' weights, or some of them, which
    /// lie on the host.
    fn step_shared(
        &mut self,
        weights: &mut [f32],
        adam: &mut Adam,
        gradient: &[f32],
        step: Step,
    ) -> Result<()>;

    /// One step by loss and gradient over all rows on the shared layers' weights, which nobody else
    /// has changed since the network of these steps was made. What the solver keeps may be the
    /// device's from then on.
    fn advance_shared(
        &mut self,
        weights: &mut [f32],
        solver: (&mut SharedState, &mut Self::Steps),
        found: (f64, &[f32]),
        offered: &Offered,
    ) -> Result<()>;

    /// Brings the solver what the device keeps of it, until the next step.
    fn settle_shared(&mut self, _: &mut SharedState, _: &Self::Steps) -> Result<()> {
        Ok(())
    }

    // Frozen class blocks, which visit the rows.

    /// A class block of this layout and these weights.
    fn visitor(&mut self, layout: &Layout, weights: Arc<Vec<f32>>) -> Self::Visitor;

    /// Whether visitors of all these layouts may stay while each scores rows batch after batch.
    fn may_stay(&mut self, _layouts: &[Layout]) -> bool {
        true
    }

    /// Adds the visitor's part to dL/dv of all rows of the wave, continuing each number's chain,
    /// and to the losses: each class's over the rows of a row block in order, then over classes.
    fn visit(
        &mut self,
        visitor: &Self::Visitor,
        wave: &mut Self::Wave,
        pace: &mut Pace,
    ) -> Result<()>;

    /// These rows, for scores.
    fn rest<'a>(&mut self, rows: &'a dyn AtRest) -> Self::Rest<'a>;

    /// Scores of some rows for the visitor's classes.
    ///
    /// # Errors
    /// The first that reading the rows gives.
    fn scores(
        &mut self,
        visitor: &Self::Visitor,
        rest: &Self::Rest<'_>,
        which: Which,
        pace: &mut Pace,
    ) -> Result<Scores>;

    /// Offers those scores to the rows' lists, `[rows]`, all with room for as many pairs, or to
    /// lists that the device keeps until `give_best`; `first_class` is the visitor's. No loss is
    /// computed where a device can do without.
    ///
    /// # Errors
    /// The first that reading the rows gives; exit 7: scores that are no numbers.
    fn best(
        &mut self,
        (visitor, first_class): (&Self::Visitor, usize),
        rest: &Self::Rest<'_>,
        which: Which,
        lists: &mut [TopList],
        pace: &mut Pace,
    ) -> Result<()> {
        self.scores(visitor, rest, which, pace)?.offer(first_class, lists)
    }

    /// Offers to the lists what the device has kept of `best`: the same rows and lists at each of
    /// these calls. Where it has offered all there this does nothing.
    ///
    /// # Errors
    /// Exit 7: scores that are no numbers.
    fn give_best(&mut self, _rest: &Self::Rest<'_>, _lists: &mut [TopList]) -> Result<()> {
        Ok(())
    }

    // Own class blocks, which learn from rows that come by.

    /// The rows of a window or mini-batch, put in order. The memory of `before`, which is no longer
    /// needed, may be used again.
    fn bring(&mut self, arrived: Arrived, before: Option<Self::Rows>) -> Result<Self::Rows>;

    /// Takes class blocks to let them learn.
    fn hold<S: Solving>(&mut self, blocks: Vec<ClassBlock<S>>) -> Result<Self::Blocks<S>>;

    /// Calls `look` with one of the blocks as it is now.
    fn read<S: Solving>(
        &self,
        blocks: &Self::Blocks<S>,
        index: usize,
        look: &mut dyn FnMut(&ClassBlock<S>),
    ) -> Result<()>;

    /// Its weights. As long as they don't change and somebody holds them it is the same `Arc`, so
    /// that its holder can see that nothing has changed.
    fn weights<S: Solving>(&self, blocks: &Self::Blocks<S>, index: usize) -> Result<Arc<Vec<f32>>>;

    /// Lets `with` change its weights.
    fn change<S: Solving>(
        &mut self,
        blocks: &mut Self::Blocks<S>,
        index: usize,
        with: &mut dyn FnMut(&mut [f32]),
    ) -> Result<()>;

    /// The losses by class of each block: `ByEpoch::losses`.
    fn class_losses<S: ByEpoch>(&self, blocks: &Self::Blocks<S>) -> Result<Vec<Vec<f64>>>;

    /// Number of blocks that still learn.
    fn left<S: ByEpoch>(&self, blocks: &Self::Blocks<S>) -> Result<usize>;

    /// Ends the learning of classes of a block that have stopped: `ByEpoch::end`.
    fn end<S: ByEpoch>(
        &mut self,
        blocks: &mut Self::Blocks<S>,
        index: usize,
        stopped: &[bool],
    ) -> Result<()>;

    /// Takes every block that still learns through the mini-batches of a window that it hasn't
    /// seen: for each the gradient over its rows, slice by slice, the solver's step, the average's.
    /// May return in the middle where the run is to stop, with blocks at different mini-batches.
    fn learn(
        &mut self,
        blocks: &mut Self::Blocks<MiniBatches>,
        rows: &Self::Rows,
        how: &Learn,
        pace: &mut Pace,
    ) -> Result<()>;

    /// The same of blocks that several ranks have at once: turn by turn the sums of the own slices
    /// of these mini-batches, which go `between` ranks and come back as weights (`take_turns`).
    ///
    /// # Errors
    /// The device is full or lost; all turns are taken all the same, by zeros.
    fn learn_apart(
        &mut self,
        blocks: &mut Self::Blocks<Apart>,
        rows: (&Self::Rows, &[Batch]),
        how: &Learn,
        between: &mut dyn Between,
        pace: &mut Pace,
    ) -> Result<()>;

    /// Exchanges weights and their averages, where there are any. What `weights` gives, and what
    /// `change` and `end` work on, is what is in front; `learn` needs the weights there.
    fn swap_averages(&mut self, blocks: &mut Self::Blocks<MiniBatches>) -> Result<()>;

    /// Begins another epoch: `MiniBatches::end_epoch`.
    fn end_epoch(&mut self, blocks: &mut Self::Blocks<MiniBatches>, tolerance: f64) -> Result<()>;

    /// Continues every class's sums of losses and gradients with the rows of a window, in order: of
    /// each slice of all rows that pass a chain of its own. Where the run is to stop it may leave
    /// rows out; then the pass is to be forgotten.
    fn evaluate(
        &mut self,
        blocks: &mut Self::Blocks<FullBatches>,
        rows: &Self::Rows,
        all: &AllRows,
        pace: &mut Pace,
    ) -> Result<()>;

    /// The same of blocks that several ranks have at once, for slices whose rows are here.
    fn evaluate_apart(
        &mut self,
        blocks: &mut Self::Blocks<Apart>,
        rows: &Self::Rows,
        all: &AllRows,
        pace: &mut Pace,
    ) -> Result<()>;

    /// Lets `with` change what such a block has beside its weights.
    fn change_state(
        &mut self,
        blocks: &mut Self::Blocks<Apart>,
        index: usize,
        with: &mut dyn FnMut(&mut Apart),
    ) -> Result<()>;

    /// Takes what a pass has given such a block: the nodes of the own slices in order, of the
    /// gradient and of losses `[groups][16]`. Where the pass is forgotten they are of no use.
    fn sums(&mut self, blocks: &mut Self::Blocks<Apart>, index: usize) -> Result<Nodes>;

    /// Ends a pass over so many rows: each class's solver is given the mean loss, with `l2` / 2
    /// times the sum of its squared weights, and the gradient of that.
    fn advance(
        &mut self,
        blocks: &mut Self::Blocks<FullBatches>,
        rows: usize,
        l2: f64,
        offered: &Offered,
    ) -> Result<()>;

    /// Forgets the sums of a pass that was stopped.
    fn forget(&mut self, blocks: &mut Self::Blocks<FullBatches>) -> Result<()>;

    /// Puts every class at its last accepted point.
    fn settle(&mut self, blocks: &mut Self::Blocks<FullBatches>) -> Result<()>;

    /// The gradient of every block over a mini-batch, which stays with the block, and the block's
    /// part of dL/dv, [rows][stride of d] from 0, as a leaf where that is wanted. Gives each
    /// block's losses by class.
    ///
    /// # Errors
    /// What `slopes` gives.
    fn gradients(
        &mut self,
        blocks: &mut Self::Blocks<Joint>,
        rows: &Self::Rows,
        slopes: Option<&mut dyn Leaves>,
    ) -> Result<Vec<Vec<f64>>>;

    /// Squared norms of those gradients, by variable.
    fn squares(&self, blocks: &Self::Blocks<Joint>) -> Result<Vec<[f64; VARIABLES]>>;

    /// Adam's step of every block by its gradient.
    fn step(&mut self, blocks: &mut Self::Blocks<Joint>, step: &JointStep) -> Result<()>;
}

/// Sums of a class block over a run of slices: those of each node of the tree, gradients and
/// losses.
pub type Nodes = Vec<(Vec<f32>, Vec<f64>)>;

/// Rows of a window or a mini-batch that have come.
pub struct Arrived<'a> {
    /// Position of the first in its epoch.
    pub first: usize,
    pub rows: usize,
    /// Width d of the activations.
    pub width: usize,
    /// Puts activations, [rows][stride of d], and labels where the device wants them, whatever is
    /// there. Called once.
    pub put: &'a mut dyn FnMut(&mut [f32], &mut Labels),
}
