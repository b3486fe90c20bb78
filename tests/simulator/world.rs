//! The world of one start: rank threads of which one goes on at a time, chosen by the seed at every
//! point, that is at each call of comm, disk and clock.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::Thread;
use std::time::{Duration, Instant};

use reelscale::internals::comm::StopFlag;

use super::held::Held;
use super::plan::{Session, What, When};
use super::plant::Plant;
use super::state::{Ending, Standing, State};
use super::trace::{Step, Trace};

/// A start that makes more points goes in circles.
const POINTS_MAX: u64 = 400_000;
/// The most points that other ranks go on when one was lost.
const GRACE: usize = 80;
/// How long a rank may go on by itself in real time.
pub const WATCH_SECONDS: u64 = 30;

pub type Place = &'static Location<'static>;

/// What a rank unwinds with that has ended without wanting to.
pub struct Ended;

/// The world of one start.
pub struct World {
    state: Mutex<State>,
    /// Whose turn it is.
    turn: AtomicUsize,
    over: AtomicBool,
    threads: Mutex<Vec<Option<Thread>>>,
    pub stops: Vec<Mutex<Option<StopFlag>>>,
    pub session: Session,
    pub plant: Plant,
    began: Instant,
}

thread_local! {
    /// The world that this thread is a rank of.
    static HERE: RefCell<Option<(Arc<World>, usize)>> = const { RefCell::new(None) };
}

/// The world and the rank of this thread.
pub fn here() -> (Arc<World>, usize) {
    HERE.with_borrow(|here| here.clone())
        .expect("only rank threads change files or ask for the time")
}

/// Whether this thread is a rank.
pub fn is_rank() -> bool {
    HERE.with_borrow(Option::is_some)
}

impl World {
    pub fn new(seed: u64, number: u64, session: &Session, held: Held, trace: Trace) -> Arc<World> {
        let size = session.ranks;
        let plant = held.plant.clone();
        let state = State::new(seed, number, session, held, trace);
        Arc::new(World {
            state: Mutex::new(state),
            turn: AtomicUsize::new(usize::MAX),
            over: AtomicBool::new(false),
            threads: Mutex::new(vec![None; size]),
            stops: (0..size).map(|_| Mutex::new(None)).collect(),
            session: session.clone(),
            plant,
            began: Instant::now(),
        })
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while it is held")
    }

    pub fn into_state(self: Arc<World>) -> State {
        let world = Arc::try_unwrap(self).map_err(|_| "a rank is left");
        let state = world.unwrap_or_else(|text| panic!("{text}")).state;
        state.into_inner().expect("nobody panics while it is held")
    }

    /// What this moment is by the clock of a rank.
    pub fn now(&self, state: &State, rank: usize) -> Instant {
        self.began + state.clocks[rank]
    }

    /// This thread is rank `rank` from now on; it waits for its turn.
    pub fn enter(self: &Arc<World>, rank: usize) {
        HERE.with_borrow_mut(|here| *here = Some((self.clone(), rank)));
        self.threads.lock().expect("short")[rank] = Some(std::thread::current());
        self.wait(rank);
    }

    /// Gives the first turn, once all ranks are there.
    pub fn begin(&self) {
        while self.threads.lock().expect("short").iter().any(Option::is_none) {
            std::thread::yield_now();
        }
        let first = self.lock().next(&self.session, None);
        self.give(first.expect("all are ready"));
    }

