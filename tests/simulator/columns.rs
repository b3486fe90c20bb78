//! Columns of ranks (tests/common/columns.rs) among the world's ranks, which go on in turns that a
//! seed decides, so that exchanges are complete at polls in any order; a stop comes at a random
//! point of some: all leave at the same turn, with the weights of one rank that took as many.

#[path = "../common/columns.rs"]
mod model;

use std::sync::{Arc, Mutex};

use model::{CASE, Case, Found, check, on_rank};
use reelscale::Exit;
use reelscale::internals::commands::settled;
use reelscale::internals::device::Vote;
use reelscale::internals::optim::MiniBatchSolver;

use super::draws::{Draws, Purpose};
use super::expected::Expected;
use super::files::Files;
use super::held::Held;
use super::plan::{Session, What, When};
use super::plant::Plant;
use super::ranks;
use super::state::State;
use super::trace::Trace;
use super::world::World;

/// Points of the longest schedules, about.
const POINTS: usize = 1500;

/// Runs one schedule; whether all turns took their step. Where a rank `leaves_alone`, one that is
/// told to stop takes that for everybody's vote.
///
/// # Errors
/// What must hold and doesn't.
pub fn run(seed: u64, leaves_alone: bool) -> Result<bool, String> {
    let mut draws = Draws::new(seed, Purpose::Plan, 0);
    let ranks = 2 + draws.below(3);
    let stop = (When::Point(draws.below(POINTS) as u64), What::Stop(draws.below(ranks)));
    let session = Session {
        ranks,
        grid: None,
        shares: None,
        learners: ranks,
        every: 0,
        minutes: 0.0,
        stays: [0, 50, 95][draws.below(3)],
        slow: draws.happens(1, 3).then(|| draws.below(ranks)),
        pace: 0.01,
        events: if draws.happens(1, 2) { vec![stop] } else { Vec::new() },
        damaged: false,
    };
    let solver = draws.one_of(&[MiniBatchSolver::Adagrad, MiniBatchSolver::Adam]);
    let slices = ranks + draws.below(9);
    let (blocks, parts) = (1 + draws.below(3), 1 + draws.below(3));
    let case = Case { ranks, slices, blocks, parts, solver, ..CASE };
    let folder = tempfile::tempdir().expect("a folder");
    let files = Files::new(folder.path());
    let expected = Arc::new(Expected::default());
    let held = Held::new(files, folder.path().join("run"), expected, Plant::Nothing);
    let world = World::new(seed, 0, &session, held, Trace::new(false));
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for rank in 0..ranks {
            let (world, outcomes) = (world.clone(), &outcomes);
            let how = (case, seed, leaves_alone);
            scope.spawn(move || one_rank(&world, rank, how, outcomes));
        }
        world.begin();
    });
    world.stops.iter().for_each(|stop| *stop.lock().expect("short") = None);
    let State { ending, meeting, trace, .. } = world.into_state();
    if let Some(ending) = ending {
        return Err(format!("{ending:?}\n{}", trace.tail()));
    }
    meeting.end().map_err(|text| text + &trace.tail())?;
    let mut outcomes = outcomes.into_inner().expect("short");
    outcomes.sort_by_key(|outcome| outcome.0);
    let found: Vec<Found> = outcomes.into_iter().map(|outcome| outcome.1).collect();
    let left = found[0].2.clone();
    if found.len() != ranks || found.iter().any(|rank| rank.2 != left) {
        return Err(format!("ranks leave at other turns: {case:?}"));
    }
    let (turns, all) = (case.turns(), left.is_empty());
    let at = left.first().map_or(turns.len(), |first| {
        turns.iter().position(|turn| turn == first).expect("a turn of the case")
    });
    for (rank, found) in found.iter().enumerate() {
        check("a world", case, rank, found, &turns[..at]);
    }
    Ok(all)
}

fn one_rank(
    world: &Arc<World>,
    rank: usize,
    (case, seed, leaves_alone): (Case, u64, bool),
    outcomes: &Mutex<Vec<(usize, Found)>>,
) {
    let comm = ranks::comm(world, rank);
    world.enter(rank);
    let take = || {
        settled(&comm, |comm| {
            let asked = || comm.stop_flag().load(std::sync::atomic::Ordering::Relaxed);
            let vote = |_, _| match asked() {
                true if leaves_alone => Err(reelscale::Error::new(Exit::Stopped, "told to stop")),
                true => Ok(Vote::Stops),
                false => Ok(Vote::GoOn),
            };
            let found = comm.agree(on_rank(case, comm, vote, seed))?;
            outcomes.lock().expect("short").push((rank, found));
            Ok(())
        })
    };
    if let Some(Err(error)) = world.unwound(rank, take) {
        world.end_as_failure(error.to_string());
    }
    drop(comm);
    world.leave(rank);
}
