//! `reelscale synthesize`.

use crate::comm::Comm;
use crate::error::{Error, Exit, Result};

/// Makes shards of examples drawn from a planted model
#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn run(_comm: &Comm, _args: Args) -> Result<()> {
    Err(Error::new(Exit::Bug, "synthesize: to be written"))
}
