//! Asks many ranks at once, each within a limit, on connections of their own that end with the
//! answer. Nothing in here waits for a single one.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytemuck::Zeroable;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, read, write};
use rustix::net::sockopt::socket_error;
use rustix::net::{AddressFamily, connect};

use super::sign::{ANSWER, Nonce, Question, Sign, Token, Why, opened, sealed};
use crate::system;

/// Sockets that are open at once.
const OPEN_MAX: usize = 256;
/// An address gets this share of the limit before the next one is tried beside it.
const STEPS: u32 = 4;

/// What comes of asking a rank.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    Sign(Box<Sign>),
    /// Its system takes connections, but nobody answers: its process is stopped.
    Unanswered,
    /// Its system says that nobody listens there: its process is gone.
    Refused,
    /// Nothing comes back at all.
    Unreached,
    /// It couldn't be asked, for want of sockets here.
    Unasked,
}

/// Who can ask all ranks.
pub(crate) struct Asker {
    token: Token,
    rank: usize,
    addresses: Vec<Vec<SocketAddr>>,
    /// Which address of a rank has answered last, and one; 0: none yet.
    best: Vec<AtomicUsize>,
}

impl Asker {
    pub(crate) fn new(token: Token, rank: usize, addresses: Vec<Vec<SocketAddr>>) -> Asker {
        let best = addresses.iter().map(|_| AtomicUsize::new(0)).collect();
        Asker { token, rank, addresses, best }
    }

    /// Whether a rank has an address at all.
    pub(crate) fn knows(&self, rank: usize) -> bool {
        !self.addresses[rank].is_empty()
    }

    /// Asks each of `ranks`; each has `limit` from the moment on when it is asked.
    pub(crate) fn ask(&self, ranks: &[usize], why: Why, about: u32, limit: Duration) -> Vec<Reply> {
        let targets = ranks.iter().map(|rank| self.target(*rank, why, about)).collect();
        let mut round = Round { asker: self, limit, targets, attempts: Vec::new() };
        while round.targets.iter().any(|target| target.reply.is_none()) {
            let now = Instant::now();
            (0..round.targets.len()).for_each(|index| round.go_on(index, now));
            let Round { targets, attempts, .. } = &mut round;
            attempts.retain(|attempt| targets[attempt.target].reply.is_none());
            round.wait(now);
        }
        round.targets.into_iter().map(|target| target.reply.expect("the loop's end")).collect()
    }

    fn target(&self, to: usize, why: Why, about: u32) -> Target {
        let mut nonce = Nonce::zeroed();
        // The system always has so few.
        let _ = system::random(&mut nonce);
        let (from, why) = (self.rank as u32, why as u32);
        let question = Question { nonce, from, to: to as u32, why, about };
        let best = self.best[to].load(Relaxed).checked_sub(1);
        let mut left: Vec<usize> = (0..self.addresses[to].len()).rev().collect();
        if let Some(best) = best {
            left.retain(|address| *address != best);
            left.push(best);
        }
        let (next_at, end, reply) = (None, None, None);
        Target { to, question, best, left, next_at, end, reply, open: 0, refused: false }
    }
}

/// One rank while it is asked.
struct Target {
    to: usize,
    question: Question,
    best: Option<usize>,
    /// Addresses that haven't been tried yet, the next one last.
    left: Vec<usize>,
    next_at: Option<Instant>,
    end: Option<Instant>,
    reply: Option<Reply>,
    /// Connections to it.
    open: usize,
    /// Whether it has refused one where the rank had answered before.
    refused: bool,
}

/// One connection.
struct Attempt {
    target: usize,
    address: usize,
    socket: OwnedFd,
    connected: bool,
    got: Vec<u8>,
}

struct Round<'a> {
    asker: &'a Asker,
    limit: Duration,
    targets: Vec<Target>,
    attempts: Vec<Attempt>,
}

