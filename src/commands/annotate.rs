//! `reelscale annotate`.

use crate::comm::Comm;
use crate::error::{Error, Exit, Result};

/// Writes each video's best classes
#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn run(_comm: &Comm, _args: Args) -> Result<()> {
    Err(Error::new(Exit::Bug, "annotate: to be written"))
}
