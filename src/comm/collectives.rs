//! The calls that are waited for at once: typed, sealed (`seal.rs`). Each is an exchange.

use std::fmt::{self, Display};
use std::panic::Location;

use bytemuck::Pod;

use super::Comm;
use super::backend::{Buffers, Call};
use super::lengths::split;
use super::seal::{SEAL, seal_in};
use super::started::{nothing, unseal};

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
        let arrived = self.start(Call::Broadcast { root }, buffers, 0).wait();
        let (arrived, seal) = arrived.bytes().split_at(arrived.bytes().len() - SEAL);
        self.undamaged(self.damage(root, &place, arrived, seal_in(seal)));
        bytemuck::cast_slice_mut(data).copy_from_slice(arrived);
    }

    /// As `broadcast`, while `work` runs. `data`, which is `what`, isn't seen by `work`. Where it
    /// arrives damaged it is zeros, and the next agreement gives an error.
    #[track_caller]
    pub fn broadcast_during<T: Pod>(
        &self,
        what: impl Display,
        root: usize,
        data: &mut Vec<T>,
        work: impl FnOnce(&mut dyn FnMut()),
    ) {
        let mut exchange = self.start_broadcast(what, root, std::mem::take(data));
        work(&mut || {
            exchange.poll();
        });
        *data = exchange.wait();
    }

    /// Every rank's `mine` in rank order. All lengths are equal.
    #[track_caller]
    pub fn all_gather<T: Pod>(&self, mine: &[T]) -> Vec<T> {
        let place = Message(Location::caller());
        let mine: &[u8] = bytemuck::cast_slice(mine);
        let (length, mut sealed) = (mine.len(), mine.to_vec());
        sealed.extend(self.seal_of(mine).to_le_bytes());
        let whole = sealed.len();
        let all = vec![0u8; whole * self.size()];
        let buffers = Buffers { send: Box::new(sealed), receive: Box::new(all) };
        let call = Call::AllGather { counts: vec![whole; self.size()] };
        let arrived = self.start(call, buffers, 0).wait();
        let mut all = vec![T::zeroed(); length / size_of::<T>().max(1) * self.size()];
        let places = bytemuck::cast_slice_mut(&mut all).chunks_mut(length.max(1));
        for (rank, (part, place_of)) in arrived.bytes().chunks(whole).zip(places).enumerate() {
            let (part, seal) = part.split_at(length);
            self.undamaged(self.damage(rank, &place, part, seal_in(seal)));
            place_of.copy_from_slice(part);
        }
        all
    }

    /// Every rank's `mine` in rank order, of lengths that only their owners know, a part per rank.
    #[track_caller]
    pub fn all_gather_any<T: Pod>(&self, mine: &[T]) -> Vec<Vec<T>> {
        let place = Message(Location::caller());
        let seal = self.seal_of(bytemuck::cast_slice(mine));
        let heads = self.all_gather(&[[mine.len() as u64, u64::from(seal)]]);
        let counts: Vec<usize> = heads.iter().map(|head| head[0] as usize).collect();
        let all = vec![T::zeroed(); counts.iter().sum()];
        let all = self.start_all_gather_unsealed(mine.to_vec(), &counts, all).wait();
        let parts = split(&all, &counts);
        for (rank, (part, head)) in parts.iter().zip(&heads).enumerate() {
            let bytes = bytemuck::cast_slice(part);
            self.undamaged(self.damage(rank, &place, bytes, head[1] as u32));
        }
        parts
    }

    /// Every rank's `mine`, which is its part of `what`, in rank order; `counts[r]` is the length
    /// of rank r's. What arrives damaged is zeros, and the next agreement gives an error.
    #[track_caller]
    pub fn all_gather_v<T: Pod>(&self, what: &str, mine: Vec<T>, counts: &[usize]) -> Vec<T> {
        self.start_all_gather_v(what, mine, counts).wait()
    }

    /// `all` becomes every rank's `mine` in rank order, `counts[r]` the length of rank r's, while
    /// `work` runs, which sees neither. Without seals: whoever calls proves what arrives.
    #[track_caller]
    pub fn all_gather_v_during<T: Pod>(
        &self,
        mine: Vec<T>,
        counts: &[usize],
        all: &mut Vec<T>,
        work: impl FnOnce(&mut dyn FnMut()),
    ) {
        let mut exchange = self.start_all_gather_unsealed(mine, counts, std::mem::take(all));
        work(&mut || {
            exchange.poll();
        });
        *all = exchange.wait();
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
    pub fn all_to_all_v<T: Pod>(
        &self,
        send: &[T],
        send_counts: &[usize],
        received: &mut [T],
        received_counts: &[usize],
    ) {
        let place = Message(Location::caller());
        let longest = self.longest(send_counts, received_counts);
        let started = self.start_parts((send, send_counts), received_counts, longest);
        let arrived = started.wait();
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
struct Message(&'static Location<'static>);

impl Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "a message of {}:{}", self.0.file(), self.0.line())
    }
}
