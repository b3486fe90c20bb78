//! The subcommands: for each its arguments and what it runs. The only folder that names `clap` or
//! writes to standard output.

mod annotate;
mod convert;
mod evaluate;
mod inspect;
mod synthesize;
mod train;

use clap::{Parser, Subcommand};

use crate::comm::Comm;
use crate::error::Result;

/// Trains video annotators too large for one machine.
#[derive(Debug, Parser)]
#[command(name = "reelscale", version)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Convert(convert::Args),
    Synthesize(synthesize::Args),
    Train(train::Args),
    Evaluate(evaluate::Args),
    Annotate(annotate::Args),
    Inspect(inspect::Args),
}

impl Command {
    /// Runs the command on this rank.
    pub fn run(self, comm: &Comm) -> Result<()> {
        match self {
            Command::Convert(args) => convert::run(comm, args),
            Command::Synthesize(args) => synthesize::run(comm, args),
            Command::Train(args) => train::run(comm, args),
            Command::Evaluate(args) => evaluate::run(comm, args),
            Command::Annotate(args) => annotate::run(comm, args),
            Command::Inspect(args) => inspect::run(comm, args),
        }
    }
}
