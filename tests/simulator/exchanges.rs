//! Random schedules of exchanges (tests/common/schedules.rs) among the world's ranks, which go on
//! in turns that a seed decides, with a stop that comes at a random point of some.

#[path = "../common/schedules.rs"]
mod schedules;

use std::sync::Arc;

use reelscale::internals::commands::settled;

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
const POINTS: usize = 2000;

/// Runs one schedule.
///
/// # Errors
/// What must hold and doesn't.
pub fn run(seed: u64) -> Result<(), String> {
    let mut draws = Draws::new(seed, Purpose::Plan, 0);
    let ranks = 1 + draws.below(4);
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
    let folder = tempfile::tempdir().expect("a folder");
    let files = Files::new(folder.path());
    let expected = Arc::new(Expected::default());
    let held = Held::new(files, folder.path().join("run"), expected, Plant::Nothing);
    let world = World::new(seed, 0, &session, held, Trace::new(false));
    std::thread::scope(|scope| {
        for rank in 0..ranks {
            let world = world.clone();
            scope.spawn(move || one_rank(&world, rank, seed));
        }
        world.begin();
    });
    world.stops.iter().for_each(|stop| *stop.lock().expect("short") = None);
    let State { ending, meeting, trace, .. } = world.into_state();
    match ending {
        None => meeting.end().map_err(|text| text + &trace.tail()),
        Some(ending) => Err(format!("{ending:?}\n{}", trace.tail())),
    }
}

fn one_rank(world: &Arc<World>, rank: usize, seed: u64) {
    let comm = ranks::comm(world, rank);
    world.enter(rank);
    let exchange = || settled(&comm, |comm| schedules::run(comm, seed, seed.is_multiple_of(3)));
    if let Some(Err(error)) = world.unwound(rank, exchange) {
        world.end_as_failure(error.to_string());
    }
    drop(comm);
    world.leave(rank);
}
