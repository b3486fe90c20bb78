//! The thread that looks: asks its neighbours how they are now and then, and all ranks where it, or
//! one that asks it to, waits too long. The lowest rank that lives does so for all.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use super::Beside;
use super::ask::{Asker, Reply};
use super::judge::{Finding, Judge, RankState, Verdict};
use super::shared::{Shared, TICK, Times};
use super::sign::Why;
use super::tell;
use crate::comm::{abort_all, ending, mpi_ends};
use crate::error::Exit;

/// Rounds for which a rank believes that one below it looks after all.
const BELIEVED: u32 = 2;
/// Ranks below it that a rank asks at once.
const WINDOW: usize = 32;
/// How far from a rank among so many those are whom it asks now and then, so that somebody can
/// tell what a lost one was at: the ranks of a node are lost together, so one is far away.
fn neighbours(size: usize) -> [usize; 3] {
    [1, size / 2, size - 1]
}

/// What recording the end gets.
const RECORD_LIMIT: Duration = Duration::from_secs(2);
/// What all of the end gets.
const END_LIMIT: Duration = Duration::from_secs(6);

pub(crate) struct Looker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) asker: Asker,
    /// A number for the host of each rank.
    pub(crate) hosts: Vec<usize>,
    pub(crate) judge: Judge,
    pub(crate) beside: Beside,
}

impl Looker {
    /// Looks until MPI is over in this process.
    pub(crate) fn run(mut self) {
        let (mut before, mut greeted, mut looked) = (None, None, Instant::now());
        while !mpi_ends().1 {
            let times = self.shared.times();
            // Neighbours are asked anew when the patience changes: it may be short now.
            if times != before {
                (before, greeted) = (times, None);
            }
            let Some(times) = times else {
                std::thread::sleep(TICK);
                continue;
            };
            if greeted.is_none_or(|at: Instant| at.elapsed() >= 2 * times.beat) {
                greeted = Some(Instant::now());
                self.greet(&times);
            }
            if looked.elapsed() >= times.beat {
                self.look(&times);
                looked = Instant::now();
            }
            std::thread::sleep(TICK);
        }
    }

    fn greet(&self, times: &Times) {
        let size = self.shared.size();
        let mut next: Vec<usize> =
            neighbours(size).iter().map(|by| (self.shared.rank + by) % size).collect();
        next.retain(|rank| *rank != self.shared.rank);
        next.sort_unstable();
        next.dedup();
        for reply in self.asker.ask(&next, Why::Greeting, 0, times.answer) {
            self.keep(&reply);
        }
    }

    fn keep(&self, reply: &Reply) {
        if let Reply::Sign(sign) = reply {
            self.shared.keep(sign);
        }
    }

    /// One round.
    fn look(&mut self, times: &Times) {
        let (rank, sign) = (self.shared.rank, self.shared.sign());
        // Those below get the time to see it first.
        let first = times.beat + times.beat * rank.min(16) as u32 / 8;
        let waits = Duration::from_millis(sign.waiting) >= first;
        let hangs = Duration::from_millis(sign.still) >= times.patience;
        let believed = BELIEVED * times.round();
        if !waits && !hangs && !self.shared.is_asked_to_look(believed) {
            return self.judge.forget();
        }
        // Once none below has answered all are asked at once.
        let below_lives = |looker: &mut Looker| {
            looker.shared.is_looked_after(believed)
                || !looker.judge.misses(0) && looker.one_below_lives(times)
        };
        if rank > 0 && below_lives(self) {
            return self.judge.forget();
        }
        let others: Vec<usize> = (0..self.shared.size()).filter(|other| *other != rank).collect();
        let replies = self.asker.ask(&others, Why::Looking, 0, times.answer);
        replies.iter().for_each(|reply| self.keep(reply));
        let below =
            |(other, reply): (&usize, &Reply)| *other < rank && matches!(reply, Reply::Sign(_));
        if others.iter().zip(&replies).any(below) {
            return self.judge.forget();
        }
        let (now, finalises) = (self.shared.now(), mpi_ends().0);
        let mut states: Vec<RankState> = others
            .iter()
            .zip(replies)
            .map(|(other, reply)| {
                // One that has left MPI_Finalize before this one isn't lost; that this one can't
                // leave it is for the limit on MPI_Finalize to tell.
                let gone = finalises && reply == Reply::Refused;
                let reply = if gone { Reply::Unasked } else { reply };
                self.judge.heard(*other, reply, now)
            })
            .collect();
        states.insert(rank, RankState::Lives(Box::new(self.shared.sign())));
        match self.judge.judge(&states, &self.hosts, times, now) {
            Verdict::Nothing => {}
            Verdict::Warn(finding) => tell::warning(&self.line(&finding, &states, times)),
            Verdict::End(finding) => self.end(&finding, &states, times),
        }
    }

