//! `reelscale train`.

use crate::comm::Comm;
use crate::error::{Error, Exit, Result};

/// Trains a model as a job file says
#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn run(_comm: &Comm, _args: Args) -> Result<()> {
    Err(Error::new(Exit::Bug, "train: to be written"))
}
