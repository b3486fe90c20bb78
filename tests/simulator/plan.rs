//! What happens to a run: how many starts it gets, on how many ranks each, and what befalls it.

use super::draws::{Draws, Purpose};

/// Most ranks of a start.
pub const RANKS_MAX: usize = 4;

/// When something happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    /// At this point, counted over all ranks.
    Point(u64),
    /// At this call of the disk, counted over all ranks.
    DiskCall(u64),
    /// At the call of the disk that comes after this rename, when its name doesn't last yet.
    Renamed(u64),
    /// At this look of a rank at its own flag that the run is to stop.
    Look(usize, u64),
    /// So many points, or calls of the disk, after the event before it.
    PointsLater(u64),
    CallsLater(u64),
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    /// A rank is told to stop.
    Stop(usize),
    /// All machines lose power.
    Power,
    /// All ranks are killed; what they have written is still there.
    Kill,
    /// One rank is killed. The others go on as long as they don't need it, and a while at most.
    Loss(usize),
    /// The same, and the machine that it ran on loses power.
    NodeLoss(usize),
    /// A call of the disk fails.
    Fails,
    /// So many calls of the disk that need room fail.
    Full(u64),
    /// The next sync of a file fails, and what it was to write is forgotten.
    SyncFails,
}

impl What {
    /// Whether the disk has a fault, so that warnings and exit 5 are right.
    pub fn is_fault(self) -> bool {
        matches!(self, What::Fails | What::Full(_) | What::SyncFails)
    }
}

/// One start of a run.
#[derive(Clone, Debug)]
pub struct Session {
    pub ranks: usize,
    /// Rows and columns of `run.grid`; None: auto.
    pub grid: Option<(usize, usize)>,
    /// How much each rank takes of rows, class blocks and slices; None: all alike.
    pub shares: Option<Vec<usize>>,
    /// `pretrain.ranks`: how many of them pretrain, at most.
    pub learners: usize,
    /// `checkpoint.every` and `checkpoint.minutes`.
    pub every: usize,
    pub minutes: f64,
    /// Of 100 points, at how many a rank goes on that could.
    pub stays: usize,
    /// A rank that seldom gets its turn.
    pub slow: Option<usize>,
    /// Seconds that pass at a point, about.
    pub pace: f64,
    pub events: Vec<(When, What)>,
    /// Whether the newest checkpoint is damaged before, if there are two.
    pub damaged: bool,
}

/// A whole schedule.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The number of its job.
    pub kind: usize,
    pub sessions: Vec<Session>,
}

/// What a start of a job can be: on grids of so many rows at most, and about the points and calls
/// of the disk of one that runs to its end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Size {
    pub rows_max: usize,
    pub points: u64,
    pub disk_calls: u64,
}

impl Plan {
    /// The plan of a seed, for a job of which `sizes` says how long it is on one rank.
    pub fn new(seed: u64, sizes: &[Size]) -> Plan {
        let mut draws = Draws::new(seed, Purpose::Plan, 0);
        let kind = draws.below(sizes.len());
        let disturbed = draws.weighted(&[(1, 5), (2, 3), (3, 1), (5, 1)]);
        let mut sessions: Vec<Session> =
            (0..disturbed).map(|_| Session::drawn(&mut draws, sizes[kind])).collect();
        sessions.push(Session { events: Vec::new(), ..Session::drawn(&mut draws, sizes[kind]) });
        Plan { kind, sessions }
    }

    /// A schedule of a job whose first start is on a grid of several rows, and is told to stop.
    pub fn in_column(seed: u64, kind: usize, size: Size) -> Plan {
        let mut draws = Draws::new(seed, Purpose::Plan, 1);
        let mut stopped = Session::drawn(&mut draws, Size { rows_max: 1, ..size });
        stopped.ranks = 2 + draws.below(RANKS_MAX - 1);
        let rows = 2 + draws.below(size.rows_max.min(stopped.ranks) - 1);
        stopped.grid = Some((rows, 1 + draws.below(stopped.ranks / rows)));
        stopped.slow = stopped.slow.map(|rank| rank % stopped.ranks);
        let points = size.points * stopped.ranks as u64 * stopped.polls();
        let stop = What::Stop(draws.below(stopped.ranks));
        stopped.events = vec![(When::Point(draws.below(points as usize) as u64), stop)];
        let last = Session { events: Vec::new(), ..Session::drawn(&mut draws, size) };
        Plan { kind, sessions: vec![stopped, last] }
    }