    /// Asks those below to look, first rank 0 alone: usually it does.
    fn one_below_lives(&mut self, times: &Times) -> bool {
        let mut from = 0;
        while from < self.shared.rank {
            let to = if from == 0 { 1 } else { (from + WINDOW).min(self.shared.rank) };
            let below: Vec<usize> = (from..to).collect();
            let asked_at = self.shared.now();
            let replies = self.asker.ask(&below, Why::Looking, 0, times.answer);
            for (other, reply) in below.iter().zip(&replies) {
                // Its silence counts from here on.
                self.judge.heard(*other, reply.clone(), asked_at);
            }
            if replies.iter().any(|reply| matches!(reply, Reply::Sign(_))) {
                return true;
            }
            from = to;
        }
        false
    }

    /// The line for a finding; what lost ranks were at is asked of those that knew it.
    fn line(&self, finding: &Finding, states: &[RankState], times: &Times) -> String {
        if let Finding::Lost(lost) = finding {
            for rank in lost.iter().filter(|rank| self.shared.last_of(**rank).is_none()) {
                let size = states.len();
                let before = neighbours(size).into_iter().map(|by| (rank + size - by) % size);
                let known = |other: &usize| {
                    *other != self.shared.rank && matches!(states[*other], RankState::Lives(_))
                };
                let before: Vec<usize> = before.filter(known).collect();
                let about = *rank as u32;
                for reply in self.asker.ask(&before, Why::Recalling, about, times.answer) {
                    if let Reply::Sign(sign) = reply
                        && sign.rank == about
                    {
                        self.shared.keep(&sign);
                    }
                }
            }
        }
        let goes_on = (self.beside.goes_on)();
        tell::line_of(finding, states, &self.shared, goes_on)
    }

    /// Tells, tells all that live to leave, and ends the run.
    fn end(&self, finding: &Finding, states: &[RankState], times: &Times) {
        let line = self.line(finding, states, times);
        if mpi_ends().1 || !ending::begin() {
            // It ends already.
            return;
        }
        let code = Exit::Peer as i32;
        ending::leave_within(END_LIMIT, code);
        tell::error(&line);
        record(self.beside.record, finding.first(), &line);
        crate::tell::passed_on();
        let living = (0..states.len()).filter(|rank| {
            *rank != self.shared.rank && matches!(states[*rank], RankState::Lives(_))
        });
        let living: Vec<usize> = living.collect();
        self.asker.ask(&living, Why::Ending, code as u32, times.answer);
        abort_all(code);
    }
}

/// Puts the end into the run's record, where the file system lets it in time.
fn record(record: fn(usize, &str), rank: usize, line: &str) {
    let (sender, done) = channel();
    let line = line.to_string();
    let write = move || {
        record(rank, &line);
        // Nobody waits any more where that took too long.
        let _ = sender.send(());
    };
    if ending::quiet_thread("record", write).is_ok() {
        let _ = done.recv_timeout(RECORD_LIMIT);
    }
}
