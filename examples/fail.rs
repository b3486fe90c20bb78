//! Fails on MPI ranks in a chosen way, so that tests can see all ranks end (tests/faults.rs):
//! `mpirun -n 3 fail panic|error|agreed|segfault`.

use std::process::ExitCode;

use reelscale::internals::commands::{end_all_ranks_on_panic, exit_code, on_ranks};
use reelscale::{Comm, Error, Result};

fn fail(comm: &Comm, how: &str) -> Result<()> {
    let chosen = comm.rank() == 1;
    match how {
        "panic" if chosen => panic!("rank 1 panics"),
        "error" if chosen => return Err(Error::storage("a file: no space")),
        "agreed" => return comm.agree(Err(Error::input("a file: no"))),
        // SAFETY: none; the point is the fault.
        "segfault" if chosen => unsafe { std::ptr::null_mut::<u8>().write_volatile(1) },
        _ => {}
    }
    comm.barrier();
    Ok(())
}

fn main() -> ExitCode {
    end_all_ranks_on_panic();
    let how = std::env::args().nth(1).expect("how to fail");
    exit_code(Comm::mpi().and_then(|comm| on_ranks(comm, |comm| fail(comm, &how))))
}
