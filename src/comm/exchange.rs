//! Exchanges that are under way (docs/exchanges.md): what a rank has started it polls and waits
//! for, or drops. Messages that are too long for one call are split here.

use std::panic::Location;
use std::time::Instant;

use bytemuck::Pod;

use super::Comm;
use super::backend::{Buffer, Buffers, Call, Pending};
use super::lengths::offsets;
use super::started::numbers;
use crate::progress::tick;

/// Proves what has arrived, and gives its numbers.
type Prove<'a, T> = dyn FnOnce(&Comm, Box<dyn Buffer>) -> Vec<T> + 'a;

/// An exchange of numbers that this rank has started. `wait` gives what it brings; dropping it
/// waits for nobody, and what it brings is lost.
#[must_use = "what it brings comes from `wait`"]
pub struct Exchange<'a, T> {
    started: Started<'a>,
    /// Proves what has arrived.
    prove: Box<Prove<'a, T>>,
}

impl<'a, T: Pod> Exchange<'a, T> {
    pub(super) fn new(
        started: Started<'a>,
        prove: impl FnOnce(&Comm, Box<dyn Buffer>) -> Vec<T> + 'a,
    ) -> Exchange<'a, T> {
        Exchange { started, prove: Box::new(prove) }
    }

    /// Whether all of it has arrived. Never waits, isn't collective, and moves all exchanges that
    /// are open, not this one alone.
    pub fn poll(&mut self) -> bool {
        self.started.poll()
    }

    /// Without what proves it.
    pub(super) fn into_started(self) -> Started<'a> {
        self.started
    }

    /// Waits until all of it has arrived, and gives it. Parts that arrived damaged are zeros, and
    /// the next agreement gives an error.
    #[track_caller]
    pub fn wait(self) -> Vec<T> {
        let comm = self.started.comm;
        (self.prove)(comm, self.started.wait().receive)
    }

    /// The same, and the memory of what was sent.
    #[track_caller]
    pub(crate) fn wait_both(self) -> (Vec<T>, Vec<T>) {
        let comm = self.started.comm;
        let Buffers { send, receive } = self.started.wait();
        ((self.prove)(comm, receive), numbers(send))
    }
}

/// An exchange of bytes, of one call or several.
pub(super) struct Started<'a> {
    comm: &'a Comm,
    /// Bytes that this rank gives and gets.
    bytes: usize,
    pending: Vec<Box<dyn Pending>>,
    /// How many of them are known to be complete.
    complete: usize,
    cut: Option<Cut>,
}

/// How the bytes of a message lie that was cut into several calls.
struct Cut {
    /// Bytes that come from each rank, in all.
    from: Vec<usize>,
    /// Bytes of each rank's in a call.
    share: usize,
    whole: Buffers,
}

/// What of `bytes` bytes goes into call `index`.
fn piece(bytes: usize, share: usize, index: usize) -> std::ops::Range<usize> {
    (index * share).min(bytes)..(index * share).saturating_add(share).min(bytes)
}

/// Those pieces of the parts that lie at these places in `all`.
fn pieces(
    all: &[u8],
    (places, counts): (&[usize], &[usize]),
    share: usize,
    index: usize,
) -> Vec<u8> {
    let parts = places.iter().zip(counts);
    let pieces = parts.map(|(at, count)| &all[*at..at + count][piece(*count, share, index)]);
    pieces.collect::<Vec<_>>().concat()
}

