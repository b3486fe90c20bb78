//! `reelscale convert`.

use crate::comm::Comm;
use crate::error::{Error, Exit, Result};

/// Makes shards of records in other formats
#[derive(Clone, Debug, clap::Args)]
pub struct Args {}

pub fn run(_comm: &Comm, _args: Args) -> Result<()> {
    Err(Error::new(Exit::Bug, "convert: to be written"))
}
