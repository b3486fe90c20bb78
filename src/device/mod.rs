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

mod dropout;
pub mod host;
pub mod numbers;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

pub use self::dropout::Dropout;
pub use self::host::Host;
use crate::error::Result;
use crate::kernel::mixture::{Kernel, Passing};
use crate::labels::Labels;
use crate::model::annotator::Annotator;
use crate::model::features::Features;
use crate::model::{Layout, Matrix};
use crate::optim::Step;
use crate::optim::adam::Adam;

/// A device. A call may return before the device is done with it, but calls take effect in their
/// order, and one that gives numbers back waits for them.
pub trait Device {
    /// The shared layers' weights, ready to run forward and back.
    type Network<'a>;
    /// Row blocks, or groups of a mini-batch, on their way through the shared layers: what the way
    /// back needs, labels, dL/dv so far and each one's loss so far.
    type Wave;
    /// Activations and labels of a window or a mini-batch, in order.
    type Rows;
    /// This rank's rows at rest, of which a device may keep what fits.
    type Rest<'a>;
    /// A class block that visits: frozen weights.
    type Visitor;

    /// Pieces of rows that it works on at once: so many are read ahead.
    fn at_once(&self) -> usize;

    // Shared layers: features x to activations v, and the way back.

    /// The shared layers of `model`, as they are now.
    fn network<'a>(&mut self, model: &'a Annotator) -> Self::Network<'a>;

    /// Activations [rows][d] of each piece of rows, in their order, with its labels to `take`. Each
    /// piece's features are let go once they have been used.
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

    /// One step of Adam on the shared layers' weights, which lie on the host.
    fn step_shared(
        &mut self,
        weights: &mut [f32],
        adam: &mut Adam,
        gradient: &[f32],
        step: Step,
    ) -> Result<()>;

    // Frozen class blocks, which visit the rows.

    /// A class block of this layout and these weights.
    fn visitor(&mut self, layout: &Layout, weights: Arc<Vec<f32>>) -> Self::Visitor;

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

    // Own class blocks, which learn from rows that come by.

    /// The rows of a window or mini-batch, put in order. The memory of `before`, which is no longer
    /// needed, may be used again.
    fn bring(&mut self, arrived: Arrived, before: Option<Self::Rows>) -> Result<Self::Rows>;

    /// Until own class blocks are the device's, training works on the host's kernels and rows.
    fn kernels(&mut self) -> &mut [Kernel];

    /// The same.
    fn passing<'a>(rows: &'a Self::Rows) -> Passing<'a>;
}

/// Consecutive rows on their way through the shared layers.
pub struct Piece {
    pub features: Features,
    /// None where no visit follows.
    pub labels: Labels,
    /// Whether it is the last one of its row block or group.
    pub last: bool,
}

/// Where gradients of row blocks or groups go, in their order, on the calling thread.
pub trait Leaves {
    /// Memory for the next one, holding anything.
    ///
    /// # Errors
    /// No more are wanted: the run is to stop, say.
    fn room(&mut self) -> Result<Vec<f32>>;

    /// Takes the next one. There may be as many rooms open as the device likes.
    fn add(&mut self, leaf: Vec<f32>);
}

/// Reads the frames of a wave's rows once more.
pub trait FramesAgain {
    /// For one thread: what reads piece `piece` of row block or group `index` of the wave, in
    /// rising order of both.
    fn reader(&self) -> FrameReader<'_>;
}

/// What `FramesAgain::reader` gives.
pub type FrameReader<'a> = Box<dyn FnMut(usize, usize) -> Result<Cow<'a, Features>> + Send + 'a>;

/// Rows of this rank at rest, in memory or in a file, counted from its first. Any thread reads
/// them.
pub trait AtRest: Sync {
    fn labels(&self) -> &Labels;

    /// Consecutive rows.
    ///
    /// # Errors
    /// The file can't be read, or is damaged.
    fn run(&self, rows: Range<usize>) -> Result<Resting<'_>>;

    /// Single rows.
    ///
    /// # Errors
    /// The file can't be read, or is damaged.
    fn gathered(&self, rows: &[usize]) -> Result<Resting<'_>>;
}

/// Rows that were at rest: `rows` of `activations` [..][d] and `labels`.
pub struct Resting<'a> {
    pub activations: Cow<'a, Matrix>,
    pub labels: Cow<'a, Labels>,
    pub rows: Range<usize>,
}

/// Some of the rows at rest.
#[derive(Clone, Copy)]
pub enum Which<'a> {
    /// From the first to before the second.
    Run(usize, usize),
    /// Single ones, in this order.
    Single(&'a [usize]),
}

/// What a visitor makes of rows.
#[derive(Default)]
pub struct Scores {
    /// p [rows][classes of the visitor].
    pub scores: Vec<f32>,
    /// Loss of each row over those classes.
    pub losses: Vec<f64>,
}

/// Rows of a window or a mini-batch as they came, rank by rank.
pub struct Arrived<'a> {
    /// Position of the first in its epoch.
    pub first: usize,
    /// Width d of the activations.
    pub width: usize,
    /// Everybody's numbers.
    pub numbers: &'a [f32],
    /// Where the stride of d numbers of each row begin, in the order that the rows are to have.
    pub from: &'a [usize],
    pub labels: Labels,
    /// What is left out of each row, if anything, and the number that each is drawn by.
    pub dropout: Option<(Dropout, &'a [usize])>,
}

/// How a device lets others live while it works.
pub struct Pace<'a> {
    poll: &'a mut dyn FnMut(),
    stopped: &'a (dyn Fn() -> bool + Sync),
}

impl<'a> Pace<'a> {
    /// `poll` is called on the calling thread between pieces of work and while others are waited
    /// for; `stopped` on any thread, and once it is true it stays so.
    pub fn new(poll: &'a mut dyn FnMut(), stopped: &'a (dyn Fn() -> bool + Sync)) -> Pace<'a> {
        Pace { poll, stopped }
    }

    /// Has messages under way move on.
    pub fn poll(&mut self) {
        (self.poll)();
    }

    /// Whether the run is to stop.
    pub fn stopped(&self) -> bool {
        (self.stopped)()
    }
}

impl Which<'_> {
    pub fn rows(&self) -> usize {
        match self {
            Which::Run(from, to) => to - from,
            Which::Single(rows) => rows.len(),
        }
    }
}
