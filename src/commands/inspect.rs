//! `reelscale inspect`.

use crate::comm::Comm;
use crate::error::{Error, Exit, Result};

/// Shows what a shard, dataset or model holds
#[derive(Clone, Debug, clap::Args)]
pub struct Args {}

pub fn run(_comm: &Comm, _args: Args) -> Result<()> {
    Err(Error::new(Exit::Bug, "inspect: to be written"))
}
