//! Exchanges that are under way, several at once (docs/exchanges.md), among thread ranks and among
//! MPI processes: random schedules, damage, errors and panics while some are open. Those of the
//! simulator are in tests/simulator.

mod common;

#[path = "common/schedules.rs"]
mod schedules;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::tapped::{Tap, run_tapped};
use common::{TestCommand, reelscale};
use reelscale::internals::comm::run_threads_limited;
use reelscale::{Comm, Error, Exit, run_threads};

#[test]
fn random_schedules_on_threads() {
    schedules::run(&Comm::serial(), 1, false).unwrap();
    for size in 1..=6 {
        for seed in 0..12 {
            // The shorter limit has messages of several calls each.
            let limit = if seed % 3 == 0 { 999 } else { i32::MAX as usize };
            run_threads_limited(size, limit, |comm| schedules::run(comm, seed, seed % 2 == 0))
                .unwrap_or_else(|error| panic!("{size} ranks, seed {seed}: {error}"));
        }
    }
}

fn exchanges(ranks: usize, seeds: Range<u64>, how: &str) -> TestCommand {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_reelscale"));
    let example = program.with_file_name("examples").join("exchanges");
    let arguments = format!("{} {} {how}", seeds.start, seeds.end);
    reelscale(&arguments).program(example).ranks(ranks).within(120)
}

#[test]
fn random_schedules_on_processes() {
    if common::without_mpi() {
        return;
    }
    for ranks in [2, 3, 4] {
        exchanges(ranks, 0..12, "all").stdout();
        exchanges(ranks, 12..18, "leaves").stdout();
    }
    // Short all-gathers in rounds, as among many ranks.
    for ranks in [2, 3, 5] {
        exchanges(ranks, 18..24, "all").env("REELSCALE_MANY_RANKS", "2").stdout();
    }
    assert!(exchanges(3, 0..1, "agreed").fails_with(4).contains("a file: no"));
    assert!(exchanges(3, 0..1, "error").fails_with(5).contains("a file: no space"));
    assert_eq!(exchanges(3, 0..1, "panic").output().status.code(), Some(Exit::Bug as i32));
}

#[test]
fn a_rank_that_fails_ends_those_that_wait_or_poll() {
    for way in ["error", "panic"] {
        let outcome = run_threads(3, |comm| {
            let mut open: Vec<_> =
                (0..3).map(|root| comm.start_broadcast("x", root, vec![root as u8; 99])).collect();
            if comm.rank() == 2 {
                assert!(way == "error", "on purpose");
                return Err(Error::input("no"));
            }
            let last = open.pop().unwrap().wait();
            assert_eq!(last, [2; 99], "all have started it");
            let mut never = comm.start_broadcast("x", 0, vec![0u8; 9]);
            if comm.rank() == 0 {
                while !never.poll() {}
            }
            drop(never.wait());
            Ok(())
        });
        let expected = if way == "error" { Exit::Input } else { Exit::Bug };
        assert_eq!(outcome.unwrap_err().exit, expected);
    }
}

#[test]
fn ranks_that_start_different_exchanges_are_told() {
    let outcome = run_threads(3, |comm| {
        let root = usize::from(comm.rank() == 1);
        drop(comm.start_broadcast("x", root, vec![0u8; 9]).wait());
        Ok(())
    });
    let error = outcome.unwrap_err();
    assert!(error.exit == Exit::Bug && error.text.contains("where another one started"), "{error}");
}

/// Flips a bit of the next thing that arrives on rank 1, once armed.
#[derive(Default)]
struct Flip(AtomicBool);

impl Tap for Flip {
    fn after(&self, rank: usize, arrived: &mut [u8], parts: &[(usize, Range<usize>)]) {
        if rank == 1 && !parts.is_empty() && self.0.swap(false, Ordering::SeqCst) {
            arrived[parts[0].1.start] ^= 4;
        }
    }
}

/// Damage is found when an exchange is waited for, and by nobody where it is dropped.
#[test]
fn damage_is_kept_until_ranks_agree() {
    let tap = Arc::new(Flip::default());
    let outcome = run_tapped(3, tap.clone(), |comm| {
        let start = || {
            let one = comm.start_broadcast("block 7", 0, vec![5u32; 40]);
            (one, comm.start_all_gather_v("scores", vec![1.5f32; 3], &[3; 3]))
        };
        let (one, other) = start();
        comm.barrier();
        if comm.rank() == 1 {
            tap.0.store(true, Ordering::SeqCst);
        }
        comm.barrier();
        // The later one is waited for first: it alone is damaged.
        let (other, one) = (other.wait(), one.wait());
        let whole = if comm.rank() == 1 { [0.0, 0.0, 0.0] } else { [1.5; 3] };
        assert_eq!((&one[..], &other[..3]), (&[5; 40][..], &whole[..]));
        let error = comm.agree(Ok(())).unwrap_err();
        assert!(error.agreed && error.exit == Exit::Peer && error.rank == Some(1), "{error}");
        assert!(error.text.contains("scores: arrived damaged on rank 1"), "{error}");
        // Nobody has looked at what is dropped.
        drop(start());
        comm.agree(Ok(()))
    });
    outcome.unwrap();
}

#[test]
fn a_group_counts_its_own_and_its_error_is_for_all_to_agree_on() {
    let outcome = run_threads(4, |comm| {
        let pair = comm.split(comm.rank() as u64 / 2, 9 - comm.rank() as u64);
        assert_eq!((pair.size(), pair.rank()), (2, 1 - comm.rank() % 2));
        let before = comm.traffic();
        pair.all_gather(&[0u8; 12]);
        let (own, all) = (pair.traffic(), comm.traffic());
        assert_eq!((own.messages, own.bytes_sent, own.bytes_received), (1, 16, 16));
        assert_eq!(all.messages, before.messages + 1);
        assert_eq!(all.bytes_sent, before.bytes_sent + 16);
        let outcome = if comm.rank() == 3 { Err(Error::input("no")) } else { Ok(()) };
        let outcome = pair.agree(outcome);
        assert_eq!(outcome.is_err(), comm.rank() >= 2);
        let error = outcome.err().inspect(|error| assert!(!error.agreed && error.rank == Some(3)));
        let error = comm.agree(error.map_or(Ok(()), Err)).unwrap_err();
        assert!(error.agreed && error.exit == Exit::Input, "{error}");
        Ok(())
    });
    outcome.unwrap();
}
