//! Start, run one command, print one error line, exit with its code.

use std::process::ExitCode;

use clap::Parser;
use reelscale::comm::abort_all;
use reelscale::commands::Arguments;
use reelscale::error::Exit;

fn main() -> ExitCode {
    end_all_ranks_on_panic();
    let outcome = Arguments::parse().run();
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    eprintln!("reelscale: {error}");
    if !error.agreed {
        // Others may be waiting for this rank.
        abort_all(error.exit as i32);
    }
    ExitCode::from(error.exit as u8)
}

/// A rank that unwinds would wait in MPI_Finalize for others that wait for it.
fn end_all_ranks_on_panic() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        default(panic);
        abort_all(Exit::Bug as i32);
    }));
}
