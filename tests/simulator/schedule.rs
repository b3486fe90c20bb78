//! One schedule: the starts of one run, what befalls them, and what must hold after each.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use reelscale::internals::clock::Clock;
use reelscale::internals::commands::train::{Args, Surroundings, run_in};
use reelscale::internals::commands::{Progress, settled};
use reelscale::internals::disk::Disk;
use reelscale::{Error, Exit};

use super::counts::Counts;
use super::draws::{Draws, Purpose};
use super::expected::{Expected, Jobs, found};
use super::files::{Files, Survives};
use super::held::Held;
use super::hooks;
use super::plan::{Plan, Session, Size};
use super::plant::Plant;
use super::ranks;
use super::state::{Ending, State};
use super::trace::Trace;
use super::tree::{real_tree, write_tree};
use super::world::World;

/// Collectives that a rank may make after it was told to stop.
const UNTIL_STOP_MAX: u64 = 200;

/// What a schedule came to, and what it counts for.
#[derive(Debug, Default)]
pub struct Told {
    pub found: Option<Expected>,
    pub size: Size,
    pub digest: u64,
    pub counts: Counts,
}

/// What must hold and doesn't.
#[derive(Debug)]
pub struct Failure {
    pub seed: u64,
    pub start: usize,
    pub text: String,
    pub plan: Plan,
    pub tail: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(f, "seed {}, start {}: {}", self.seed, self.start, self.text)?;
        for (number, session) in self.plan.sessions.iter().enumerate() {
            writeln!(f, "  start {number}: {session:?}")?;
        }
        write!(f, "{}  make simulate SEED={} shows all", self.tail, self.seed)
    }
}

/// A schedule under way.
struct Schedule<'a> {
    jobs: &'a Jobs,
    seed: u64,
    plan: &'a Plan,
    root: PathBuf,
    output: PathBuf,
    counts: Counts,
}

/// Runs one schedule.
///
/// # Errors
/// What must hold and doesn't.
pub fn run(
    jobs: &Jobs,
    seed: u64,
    plan: &Plan,
    plant: Plant,
    aloud: bool,
) -> Result<Told, Failure> {
    let began = Instant::now();
    let root = jobs.scratch.path().join("run");
    if root.exists() {
        fs::remove_dir_all(&root).expect("left by the schedule before");
    }
    fs::create_dir(&root).expect("a folder in memory");
    // Folders above that the program has to make.
    let output = root.join("of/many/run");
    let expected = jobs.expected[plan.kind].clone();
    let held = Held::new(Files::new(&root), output.clone(), expected, plant);
    let mut schedule = Schedule {
        jobs,
        seed,
        plan,
        root,
        output,
        counts: Counts { schedules: 1, ..Counts::default() },
    };
    let mut trace = Trace::new(aloud);
    let mut held = Some(held);
    let mut size = Size::default();
    for (number, session) in plan.sessions.iter().enumerate() {
        let fail = |text: String, trace: &Trace| Failure {
            seed,
            start: number,
            text,
            plan: plan.clone(),
            tail: trace.tail(),
        };
        let state = schedule.start(number, session, held.take().expect("put back"), trace);
        let (after, outcome) = schedule.after(number, session, state);
        trace = after.trace;
        held = Some(after.held);
        size = Size { points: after.points, disk_calls: after.disk_calls, ..size };
        if let Err(text) = outcome {
            return Err(fail(text, &trace));
        }
    }
    let last = plan.sessions.len();
    let found = schedule.end(held.expect("put back")).map_err(|text| Failure {
        seed,
        start: last,
        text,
        plan: plan.clone(),
        tail: trace.tail(),
    })?;
    let mut counts = schedule.counts;
    counts.took = began.elapsed();
    Ok(Told { found: Some(found), size, digest: trace.digest(), counts })
}

/// What a rank came to: nothing where it ended without wanting to.
type Outcome = Option<Result<(), Error>>;

/// What is left of a start.
struct After {
    held: Held,
    trace: Trace,
    points: u64,
    disk_calls: u64,
}