#[doc(hidden)]
impl Comm {
    /// Starts an exchange; `longest` is at least the longest part that any rank sends to any other
    /// in an all-to-all, and the same on all ranks.
    #[track_caller]
    pub(super) fn start(&self, call: Call, buffers: Buffers, longest: usize) -> Started<'_> {
        let started = Instant::now();
        let (rank, size, most) = (self.rank(), self.size(), self.backend.count_max());
        let (send, all) = (buffers.send.bytes().len(), buffers.receive.bytes().len());
        let own = match &call {
            Call::Broadcast { root } if *root == rank => all,
            Call::AllGather { .. } => send,
            _ => 0,
        };
        let sent = if let Call::Broadcast { .. } = call { own } else { send };
        let bytes = sent + all - own;
        // A part of each rank's goes into one call.
        let (from, share, calls) = match &call {
            Call::Barrier => (Vec::new(), 0, 1),
            Call::Broadcast { root } => {
                let from = (0..size).map(|rank| if rank == *root { all } else { 0 }).collect();
                (from, most, all.div_ceil(most).max(1))
            }
            Call::AllGather { counts } => {
                let longest = counts.iter().max().map_or(0, |count| *count);
                let calls = if all <= most { 1 } else { longest.div_ceil(most / size) };
                (counts.clone(), most / size, calls)
            }
            Call::AllToAll { from, .. } => {
                (from.clone(), most / size, longest.div_ceil(most / size).max(1))
            }
        };
        let mut exchange =
            Started { comm: self, bytes, pending: Vec::new(), complete: 0, cut: None };
        if calls == 1 {
            exchange.pending.push(self.give(call, buffers, (sent, all - own)));
        } else {
            let Buffers { send, receive } = buffers;
            for index in 0..calls {
                let (call, send, received) =
                    cut(&call, (send.bytes(), receive.bytes()), &from, share, index);
                let counted = match &call {
                    Call::Broadcast { root } if *root == rank => (received.len(), 0),
                    Call::AllGather { counts } => (send.len(), received.len() - counts[rank]),
                    _ => (send.len(), received.len()),
                };
                let buffers = Buffers { send: Box::new(send), receive: Box::new(received) };
                exchange.pending.push(self.give(call, buffers, counted));
            }
            exchange.cut = Some(Cut { from, share, whole: Buffers { send, receive } });
        }
        self.count_wait(started.elapsed().as_secs_f64());
        exchange
    }

    #[track_caller]
    fn give(&self, call: Call, buffers: Buffers, counted: (usize, usize)) -> Box<dyn Pending> {
        self.pass_on_stop();
        self.backend.called_from(Location::caller());
        self.count_message(counted.0, counted.1);
        self.backend.start(call, buffers)
    }
}

/// Call `index` of a message that is cut: what it is, sends and receives.
fn cut(
    call: &Call,
    (send, receive): (&[u8], &[u8]),
    from: &[usize],
    share: usize,
    index: usize,
) -> (Call, Vec<u8>, Vec<u8>) {
    let lengths = |counts: &[usize]| -> Vec<usize> {
        counts.iter().map(|count| piece(*count, share, index).len()).collect()
    };
    let from_now = lengths(from);
    let room = vec![0; from_now.iter().sum()];
    match call {
        Call::Barrier => (Call::Barrier, Vec::new(), room),
        // The root's own bytes are what it sends.
        Call::Broadcast { .. } => {
            let own = pieces(receive, (&offsets(from), from), share, index);
            (call.clone(), Vec::new(), own)
        }
        Call::AllGather { .. } => {
            let send = send[piece(send.len(), share, index)].to_vec();
            (Call::AllGather { counts: from_now }, send, room)
        }
        Call::AllToAll { to, at, .. } => {
            let send = pieces(send, (at, to), share, index);
            let to = lengths(to);
            let at = offsets(&to);
            (Call::AllToAll { to, at, from: from_now }, send, room)
        }
    }
}

impl Started<'_> {
    pub(super) fn poll(&mut self) -> bool {
        self.comm.pass_on_stop();
        while self.complete < self.pending.len() && self.pending[self.complete].poll() {
            self.complete += 1;
        }
        self.complete == self.pending.len()
    }

    /// Waits until all has arrived, and gives the memory back.
    #[track_caller]
    pub(super) fn wait(self) -> Buffers {
        let Started { comm, bytes, pending, cut, .. } = self;
        let started = Instant::now();
        comm.own.activity.waits(Location::caller(), bytes);
        let arrived = pending.into_iter().map(|pending| pending.wait());
        let buffers = match cut {
            None => arrived.last().expect("an exchange has at least one call"),
            Some(Cut { from, share, mut whole }) => {
                let at = offsets(&from);
                for (index, buffers) in arrived.enumerate() {
                    let mut rest = buffers.receive.bytes();
                    for (at, count) in at.iter().zip(&from) {
                        let place = piece(*count, share, index);
                        let (part, after) = rest.split_at(place.len());
                        let to = at + place.start..at + place.end;
                        whole.receive.bytes_mut()[to].copy_from_slice(part);
                        rest = after;
                    }
                }
                whole
            }
        };
        comm.own.activity.works();
        tick();
        comm.count_wait(started.elapsed().as_secs_f64());
        buffers
    }
}
