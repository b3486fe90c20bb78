//! Rows on their way through the shared layers, as they are read.

use std::borrow::Cow;

use crate::error::Result;
use crate::labels::Labels;
use crate::model::features::Features;

/// Consecutive rows on their way through the shared layers.
pub struct Piece {
    pub features: Features,
    /// None where no visit follows.
    pub labels: Labels,
    /// Whether it is the last one of its row block or group.
    pub last: bool,
}

/// Reads the frames of a wave's rows once more.
pub trait FramesAgain {
    /// For one thread: what reads piece `piece` of row block or group `index` of the wave, in
    /// rising order of both.
    fn reader(&self) -> FrameReader<'_>;
}

/// What `FramesAgain::reader` gives.
pub type FrameReader<'a> = Box<dyn FnMut(usize, usize) -> Result<Cow<'a, Features>> + Send + 'a>;