    /// What a rank's thread does, from the first point on; nothing where the start has ended
    /// meanwhile. A panic is a failure.
    pub fn unwound<R>(&self, rank: usize, work: impl FnOnce() -> R) -> Option<R> {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            self.first_point(rank);
            work()
        }));
        match outcome {
            Ok(outcome) => Some(outcome),
            Err(panic) if panic.is::<Ended>() => None,
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text =
                    text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
                self.end_as_failure(format!("rank {rank} panicked: {}", text.unwrap_or_default()));
                None
            }
        }
    }

    /// Ends the start: what must hold doesn't.
    pub fn end_as_failure(&self, text: String) {
        let mut state = self.lock();
        self.end(&mut state, Ending::Failure(text));
    }

    /// This thread's rank has come to its end.
    pub fn leave(&self, rank: usize) {
        HERE.with_borrow_mut(|here| *here = None);
        let mut state = self.lock();
        state.standings[rank] = Standing::Left;
        if self.over.load(Ordering::SeqCst) {
            return;
        }
        match state.next(&self.session, None) {
            Some(next) => self.give(next),
            None if state.standings.iter().all(|one| *one == Standing::Left) => {}
            None => {
                let ending = state.nobody_goes_on();
                self.end(&mut state, ending);
            }
        }
    }

    /// The first point: nothing has happened yet.
    pub fn first_point(&self, rank: usize) {
        let state = self.lock();
        if self.is_over(&state, rank) {
            drop(state);
            resume_unwind(Box::new(Ended));
        }
    }

    /// One point of a rank: time passes, things happen, and another rank may go on.
    pub fn point(&self, rank: usize, step: Step) {
        if std::thread::panicking() {
            return;
        }
        let mut state = self.lock();
        if self.is_over(&state, rank) {
            drop(state);
            resume_unwind(Box::new(Ended));
        }
        state.points += 1;
        state.trace.note(rank, step);
        let pace = self.session.pace;
        state.pass_time(pace);
        self.happen(&mut state, |when, state| match when {
            When::Point(at) => at <= state.points,
            _ => false,
        });
        if state.points > POINTS_MAX {
            self.end(&mut state, Ending::Failure(format!("{POINTS_MAX} points and no end")));
        }
        if state.last_point.is_some_and(|last| last < state.points) {
            let ending = state.lost();
            self.end(&mut state, ending);
        }
        self.hand_over(state, rank);
    }

    /// Lets the things happen for which it is time.
    pub fn happen(&self, state: &mut State, is_now: impl Fn(When, &State) -> bool) {
        while let Some((when, what)) = state.events.first().copied().filter(|e| is_now(e.0, state))
        {
            let _ = when;
            state.events.remove(0);
            state.trace.note_event(&what);
            let phase = state.held.phase;
            state.happened.push((what, phase));
            let (points, calls) = (state.points, state.disk_calls);
            if let Some((when, _)) = state.events.first_mut() {
                *when = match *when {
                    When::PointsLater(later) => When::Point(points + later),
                    When::CallsLater(later) => When::DiskCall(calls + later),
                    other => other,
                };
            }
            match what {
                What::Stop(rank) => self.tell(state, rank),
                What::Power => self.end(state, Ending::Power),
                What::Kill => self.end(state, Ending::Kill),
                What::Loss(rank) => self.lose(state, rank, None),
                What::NodeLoss(rank) => self.lose(state, rank, Some(rank)),
                What::Fails => state.fails = true,
                What::Full(calls) => state.full = calls,
                What::SyncFails => state.sync_fails = true,
            }
        }
    }

    /// The signal comes.
    fn tell(&self, state: &mut State, rank: usize) {
        if let Some(flag) = &*self.stops[rank].lock().expect("short") {
            flag.ask();
            let now = (state.points, state.meeting.calls[rank]);
            state.told[rank].get_or_insert(now);
        }
    }

    fn lose(&self, state: &mut State, rank: usize, node: Option<usize>) {
        if state.standings[rank] != Standing::Left && state.last_point.is_none() {
            state.dead[rank] = true;
            state.lost_node = node;
            state.last_point = Some(state.points + state.times.below(GRACE) as u64);
        }
    }

    /// Ends all ranks, for the first reason that comes.
    pub fn end(&self, state: &mut State, ending: Ending) {
        // What must hold counts more than how a start ended.
        let counts = match (&state.ending, &ending) {
            (None, _) => true,
            (Some(Ending::Failure(_)), _) => false,
            (Some(_), Ending::Failure(_)) => true,
            _ => false,
        };
        if counts {
            state.ending = Some(ending);
        }
        self.over.store(true, Ordering::SeqCst);
        self.threads.lock().expect("short").iter().flatten().for_each(Thread::unpark);
    }

    /// Ends all ranks because something that must hold doesn't, and unwinds.
    pub fn fail(&self, mut state: MutexGuard<State>, text: String) -> ! {
        self.end(&mut state, Ending::Failure(text));
        drop(state);
        resume_unwind(Box::new(Ended))
    }

    fn is_over(&self, state: &State, rank: usize) -> bool {
        state.ending.is_some() || state.dead[rank]
    }

    /// Lets the rank that is drawn go on, and comes back when it is this one's turn again.
    pub fn hand_over(&self, mut state: MutexGuard<State>, rank: usize) {
        let next = match state.ending {
            Some(_) => None,
            None => state.next(&self.session, Some(rank)),
        };
        match next {
            Some(next) if next == rank => drop(state),
            Some(next) => {
                drop(state);
                self.give(next);
                self.wait(rank);
            }
            None => {
                if state.ending.is_none() {
                    let ending = state.nobody_goes_on();
                    self.end(&mut state, ending);
                }
                drop(state);
            }
        }
        let state = self.lock();
        if self.is_over(&state, rank) {
            drop(state);
            resume_unwind(Box::new(Ended));
        }
    }

    fn give(&self, rank: usize) {
        self.turn.store(rank, Ordering::SeqCst);
        if let Some(thread) = &self.threads.lock().expect("short")[rank] {
            thread.unpark();
        }
    }

    fn wait(&self, rank: usize) {
        while self.turn.load(Ordering::SeqCst) != rank && !self.over.load(Ordering::SeqCst) {
            std::thread::park_timeout(Duration::from_secs(1));
            if self.began.elapsed().as_secs() > WATCH_SECONDS {
                let mut state = self.lock();
                let held =
                    format!("a rank has gone on for long without a point: {}", state.waiting());
                self.end(&mut state, Ending::Failure(held));
            }
        }
    }
}