impl Schedule<'_> {
    /// One start, to the end of all its threads.
    fn start(
        &mut self,
        number: usize,
        session: &Session,
        mut held: Held,
        mut trace: Trace,
    ) -> (State, Vec<Outcome>) {
        let mut draws = Draws::new(self.seed, Purpose::Damage, number as u64);
        if session.damaged && held.damage_newest(&mut draws) {
            trace.note_event(&"damaged");
        }
        held.begin();
        let world = World::new(self.seed, number as u64, session, held, trace);
        let args = self.args(session);
        let began = Instant::now();
        let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..session.ranks)
                .map(|rank| {
                    let (world, args) = (world.clone(), args.clone());
                    scope.spawn(move || one_rank(&world, rank, args))
                })
                .collect();
            world.begin();
            threads.into_iter().map(|thread| thread.join().expect("unwinding is caught")).collect()
        });
        self.counts.ran += began.elapsed();
        world.stops.iter().for_each(|stop| *stop.lock().expect("short") = None);
        (world.into_state(), outcomes)
    }

    fn args(&self, session: &Session) -> Args {
        let mut overrides = self.jobs.overrides(self.plan.kind);
        if let Some((rows, columns)) = session.grid {
            overrides.push(format!("run.grid={rows}x{columns}"));
        }
        overrides.push(format!("pretrain.ranks={}", session.learners));
        overrides.push(format!("checkpoint.every={}", session.every));
        overrides.push(format!("checkpoint.minutes={:?}", session.minutes));
        Args {
            job: self.jobs.file.clone(),
            output: self.output.clone(),
            overrides,
            max_time: None,
            stop_exit_code: false,
            no_lock: false,
            verify: false,
            progress: Progress::default(),
        }
    }

    /// What must hold when all threads of a start have ended; the loss of what is lost.
    fn after(
        &mut self,
        number: usize,
        session: &Session,
        (mut state, outcomes): (State, Vec<Outcome>),
    ) -> (After, Result<(), String>) {
        if state.ending.is_none() && state.last_point.is_some() {
            // The others didn't need the one that was lost.
            state.ending = Some(state.lost());
        }
        self.count(&state);
        let judged = self.judge(session, &mut state, &outcomes);
        let State { mut held, trace, points, disk_calls, ending, .. } = state;
        let failed = outcomes.iter().any(|outcome| !matches!(outcome, Some(Ok(()))));
        let kept = judged.and_then(|()| {
            let mut draws = Draws::new(self.seed, Purpose::Losses, number as u64);
            match ending {
                None | Some(Ending::Aborted) => self.all_is_known(&mut held, failed),
                Some(Ending::Kill | Ending::Lost(None)) => {
                    held.files.adopt_strangers(0);
                    Ok(())
                }
                Some(Ending::Power) => self.lose(&mut held, None, &mut draws),
                Some(Ending::Lost(Some(rank))) => self.lose(&mut held, Some(rank), &mut draws),
                Some(Ending::Failure(text)) => Err(text),
            }
        });
        (After { held, trace, points, disk_calls }, kept)
    }

    fn count(&mut self, state: &State) {
        let counts = &mut self.counts;
        counts.sessions += 1;
        counts.points += state.points;
        counts.disk_calls += state.disk_calls;
        counts.collectives += state.meeting.calls.iter().sum::<u64>();
        counts.checkpoints += state.held.saved;
        counts.syncs.clone_from(&state.held.syncs);
        for (what, phase) in &state.happened {
            let name = format!("{what:?}").split('(').next().expect("a first").to_string();
            *counts.events.entry((name, phase)).or_default() += 1;
        }
        let end = match &state.ending {
            None => "by itself".to_string(),
            Some(Ending::Failure(_)) => "failure".into(),
            Some(ending) => format!("{ending:?}").split('(').next().expect("a first").into(),
        };
        *counts.ends.entry(end).or_default() += 1;
    }

    /// Whether the ranks came to what they may come to.
    fn judge(
        &mut self,
        session: &Session,
        state: &mut State,
        outcomes: &[Outcome],
    ) -> Result<(), String> {
        if let Some(Ending::Failure(text)) = &state.ending {
            return Err(text.clone());
        }
        let fault = state.happened.iter().any(|what| what.0.is_fault());
        let reason = fault || state.held.damaged;
        if let (Some(warning), false) = (state.held.warnings.first(), reason) {
            return Err(format!("warns without a reason: {warning}"));
        }
        for (rank, outcome) in outcomes.iter().enumerate() {
            if let Some(Err(error)) = outcome {
                let allowed = error.exit == Exit::Storage && fault;
                if !allowed {
                    return Err(format!("rank {rank}: exit {}: {}", error.exit as i32, error.text));
                }
            }
        }
        if state.ending.is_some() {
            return Ok(());
        }
        let failed = outcomes.iter().flatten().filter(|outcome| outcome.is_err()).count();
        if failed > 0 && failed < outcomes.len() {
            return Err(format!("{failed} of {} ranks have an error", outcomes.len()));
        }
        state.meeting.end()?;
        if failed > 0 {
            return Ok(());
        }
        self.stopped_or_finished(session, state)
    }

    /// A start that came to its end by itself has either finished the run, or was told to stop and
    /// left a checkpoint soon after.
    fn stopped_or_finished(&mut self, session: &Session, state: &mut State) -> Result<(), String> {
        state.held.ends(&self.output.join("run.json"))?;
        let first = (0..session.ranks).filter_map(|rank| Some((state.told[rank]?, rank))).min();
        let Some(((point, calls), rank)) = first else {
            return match state.held.finished {
                true => Ok(()),
                false => Err("ended without being told to, before the run is finished".into()),
            };
        };
        let since = state.meeting.calls[rank] - calls;
        if state.held.finished {
            return match since > UNTIL_STOP_MAX {
                true => Err(format!("rank {rank} was told to stop {since} collectives ago")),
                false => Ok(()),
            };
        }
        self.counts.until_stop = self.counts.until_stop.max(since);
        if since > UNTIL_STOP_MAX {
            return Err(format!("rank {rank} was told to stop {since} collectives ago"));
        }
        match state.held.saved_at > point || !state.meeting.trained {
            true => Ok(()),
            false => Err("told to stop, and left no checkpoint".into()),
        }
    }

    /// Whether nothing was changed past the simulated disk.
    fn all_is_known(&self, held: &mut Held, failed: bool) -> Result<(), String> {
        // A library may have been in the middle of a file.
        if failed {
            held.files.adopt_strangers(0);
        }
        let (real, known) = (real_tree(&self.root), held.files.tree());
        let differs =
            real.iter().chain(&known).find(|(path, _)| real.get(*path) != known.get(*path));
        match differs {
            None => Ok(()),
            Some((path, _)) => Err(format!("{}: changed past the disk", path.display())),
        }
    }

    /// Power is lost, on all machines or that of one rank; from here on all that is left lasts.
    fn lose(&self, held: &mut Held, rank: Option<usize>, draws: &mut Draws) -> Result<(), String> {
        held.files.adopt_strangers(rank.unwrap_or(0));
        let survives = draws.weighted(&[
            (Survives::Some, 6),
            (Survives::Nothing, 2),
            (Survives::Everything, 1),
        ]);
        let tree = held.files.after_loss(survives, rank, draws);
        write_tree(&self.root, &tree);
        held.files = Files::new(&self.root);
        held.is_kept()
    }

    /// The run is finished; after a last loss of power its results are there and right.
    fn end(&mut self, mut held: Held) -> Result<Expected, String> {
        let mut draws = Draws::new(self.seed, Purpose::Losses, 1 << 32);
        self.lose(&mut held, None, &mut draws)?;
        let found = found(&self.output)?;
        let expected = &self.jobs.expected[self.plan.kind];
        if !expected.events.is_empty()
            && (found.weights != expected.weights || found.events != expected.events)
        {
            return Err(format!("came to the weights {}", found.weights));
        }
        Ok(found)
    }
}

/// The thread of a rank.
fn one_rank(world: &Arc<World>, rank: usize, args: Args) -> Outcome {
    let comm = ranks::comm(world, rank);
    if let Some(shares) = &world.session.shares {
        comm.deal_in(shares.clone());
    }
    world.enter(rank);
    let surroundings = Surroundings {
        disk: Disk::hooked(Arc::new(hooks::Disk)),
        clock: Clock::hooked(Arc::new(hooks::Clock)),
        simulated: true,
    };
    let train = || settled(&comm, |comm| run_in(comm, args, &surroundings));
    let outcome = world.unwound(rank, train);
    if let Some(Err(error)) = &outcome
        && !error.agreed
        && world.session.ranks > 1
    {
        // As the program does: who has an error of its own ends the others.
        let mut state = world.lock();
        world.end(&mut state, Ending::Aborted);
    }
    drop(comm);
    world.leave(rank);
    outcome
}
