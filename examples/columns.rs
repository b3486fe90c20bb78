//! A column of MPI ranks takes turns, all of them or until one votes to stop, and each rank
//! compares what it then has with what one rank has, so that tests see it (tests/columns.rs):
//! `mpirun -n 3 columns`.

#[path = "../tests/common/columns.rs"]
mod model;

use std::process::ExitCode;

use model::{CASE, Case, check, on_rank};
use reelscale::internals::commands::{end_all_ranks_on_panic, exit_code, on_ranks};
use reelscale::internals::device::Vote;
use reelscale::{Comm, Result};

fn run(comm: &Comm) -> Result<()> {
    let ranks = comm.size();
    for (slices, blocks, parts) in [(ranks, 1, 3), (4 * ranks, 2, 2), (4 * ranks + 1, 3, 1)] {
        let case = Case { ranks, slices, blocks, parts, ..CASE };
        let turns = case.turns();
        for at in [turns.len(), 0, 1, turns.len() / 2] {
            let stops = |rank, turn| rank == 1 && turn >= at;
            let vote = |rank, turn| Ok(if stops(rank, turn) { Vote::Stops } else { Vote::GoOn });
            let found = on_rank(case, comm, vote, at as u64)?;
            assert_eq!(found.2.first(), turns.get(at), "the turn of the vote");
            check("processes", case, comm.rank(), &found, &turns[..at]);
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    end_all_ranks_on_panic();
    exit_code(Comm::mpi().and_then(|comm| on_ranks(comm, run)))
}
