//! Start, run one command, print one error line, exit with its code.

#![deny(clippy::undocumented_unsafe_blocks)]

use std::process::ExitCode;

use reelscale::internals::commands::read_shards_by_this_program;
use reelscale::internals::commands::{Allocator, Arguments, end_all_ranks_on_panic, exit_code};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> ExitCode {
    // SAFETY: nothing has started a thread yet.
    unsafe { reelscale::internals::data::without_file_locks() };
    end_all_ranks_on_panic();
    read_shards_by_this_program();
    match Arguments::of_process() {
        Ok(arguments) => exit_code(arguments.run()),
        Err(code) => code,
    }
}
