//! Parts dealt by roll calls among the world's ranks, which go on in turns that a seed decides: all
//! of them are finished, each by one rank, unless one fails or is told to stop; then all end alike.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reelscale::internals::commands::settled;
use reelscale::internals::flow::dealing::{Dealing, Standing};
use reelscale::{Comm, Error, Exit, Result};

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
const POINTS: usize = 600;

/// What there is to do, the same on all ranks.
struct Work {
    /// Rows of each part.
    rows: Vec<u64>,
    /// A rank that fails after so many rows, if any.
    fails: Option<(usize, u64)>,
    /// Parts that were finished, by whomever.
    finished: Mutex<Vec<usize>>,
}

/// Runs one schedule; whether all parts were finished.
///
/// # Errors
/// What must hold and doesn't.
pub fn run(seed: u64) -> std::result::Result<bool, String> {
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
        events: if draws.happens(1, 3) { vec![stop] } else { Vec::new() },
        damaged: false,
    };
    let rows = (0..draws.below(12)).map(|_| 1 + draws.below(5) as u64).collect();
    let fails = draws.happens(1, 4).then(|| (draws.below(ranks), draws.below(9) as u64));
    let work = Arc::new(Work { rows, fails, finished: Mutex::default() });
    let folder = tempfile::tempdir().expect("a folder");
    let files = Files::new(folder.path());
    let expected = Arc::new(Expected::default());
    let held = Held::new(files, folder.path().join("run"), expected, Plant::Nothing);
    let world = World::new(seed, 0, &session, held, Trace::new(false));
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for rank in 0..ranks {
            let (world, work, outcomes) = (world.clone(), work.clone(), &outcomes);
            scope.spawn(move || one_rank(&world, rank, &work, outcomes));
        }
        world.begin();
    });
    world.stops.iter().for_each(|stop| *stop.lock().expect("short") = None);
    let State { ending, meeting, trace, .. } = world.into_state();
    if let Some(ending) = ending {
        return Err(format!("{ending:?}\n{}", trace.tail()));
    }
    meeting.end().map_err(|text| text + &trace.tail())?;
    let codes = outcomes.into_inner().expect("short");
    let mut finished = work.finished.lock().expect("short").clone();
    finished.sort_unstable();
    if codes.windows(2).any(|pair| pair[0] != pair[1]) {
        return Err(format!("ranks end with {codes:?}"));
    }
    if finished.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(format!("a part is done twice: {finished:?}"));
    }
    let all = finished.len() == work.rows.len();
    if codes[0] == 0 && !all {
        return Err(format!("found {finished:?} of {} parts", work.rows.len()));
    }
    Ok(all)
}

fn one_rank(world: &Arc<World>, rank: usize, work: &Work, outcomes: &Mutex<Vec<u8>>) {
    let comm = ranks::comm(world, rank);
    world.enter(rank);
    let deal = || {
        let mut code = 0;
        let settled = settled(&comm, |comm| {
            let outcome = comm.agree(parts(comm, work));
            code = outcome.err().map_or(0, |error| error.exit as u8);
            Ok(())
        });
        settled.map(|()| code)
    };
    match world.unwound(rank, deal) {
        Some(Ok(code)) => outcomes.lock().expect("short").push(code),
        Some(Err(error)) => world.end_as_failure(error.to_string()),
        None => {}
    }
    drop(comm);
    world.leave(rank);
}

/// Does the parts that fall to this rank, row after row.
fn parts(comm: &Comm, work: &Work) -> Result<()> {
    let mut dealing = Dealing::within(comm, work.rows.clone(), Duration::ZERO);
    let mut own = Standing { wanted: 3, ..Standing::default() };
    let (mut queue, mut done, mut failed) = (VecDeque::new(), 0, Ok(()));
    while !dealing.over() {
        if comm.stop_flag().load(std::sync::atomic::Ordering::Relaxed) && failed.is_ok() {
            failed = Err(Error::new(Exit::Stopped, "told to stop"));
        }
        if work.fails == Some((comm.rank(), own.rows)) && failed.is_ok() {
            failed = Err(Error::new(Exit::Storage, "the disk is full"));
        }
        own.leaves = failed.is_err();
        queue.extend(match own.leaves || queue.is_empty() {
            true => dealing.wait(own),
            false => dealing.poll(own),
        });
        let Some(part) = queue.front().filter(|_| !own.leaves) else { continue };
        (own.rows, done) = (own.rows + 1, done + 1);
        if done == work.rows[*part] {
            work.finished.lock().expect("short").push(*part);
            (own.finished, done) = (own.finished + 1, 0);
            queue.pop_front();
        }
    }
    failed
}