impl Round<'_> {
    /// Ends a target whose time is over, or tries its next address where it is time to.
    fn go_on(&mut self, index: usize, now: Instant) {
        let target = &mut self.targets[index];
        if target.reply.is_some() {
            return;
        }
        let over = target.end.is_some_and(|end| now >= end);
        if over || (target.open == 0 && target.left.is_empty()) {
            let taken = |attempt: &Attempt| attempt.target == index && attempt.connected;
            target.reply = Some(match target.refused {
                _ if self.attempts.iter().any(taken) => Reply::Unanswered,
                true => Reply::Refused,
                false => Reply::Unreached,
            });
            return;
        }
        let due = target.open == 0 || target.next_at.is_none_or(|at| now >= at);
        if !due || self.attempts.len() >= OPEN_MAX {
            return;
        }
        let Some(address) = target.left.pop() else { return };
        match begin(self.asker.addresses[target.to][address]) {
            Ok(socket) => {
                let (connected, got) = (false, Vec::new());
                self.attempts.push(Attempt { target: index, address, socket, connected, got });
                target.open += 1;
            }
            Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                target.left.push(address);
                // Others will give theirs back; whoever waits for nobody has nothing to hope for.
                if self.attempts.is_empty() {
                    target.reply = Some(Reply::Unasked);
                }
                return;
            }
            Err(error) => target.failed(address, error),
        }
        target.end.get_or_insert(now + self.limit);
        target.next_at = Some(now + self.limit / STEPS);
    }

    /// Waits for whatever comes first on any connection, or for the next moment to go on.
    fn wait(&mut self, now: Instant) {
        let unanswered = self.targets.iter().filter(|target| target.reply.is_none());
        let moments = unanswered.flat_map(|target| {
            let next = target.next_at.filter(|_| !target.left.is_empty());
            [next, target.end].into_iter().flatten()
        });
        let next = moments.min().map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        let next = next.max(Duration::from_millis(1)).try_into().expect("seconds");
        let flags = |attempt: &Attempt| match attempt.connected {
            true => PollFlags::IN,
            false => PollFlags::OUT,
        };
        let fds = self.attempts.iter().map(|attempt| PollFd::new(&attempt.socket, flags(attempt)));
        let mut fds: Vec<PollFd> = fds.collect();
        // An interrupted wait is a short one.
        let _ = poll(&mut fds, Some(&next));
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let attempts = std::mem::take(&mut self.attempts);
        for (attempt, ready) in attempts.into_iter().zip(ready) {
            let target = attempt.target;
            match if ready { self.step(attempt) } else { Some(attempt) } {
                Some(attempt) => self.attempts.push(attempt),
                None => self.targets[target].open -= 1,
            }
        }
    }

    /// Goes on with a connection on which something has happened; none comes back where it is over.
    fn step(&mut self, mut attempt: Attempt) -> Option<Attempt> {
        let (token, target) = (&self.asker.token, &mut self.targets[attempt.target]);
        if !attempt.connected {
            if let Err(error) = socket_error(&attempt.socket).and_then(|outcome| outcome) {
                target.failed(attempt.address, error);
                return None;
            }
            // An empty socket has room for all of it.
            let question = sealed(token, &target.question.nonce, &target.question);
            attempt.connected = true;
            return (write(&attempt.socket, &question) == Ok(question.len())).then_some(attempt);
        }
        let mut piece = [0; ANSWER];
        match read(&attempt.socket, &mut piece[..ANSWER - attempt.got.len()]) {
            Err(Errno::AGAIN | Errno::INTR) => return Some(attempt),
            // Somebody else who listens there.
            Ok(0) | Err(_) => return None,
            Ok(count) => attempt.got.extend(&piece[..count]),
        }
        if attempt.got.len() < ANSWER {
            return Some(attempt);
        }
        let sign = opened::<Sign>(token, &target.question.nonce, &attempt.got)?;
        target.reply = Some(Reply::Sign(Box::new(sign)));
        self.asker.best[target.to].store(attempt.address + 1, Relaxed);
        None
    }
}

impl Target {
    fn failed(&mut self, address: usize, error: Errno) {
        self.refused |= error == Errno::CONNREFUSED && self.best == Some(address);
    }
}

/// Begins to connect.
fn begin(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = system::socket(family)?;
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}
