//! What changes while the ranks of one start go on, who goes on next, and why all end.

use std::time::Duration;

use super::draws::{Draws, Purpose};
use super::held::Held;
use super::meeting::{Meeting, Ticket};
use super::plan::{Session, What, When};
use super::trace::Trace;

/// Why all ranks end.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    Power,
    Kill,
    /// After a loss, with the rank whose machine lost power, if one did.
    Lost(Option<usize>),
    /// A rank has an error of its own.
    Aborted,
    /// What must hold doesn't.
    Failure(String),
}

/// What a rank does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Standing {
    Ready,
    /// It waits in this collective.
    Meets(Ticket),
    /// It waits for that rank's news that the run is to stop.
    News(usize),
    Left,
}

/// All that changes.
pub struct State {
    pub standings: Vec<Standing>,
    /// Ranks that are lost.
    pub dead: Vec<bool>,
    pub ending: Option<Ending>,
    pub points: u64,
    pub disk_calls: u64,
    pub renames: u64,
    pub looks: Vec<u64>,
    /// Since the start, by each rank's own clock.
    pub clocks: Vec<Duration>,
    pub meeting: Meeting,
    pub held: Held,
    pub trace: Trace,
    /// Calls of the disk that are still to fail.
    pub full: u64,
    pub fails: bool,
    pub sync_fails: bool,
    /// When each rank was told to stop: the point, and its collectives until then.
    pub told: Vec<Option<(u64, u64)>>,
    /// Ranks that have told others to stop, have heard of it, or don't listen any more.
    pub knows: Vec<bool>,
    /// The point after which no rank goes on, once one is lost.
    pub last_point: Option<u64>,
    pub lost_node: Option<usize>,
    pub events: Vec<(When, What)>,
    /// What has happened, and what the program was at.
    pub happened: Vec<(What, &'static str)>,
    turns: Draws,
    pub times: Draws,
}

impl State {
    pub fn new(seed: u64, number: u64, session: &Session, held: Held, trace: Trace) -> State {
        let size = session.ranks;
        let mut times = Draws::new(seed, Purpose::Clocks, number);
        let clock = |_| Duration::from_millis(times.below(100_000) as u64);
        State {
            standings: vec![Standing::Ready; size],
            dead: vec![false; size],
            ending: None,
            points: 0,
            disk_calls: 0,
            renames: 0,
            looks: vec![0; size],
            clocks: (0..size).map(clock).collect(),
            meeting: Meeting::new(size, Draws::new(seed, Purpose::Messages, number)),
            held,
            trace,
            full: 0,
            fails: false,
            sync_fails: false,
            told: vec![None; size],
            knows: vec![false; size],
            last_point: None,
            lost_node: None,
            events: session.events.clone(),
            happened: Vec::new(),
            turns: Draws::new(seed, Purpose::Turns, number),
            times,
        }
    }

    /// Who goes on: with `stays` of 100 the same rank, if it can.
    pub fn next(&mut self, session: &Session, now: Option<usize>) -> Option<usize> {
        if let Some(lost) = (0..self.dead.len()).find(|r| self.dead[*r] && !self.has_left(*r)) {
            // It unwinds while nobody else does anything.
            return Some(lost);
        }
        let mut ready: Vec<usize> =
            (0..self.standings.len()).filter(|r| self.can_go_on(*r)).collect();
        if ready.is_empty() && self.last_point.is_none() {
            // Nobody but news on its way: it arrives.
            self.meeting.hurry(&self.standings, self.points);
            ready = (0..self.standings.len()).filter(|r| self.can_go_on(*r)).collect();
        }
        if let Some(now) = now.filter(|now| ready.contains(now))
            && self.turns.happens(session.stays, 100)
        {
            return Some(now);
        }
        if ready.len() > 1 && self.turns.happens(19, 20) {
            ready.retain(|rank| session.slow != Some(*rank));
        }
        (!ready.is_empty()).then(|| ready[self.turns.below(ready.len())])
    }

    /// How a start ends in which a rank was lost.
    pub fn lost(&self) -> Ending {
        Ending::Lost(self.lost_node)
    }

    fn has_left(&self, rank: usize) -> bool {
        self.standings[rank] == Standing::Left
    }

    fn can_go_on(&self, rank: usize) -> bool {
        match self.standings[rank] {
            Standing::Ready => true,
            Standing::Left => false,
            Standing::Meets(ticket) => self.meeting.is_met(ticket),
            Standing::News(from) => self.meeting.has_news(from, rank, self.points),
        }
    }

    /// Why all end when no rank can go on.
    pub fn nobody_goes_on(&self) -> Ending {
        match self.last_point {
            Some(_) => self.lost(),
            None => Ending::Failure(format!("no rank can go on: {}", self.waiting())),
        }
    }

    pub fn waiting(&self) -> String {
        let one = |rank: usize| match self.standings[rank] {
            Standing::Meets(ticket) => format!("rank {rank} in {}", self.meeting.name(ticket)),
            other => format!("rank {rank} {other:?}"),
        };
        (0..self.standings.len()).map(one).collect::<Vec<_>>().join("; ")
    }

    /// Time passes, for each rank as its own clock goes; now and then much of it.
    pub fn pass_time(&mut self, pace: f64) {
        let word = self.times.word();
        let share = (word & 0xffff) as f64 / 65536.0;
        let mut seconds = 2.0 * pace * share;
        if word >> 56 == 0 {
            seconds += 120.0 * share;
        }
        for (rank, clock) in self.clocks.iter_mut().enumerate() {
            // Up to 1 % apart.
            let drift = 1.0 + 0.01 * rank as f64 * (if rank % 2 == 0 { 1.0 } else { -1.0 });
            *clock += Duration::from_secs_f64(seconds * drift);
        }
    }
}
