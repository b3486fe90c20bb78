//! Start, run one command, print one error line, exit with its code.

use std::process::ExitCode;

use clap::Parser;
use reelscale::comm::Comm;
use reelscale::commands::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command.run(&Comm::serial()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("reelscale: {error}");
            ExitCode::from(error.exit as u8)
        }
    }
}
