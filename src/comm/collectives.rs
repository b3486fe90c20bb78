//! The calls that are waited for at once: typed, sealed (`seal.rs`). Each is an exchange.

use std::fmt::{self, Display};
use std::panic::Location;

use bytemuck::Pod;

use super::Comm;
use super::backend::{Buffers, Call};
use super::lengths::split;
use super::seal::{SEAL, seal_in};
use super::started::{nothing, unseal};

#[doc(hidden)]
impl Comm {
    #[track_caller]
    pub fn barrier(&self) {
        let buffers = Buffers { send: nothing(), receive: nothing() };
        self.start(Call::Barrier, buffers, 0).wait();
    }

    /// `data` of `root` replaces everyone's.
    #[track_caller]
    pub fn broadcast<T: Pod>(&self, root: usize, data: &mut [T]) {
        let place = Message(Location::caller());
        let own: &[u8] = bytemuck::cast_slice(data);
        let mut bytes = own.to_vec();
        bytes.extend(self.seal_of(own).to_le_bytes());
        let buffers = Buffers { send: nothing(), receive: Box::new(bytes) };
        let arrived = self.start(Call::Broadcast { root }, buffers, 0).wait().receive;
        let (arrived, seal) = arrived.bytes().split_at(arrived.bytes().len() - SEAL);
        self.undamaged(self.damage(root, &place, arrived, seal_in(seal)));
        bytemuck::cast_slice_mut(data).copy_from_slice(arrived);
    }

    /// Every rank's `mine` in rank order. All lengths are equal.
    #[track_caller]
    pub fn all_gather<T: Pod>(&self, mine: &[T]) -> Vec<T> {
        self.start_all_gather(mine).wait()
    }

    /// Every rank's `mine` in rank order, of lengths that only their owners know, a part per rank.
    #[track_caller]
    pub fn all_gather_any<T: Pod>(&self, mine: &[T]) -> Vec<Vec<T>> {
        let (exchange, counts) = self.start_all_gather_any(mine.to_vec()).start();
        split(&exchange.wait(), &counts)
    }

    /// Every rank's `mine`, which is its part of `what`, in rank order; `counts[r]` is the length
    /// of rank r's. What arrives damaged is zeros, and the next agreement gives an error.
    #[track_caller]
    pub(crate) fn all_gather_v<T: Pod>(
        &self,
        what: &str,
        mine: Vec<T>,
        counts: &[usize],
    ) -> Vec<T> {
        self.start_all_gather_v(what, mine, counts).wait()
    }

    /// Sends `parts[r]` to rank r and returns what each rank sent here, by rank. Any lengths.
    #[track_caller]
    pub fn all_to_all<T: Pod>(&self, parts: Vec<Vec<T>>) -> Vec<Vec<T>> {
        assert_eq!(parts.len(), self.size(), "one part for each rank");
        if self.size() == 1 {
            return parts;
        }
        let lengths: Vec<u64> = parts.iter().map(|part| part.len() as u64).collect();
        let ones = vec![1; self.size()];
        let mut counts = vec![0u64; self.size()];
        self.all_to_all_v(&lengths, &ones, &mut counts, &ones);
        let counts: Vec<usize> = counts.iter().map(|count| *count as usize).collect();
        let send_counts: Vec<usize> = parts.iter().map(Vec::len).collect();
        let mut received = vec![T::zeroed(); counts.iter().sum()];
        self.all_to_all_v(&parts.concat(), &send_counts, &mut received, &counts);
        split(&received, &counts)
    }

    /// `send` holds `send_counts[r]` elements for each rank r, in rank order; `received` becomes
    /// what each rank r had for this one, `received_counts[r]` elements each.
    #[track_caller]
    pub(crate) fn all_to_all_v<T: Pod>(
        &self,
        send: &[T],
        send_counts: &[usize],
        received: &mut [T],
        received_counts: &[usize],
    ) {
        let place = Message(Location::caller());
        let longest = self.longest(send_counts, received_counts);
        let started = self.start_parts((send, send_counts), received_counts, longest);
        let arrived = started.wait().receive;
        unseal(arrived.bytes(), received_counts, received, |rank, part, seal, _| {
            self.undamaged(self.damage(rank, &place, part, seal));
        });
    }

    /// As `all_to_all_v`, of parts of `what`. What arrives damaged is zeros, and the next agreement
    /// gives an error.
    #[track_caller]
    pub(super) fn exchange_numbers<T: Pod>(
        &self,
        what: &str,
        (send, send_counts): (&[T], &[usize]),
        received_counts: &[usize],
    ) -> Vec<T> {
        let longest = self.longest(send_counts, received_counts);
        self.start_all_to_all_v(what, (send, send_counts), received_counts, longest).wait()
    }

    /// The longest part of any rank: all ranks must take the same number of calls.
    #[track_caller]
    fn longest(&self, send_counts: &[usize], received_counts: &[usize]) -> usize {
        let own = send_counts.iter().chain(received_counts).copied().max();
        self.max(own.unwrap_or(0) as u64) as usize
    }

    /// The largest of every rank's `value`.
    #[track_caller]
    pub fn max(&self, value: u64) -> u64 {
        self.all_gather(&[value]).into_iter().max().expect("at least one rank")
    }

    /// Element by element the sum over ranks: whole numbers, so in any order.
    #[track_caller]
    pub fn sum(&self, values: &mut [u64]) {
        let length = values.len();
        for (index, value) in self.all_gather(values).into_iter().enumerate() {
            if index < length {
                values[index] = 0;
            }
            values[index % length] += value;
        }
    }
}

/// What an error calls a message that has no name: where it is sent from.
pub(super) struct Message(pub(crate) &'static Location<'static>);

impl Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "a message of {}:{}", self.0.file(), self.0.line())
    }
}
