//! `reelscale evaluate`.

use crate::comm::Comm;
use crate::error::{Error, Exit, Result};

/// Measures a model or a file of predictions
#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn run(_comm: &Comm, _args: Args) -> Result<()> {
    Err(Error::new(Exit::Bug, "evaluate: to be written"))
}
