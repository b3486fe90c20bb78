//! Runs random schedules of exchanges on MPI ranks, or ends in the middle of one, so that tests can
//! see it (tests/exchanges.rs): `mpirun -n 3 exchanges FIRST LAST all|leaves|agreed|error|panic`.

#[path = "../tests/common/schedules.rs"]
mod schedules;

use std::process::ExitCode;

use reelscale::internals::commands::{end_all_ranks_on_panic, exit_code, on_ranks};
use reelscale::{Comm, Error, Result};

/// Broadcasts that just aren't and just are chains of segments, of whole segments, and of as many
/// segments as there may be: from every rank, all under way at once, waited for in any order.
fn chains(comm: &Comm) {
    let lengths = [(1 << 17) - 4, (1 << 17) - 3, (3 << 16) - 4, (1 << 24) + 9];
    let cases: Vec<(usize, usize)> =
        lengths.iter().flat_map(|length| (0..comm.size()).map(|root| (*length, root))).collect();
    let sent = |length, root| (0..length).map(|at| ((at + 17 * root) % 251) as u8).collect();
    let start = |(length, root): &(usize, usize)| {
        let own = comm.rank() == *root;
        let data: Vec<u8> = if own { sent(*length, *root) } else { vec![0; *length] };
        comm.start_broadcast("numbers", *root, data)
    };
    let mut open: Vec<_> = cases.iter().map(|case| (*case, start(case))).collect();
    if comm.rank() % 2 == 1 {
        open.reverse();
    }
    for ((length, root), exchange) in open {
        assert!(exchange.wait() == sent(length, root), "{length} bytes from rank {root}");
    }
}

/// All-gathers that just are and just aren't so short that they may go in rounds, all under way at
/// once with others, waited for in any order.
fn short(comm: &Comm) {
    let lengths = [0, 1, 8, 1000, (1 << 16) / comm.size() - 4, (1 << 16) / comm.size() - 3];
    let sent = |length, rank| (0..length).map(move |at| ((7 * at + 17 * rank) % 251) as u8);
    let start = |length: &usize| {
        let own: Vec<u8> = sent(*length, comm.rank()).collect();
        comm.start_all_gather_v("numbers", own, &vec![*length; comm.size()])
    };
    let mut open: Vec<_> = lengths.iter().map(|length| (*length, start(length))).collect();
    if comm.rank() % 2 == 1 {
        open.reverse();
    }
    for (length, exchange) in open {
        let expected: Vec<u8> = (0..comm.size()).flat_map(|rank| sent(length, rank)).collect();
        assert!(exchange.wait() == expected, "{length} bytes of each rank");
    }
}

fn run(comm: &Comm, seeds: std::ops::Range<u64>, how: &str) -> Result<()> {
    if how == "all" {
        chains(comm);
        short(comm);
    }
    for seed in seeds {
        schedules::run(comm, seed, how != "all")?;
    }
    // These stay open while this rank ends.
    let open: Vec<_> = (0..3).map(|_| comm.start_broadcast("x", 0, vec![1u8; 999_999])).collect();
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