    /// The same on ranks that take unequal shares, others at each start.
    pub fn by_speed(mut self) -> Plan {
        for (number, session) in self.sessions.iter_mut().enumerate() {
            let share = |rank: usize| [1, 4, 16, 1, 9][(rank + 2 * number) % 5];
            session.shares = Some((0..session.ranks).map(share).collect());
        }
        self
    }

    /// A kill at that moment, and a start that goes on from there.
    pub fn killed(kind: usize, when: When) -> Plan {
        let mut plan = Plan::undisturbed(kind, 2);
        let mut killed = plan.sessions[0].clone();
        killed.events.push((when, What::Kill));
        plan.sessions.insert(0, killed);
        plan
    }

    /// Nothing but one start on `ranks` ranks.
    pub fn undisturbed(kind: usize, ranks: usize) -> Plan {
        let (every, minutes, stays, slow, pace) = (0, 0.0, 90, None, 0.01);
        let (grid, shares, learners) = (None, None, ranks);
        let (events, damaged) = (Vec::new(), false);
        let session = Session {
            ranks,
            grid,
            shares,
            learners,
            every,
            minutes,
            stays,
            slow,
            pace,
            events,
            damaged,
        };
        Plan { kind, sessions: vec![session] }
    }
}

impl Session {
    fn drawn(draws: &mut Draws, size: Size) -> Session {
        let ranks = draws.weighted(&[(1, 2), (2, 3), (3, 3), (RANKS_MAX, 2)]);
        let rows = 1 + draws.below(size.rows_max.min(ranks));
        let grid = (rows, 1 + draws.below(ranks / rows));
        let slow = draws.happens(1, 4).then(|| draws.below(ranks));
        let every = draws.one_of(&[0, 0, 1, 2, 3, 7]);
        let mut session = Session {
            ranks,
            grid: draws.happens(3, 4).then_some(grid),
            shares: None,
            learners: if draws.happens(1, 2) { ranks } else { 1 + draws.below(ranks) },
            every,
            minutes: draws.one_of(&[0.0, 0.02, 1.0]),
            stays: draws.one_of(&[50, 90, 90, 97]),
            slow,
            pace: draws.one_of(&[0.001, 0.05, 1.0]),
            events: Vec::new(),
            damaged: draws.happens(1, 12),
        };
        session.events.push(session.event(draws, size));
        match session.events[0].1 {
            // What comes while a run stops, or after the disk has failed.
            What::Stop(_) if draws.happens(1, 3) => session.follow(draws),
            what if what.is_fault() => session.follow(draws),
            _ => {}
        }
        session
    }

    /// How many times as many points ranks have whose columns take turns, about.
    fn polls(&self) -> u64 {
        if self.grid.is_some_and(|grid| grid.0 > 1) { 3 } else { 1 }
    }

    fn event(&self, draws: &mut Draws, size: Size) -> (When, What) {
        let (rank, full) = (draws.below(self.ranks), 1 + draws.below(30) as u64);
        let what = draws.weighted(&[
            (What::Stop(rank), 10),
            (What::Power, 10),
            (What::Kill, 3),
            (What::Loss(rank), 4),
            (What::NodeLoss(rank), 2),
            (What::Fails, 3),
            (What::Full(full), 1),
            (What::SyncFails, 1),
        ]);
        // Often at the disk, where moments differ most.
        let calls = size.disk_calls * if self.every > 0 { 3 } else { 1 };
        let points = size.points * self.ranks as u64 * self.polls();
        let at_disk = if what.is_fault() { 10 } else { 5 };
        let when = match what {
            _ if draws.happens(1, 5) => When::Renamed(1 + draws.below(12) as u64),
            _ if draws.happens(at_disk, 10) => When::DiskCall(draws.below(calls as usize) as u64),
            What::Stop(rank) if draws.happens(1, 2) => {
                When::Look(rank, draws.below(size.points as usize / 3) as u64)
            }
            _ => When::Point(draws.below(points as usize) as u64),
        };
        (when, what)
    }

    /// Another event, soon after the first one.
    fn follow(&mut self, draws: &mut Draws) {
        let when = match draws.happens(1, 2) {
            true => When::PointsLater(draws.below(40 * self.ranks) as u64),
            false => When::CallsLater(draws.below(40) as u64),
        };
        let rank = draws.below(self.ranks);
        let what = draws.one_of(&[
            What::Power,
            What::Kill,
            What::Loss(rank),
            What::Stop(rank),
            What::Fails,
            What::Full(4),
        ]);
        self.events.push((when, what));
    }
}
