//! Runs random schedules of exchanges on MPI ranks, or ends in the middle of one, so that tests can
//! see it (tests/exchanges.rs): `mpirun -n 3 exchanges FIRST LAST all|leaves|agreed|error|panic`.

#[path = "../tests/common/schedules.rs"]
mod schedules;

use std::process::ExitCode;

use reelscale::internals::commands::{end_all_ranks_on_panic, exit_code, on_ranks};
use reelscale::{Comm, Error, Result};

fn run(comm: &Comm, seeds: std::ops::Range<u64>, how: &str) -> Result<()> {
    for seed in seeds {
        schedules::run(comm, seed, how != "all")?;
    }
    // These stay open while this rank ends.
    let open: Vec<_> = (0..3).map(|_| comm.start_broadcast("x", 0, vec![1u8; 99_999])).collect();
    let chosen = comm.rank() == 1;
    let outcome = match how {
        "panic" if chosen => panic!("rank 1 panics"),
        "error" if chosen => return Err(Error::storage("a file: no space")),
        "agreed" if chosen => Err(Error::input("a file: no")),
        _ => Ok(()),
    };
    if comm.rank() == 0 {
        open.into_iter().for_each(|exchange| drop(exchange.wait()));
    } else {
        drop(open);
    }
    comm.agree(outcome)
}

fn main() -> ExitCode {
    end_all_ranks_on_panic();
    let arguments: Vec<String> = std::env::args().collect();
    let seed = |at: usize| arguments[at].parse().expect("a seed");
    let (seeds, how) = (seed(1)..seed(2), &arguments[3]);
    exit_code(Comm::mpi().and_then(|comm| on_ranks(comm, |comm| run(comm, seeds, how))))
}
