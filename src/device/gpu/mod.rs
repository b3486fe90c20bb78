//! A GPU, or another device that takes the device text (kernel/text/), with the processor's bits.
//!
//! Class blocks, the shared layers, rows and frames on their way through them and sums of losses
//! lie on it. By what ranks have summed a kernel takes iRprop+'s steps of the shared layers, the
//! host Adam's.

pub(crate) mod best;
mod blocks;
mod bounds;
mod calls;
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
mod node_sums;
pub mod opencl;
mod part;
pub mod queue;
mod rows;
mod scores;
mod shuttle;
pub(crate) mod staging;
pub(crate) mod steps;
mod turns;
mod waiting;
mod wave;
pub(crate) mod window;

pub use self::bounds::Bounds;
pub(crate) use self::full_batches::ROWS as PASS_ROWS;
use self::queue::Queue;
pub(crate) use self::wave::ROOMS;
use super::host::{Host, Instructions};
use crate::error::{Error, Exit, Result};
use crate::progress::phase;

/// Bytes that the logits of a mini-batch may take; more of them gain nothing.
pub(crate) const LOGITS_BYTES: usize = 1 << 30;

/// Rows that a class block visits at once: its few hundred columns leave a GPU idle unless there
/// are tens of thousands.
pub(crate) const VISIT_ROWS: usize = 1 << 15;

/// Rows that the host has at once of those that class blocks visit or score, and frames that pass
/// the frame network at once.
pub(crate) const HOST_ROWS: usize = 8192;

/// What the host computes beside it when a model is trained, as log lines say it.
pub(crate) const STAYS_ON_HOST: &str = "Adam of the shared layers and searches of L-BFGS";

/// A device with the device text's kernels, and the host beside it.
pub struct Gpu {
    host: Host,
    queue: Queue,
    epsilon: f32,
    /// Rows that class blocks visit at once; of those that they score `HOST_ROWS` at most.
    run: usize,
    /// Frames that pass the frame network at once, unless one video has more. None: the host takes
    /// models of frames through their shared layers.
    tile: Option<usize>,
    room: Bounds,
    /// Of what rows at rest may take, bytes of class blocks that stay.
    staying: usize,
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
        let (run, tile, room) = (VISIT_ROWS, Some(HOST_ROWS), Bounds::default());
        Gpu { host, queue, epsilon, run, tile, room, staying: 0 }
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
        (self.room, self.staying) = (room, 0);
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
