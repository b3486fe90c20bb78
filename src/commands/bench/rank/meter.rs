//! What a step takes, from the end of one piece's arithmetic (a window's, say) to that of another.

use std::cell::{Cell, RefCell};
use std::time::Instant;

use crate::comm::Comm;
use crate::system;
use crate::team::replay::{self, Totals};

/// What tells the time of a rank.
pub(super) enum Clock {
    /// The rank is here.
    Wall(Instant),
    /// This thread is in the place of its threads, and the others are stand-ins; how long it has
    /// waited for them.
    Replayed(Box<dyn Fn() -> f64>),
}

/// How long pieces are measured.
#[derive(Clone, Copy)]
pub(super) enum Sample {
    /// As many pieces as fit, at least one.
    Seconds(f64),
    Pieces(usize),
}

/// What has been used up at some moment.
#[derive(Clone, Copy, Default)]
struct Mark {
    at: f64,
    arithmetic: f64,
    waited: f64,
    totals: Totals,
    /// What arithmetic has of them.
    totals_of_arithmetic: Totals,
    received: u64,
    rows: usize,
    /// Of the process.
    processor: f64,
    pieces: usize,
}

/// Watches over the pieces of a step.
pub(super) struct Meter<'a> {
    comm: &'a Comm,
    clock: Clock,
    sample: Sample,
    /// Pieces before the sample, if there are more: their memory is new.
    skipped: usize,
    now: Cell<Mark>,
    /// After each of these, and after the last piece that counts.
    marks: RefCell<Vec<Mark>>,
    /// When the last of them was over here.
    began: Cell<Option<Instant>>,
    pieces: Cell<usize>,
}

/// What the measured pieces took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    pub(super) pieces: usize,
    pub(super) rows: usize,
    pub(super) seconds: f64,
    pub(super) arithmetic: f64,
    pub(super) waited: f64,
    /// Of what is neither, by one thread alone.
    pub(super) alone: f64,
    /// Seconds of one thread for all that threads share.
    pub(super) core_arithmetic: f64,
    pub(super) core_host: f64,
    pub(super) received: u64,
    /// Seconds that processors worked for this process here.
    pub(super) processor: f64,
}

impl Meter<'_> {
    pub(super) fn new(comm: &Comm, clock: Clock, sample: Sample, skipped: usize) -> Meter<'_> {
        let (now, marks, began) = (Cell::default(), RefCell::default(), Cell::default());
        Meter { comm, clock, sample, skipped, now, marks, began, pieces: Cell::new(0) }
    }

    fn seconds(&self) -> f64 {
        match &self.clock {
            Clock::Wall(began) => began.elapsed().as_secs_f64(),
            Clock::Replayed(_) => replay::now(),
        }
    }

    fn totals(&self) -> Totals {
        match &self.clock {
            Clock::Wall(_) => Totals::default(),
            Clock::Replayed(_) => replay::totals(),
        }
    }

    /// Lets so many seconds pass, in which work would go on, and polls `polls` times.
    pub(super) fn rest(&self, seconds: f64, polls: usize, poll: &mut dyn FnMut()) {
        let share = seconds / polls as f64;
        for _ in 0..polls {
            match &self.clock {
                Clock::Wall(_) => std::thread::sleep(std::time::Duration::from_secs_f64(share)),
                Clock::Replayed(_) => replay::pass_until(replay::now() + share),
            }
            poll();
        }
    }

    /// Arithmetic of a step.
    pub(super) fn arithmetic<R>(&self, work: impl FnOnce() -> R) -> R {
        let (before, totals) = (self.seconds(), self.totals());
        let made = work();
        let mut now = self.now.get();
        now.arithmetic += self.seconds() - before;
        let (after, own) = (self.totals(), &mut now.totals_of_arithmetic);
        own.items += after.items - totals.items;
        own.teams += after.teams - totals.teams;
        self.now.set(now);
        made
    }

    /// Host work in the middle of arithmetic.
    pub(super) fn aside<R>(&self, work: impl FnOnce() -> R) -> R {
        let (before, totals) = (self.seconds(), self.totals());
        let made = work();
        let (after, mut now) = (self.totals(), self.now.get());
        now.arithmetic -= self.seconds() - before;
        now.totals_of_arithmetic.items -= after.items - totals.items;
        now.totals_of_arithmetic.teams -= after.teams - totals.teams;
        self.now.set(now);
        made
    }

    /// A piece of so many rows is over. Tells the run to stop once the sample is complete.
    pub(super) fn piece(&self, rows: usize) {
        let mut now = self.now.get();
        now.rows += rows;
        self.now.set(now);
        let traffic = self.comm.traffic();
        let waited = match &self.clock {
            Clock::Wall(_) => traffic.wait_seconds,
            Clock::Replayed(waited) => waited(),
        };
        let (at, totals, received) = (self.seconds(), self.totals(), traffic.bytes_received);
        let processor = system::own_processor_seconds();
        let pieces = self.pieces.get() + 1;
        let mark = Mark { at, waited, totals, received, processor, pieces, ..now };
        self.pieces.set(pieces);
        let measured = pieces.saturating_sub(self.skipped);
        if measured == 0 {
            self.began.set(Some(Instant::now()));
        }
        let elapsed = self.began.get().expect("set by the first").elapsed().as_secs_f64();
        let (counts, done) = match (self.sample, &self.clock) {
            (Sample::Pieces(count), Clock::Replayed(_)) => (true, measured >= count),
            // News of a stop would cut short what others are at: they must be through, too.
            (Sample::Pieces(count), Clock::Wall(_)) => (measured <= count, measured > count),
            (Sample::Seconds(seconds), _) => {
                let next = elapsed / measured.max(1) as f64;
                (true, measured > 0 && elapsed + next > seconds)
            }
        };
        if counts {
            let marks = &mut *self.marks.borrow_mut();
            marks.truncate(self.skipped);
            marks.push(mark);
        }
        if done {
            self.comm.stop().ask();
        }
    }

    /// What the pieces after those that are skipped took, or where there are none what all but the
    /// first took; none where there was no other.
    pub(super) fn taken(&self) -> Option<Taken> {
        let marks = self.marks.borrow();
        let [.., first, last] = marks[..] else { return None };
        let (seconds, arithmetic) = (last.at - first.at, last.arithmetic - first.arithmetic);
        let waited = last.waited - first.waited;
        let of = |mark: &Mark| {
            let [all, own] = [mark.totals, mark.totals_of_arithmetic];
            [own.items, all.items - own.items, all.teams - own.teams]
        };
        let [core_arithmetic, core_host, host_teams] =
            std::array::from_fn(|one| of(&last)[one] - of(&first)[one]);
        Some(Taken {
            pieces: last.pieces - first.pieces,
            rows: last.rows - first.rows,
            seconds,
            arithmetic,
            waited,
            alone: (seconds - arithmetic - waited - host_teams).max(0.0),
            core_arithmetic,
            core_host,
            received: last.received - first.received,
            processor: last.processor - first.processor,
        })
    }
}
