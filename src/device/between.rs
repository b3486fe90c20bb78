//! What stands between the gradient of a mini-batch and the step.

use std::ops::Range;

use super::Pace;
use crate::error::Result;

/// A class block at a mini-batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// The block, counted from this rank's first.
    pub block: usize,
    /// The rows of the mini-batch, counted from the window's first.
    pub rows: Range<usize>,
}

/// What stands between the gradient of a mini-batch and the step: an exchange with other ranks that
/// have the same class blocks, say. It is asked on the calling thread, mini-batch after mini-batch
/// and in each block after block, less those that have converged or seen the mini-batch; one turn
/// may be given before the turn before it has been asked for.
pub trait Between {
    /// Takes the gradient of a turn over the rows here, zeros where there are none, and whether
    /// this rank is to stop.
    fn give(&mut self, turn: &Turn, gradient: Vec<f32>, stopped: bool) -> Result<()>;

    /// The gradient that the block of a turn steps by. None where the ranks stop here: it takes no
    /// step then, and no further turn begins.
    fn summed(&mut self, turn: &Turn, pace: &mut Pace) -> Result<Option<Vec<f32>>>;
}
