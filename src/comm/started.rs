//! The exchanges that a rank can start and go on working: typed, sealed (`seal.rs`).

use std::fmt::Display;
use std::panic::Location;

use bytemuck::Pod;

use super::Comm;
use super::backend::{Buffer, Buffers, Call, Cargo};
use super::collectives::Message;
use super::exchange::Exchange;
use super::lengths::{offsets, sealed};
use super::seal::{SEAL, seal_in, seal_numbers};

/// A gathering of parts whose lengths only their owners know. What is on its way is how long each
/// rank's is, and its seal; then the parts can start.
#[must_use = "the parts travel once `start` is called"]
pub(crate) struct Announced<'a, T> {
    comm: &'a Comm,
    mine: Vec<T>,
    /// Of each rank's part its length and its seal.
    heads: Exchange<'a, [u64; 2]>,
    place: Message,
}

impl<'a, T: Pod> Announced<'a, T> {
    /// Waits for the lengths, and starts the parts themselves: every rank's in rank order, and how
    /// long each is. Damage ends the run.
    #[track_caller]
    pub(crate) fn start(self) -> (Exchange<'a, T>, Vec<usize>) {
        let Announced { comm, mine, heads, place } = self;
        let heads = heads.wait();
        let counts: Vec<usize> = heads.iter().map(|head| head[0] as usize).collect();
        let all = vec![T::zeroed(); counts.iter().sum()];
        comm.carries(Cargo::Announced);
        let started = comm.start_all_gather_unsealed(mine, &counts, all).into_started();
        let lengths = counts.clone();
        let exchange = Exchange::new(started, move |comm, buffer| {
            let all = numbers::<T>(buffer);
            let places = offsets(&lengths).into_iter().zip(lengths).zip(heads).enumerate();
            for (rank, ((at, count), head)) in places {
                let bytes = bytemuck::cast_slice(&all[at..at + count]);
                comm.undamaged(comm.damage(rank, &place, bytes, head[1] as u32));
            }
            all
        });
        (exchange, counts)
    }
}

/// No memory.
pub(super) fn nothing() -> Box<dyn Buffer> {
    Box::new(Vec::<u8>::new())
}

/// The numbers that a buffer was made of.
pub(super) fn numbers<T: Pod>(buffer: Box<dyn Buffer>) -> Vec<T> {
    *buffer.into_any().downcast().expect("the kind of numbers that it was made of")
}

#[doc(hidden)]
impl Comm {
    /// Starts to replace everyone's `data`, which is `what`, by that of `root`. Lengths are equal.
    #[track_caller]
    pub fn start_broadcast<'a, T: Pod>(
        &'a self,
        what: impl Display + 'a,
        root: usize,
        mut data: Vec<T>,
    ) -> Exchange<'a, T> {
        let length = data.len();
        data.resize(length + seal_numbers::<T>(), T::zeroed());
        if self.rank() == root {
            self.put_seal(&mut data, length);
        }
        let buffers = Buffers { send: nothing(), receive: Box::new(data) };
        self.carries(Cargo::Numbers { seal_bytes: seal_numbers::<T>() * size_of::<T>() });
        let started = self.start(Call::Broadcast { root }, buffers, 0);
        Exchange::new(started, move |comm, buffer| {
            let mut data = numbers(buffer);
            comm.check_seal(what, root, &mut data[..]);
            data.truncate(length);
            data
        })
    }

    /// Starts to gather every rank's `mine` in rank order. All lengths are equal. Damage ends the
    /// run.
    #[track_caller]
    pub(crate) fn start_all_gather<T: Pod>(&self, mine: &[T]) -> Exchange<'_, T> {
        let place = Message(Location::caller());
        let mine: &[u8] = bytemuck::cast_slice(mine);
        let (length, mut sealed, size) = (mine.len(), mine.to_vec(), self.size());
        sealed.extend(self.seal_of(mine).to_le_bytes());
        let whole = sealed.len();
        let all = vec![0u8; whole * size];
        let buffers = Buffers { send: Box::new(sealed), receive: Box::new(all) };
        let started = self.start(Call::AllGather { counts: vec![whole; size] }, buffers, 0);
        Exchange::new(started, move |comm, buffer| {
            let mut all = vec![T::zeroed(); length / size_of::<T>().max(1) * size];
            let places = bytemuck::cast_slice_mut(&mut all).chunks_mut(length.max(1));
            for (rank, (part, place_of)) in buffer.bytes().chunks(whole).zip(places).enumerate() {
                let (part, seal) = part.split_at(length);
                comm.undamaged(comm.damage(rank, &place, part, seal_in(seal)));
                place_of.copy_from_slice(part);
            }
            all
        })
    }

    /// Starts to gather every rank's `mine`, of a length that only that rank knows.
    #[track_caller]
    pub(crate) fn start_all_gather_any<T: Pod>(&self, mine: Vec<T>) -> Announced<'_, T> {
        let place = Message(Location::caller());
        let seal = self.seal_of(bytemuck::cast_slice(&mine));
        let heads = self.start_all_gather(&[[mine.len() as u64, u64::from(seal)]]);
        Announced { comm: self, mine, heads, place }
    }

    /// Starts to gather every rank's `mine`, which is its part of `what`, in rank order;
    /// `counts[r]` is the length of rank r's.
    #[track_caller]
    pub fn start_all_gather_v<'a, T: Pod>(
        &'a self,
        what: impl Display + 'a,
        mut mine: Vec<T>,
        counts: &[usize],
    ) -> Exchange<'a, T> {
        let (length, seal) = (mine.len(), seal_numbers::<T>());
        assert_eq!(length, counts[self.rank()], "own count of an all-gather");
        mine.resize(length + seal, T::zeroed());
        self.put_seal(&mut mine, length);
        let sealed: Vec<usize> = counts.iter().map(|count| count + seal).collect();
        let all = vec![T::zeroed(); sealed.iter().sum()];
        self.carries(Cargo::Numbers { seal_bytes: seal * size_of::<T>() });
        let started = self.start_all_gather_unsealed(mine, &sealed, all).into_started();
        let counts = counts.to_vec();
        Exchange::new(started, move |comm, buffer| {
            let mut all = numbers(buffer);
            let mut length = 0;
            for (rank, (at, count)) in offsets(&sealed).into_iter().zip(counts).enumerate() {
                comm.check_seal(&what, rank, &mut all[at..at + count + seal]);
                if at > length {
                    all.copy_within(at..at + count, length);
                }
                length += count;
            }
            all.truncate(length);
            all
        })
    }

    /// As `start_all_gather_v`, into `all`, without seals: whoever calls proves what arrives.
    #[track_caller]
    pub fn start_all_gather_unsealed<T: Pod>(
        &self,
        mine: Vec<T>,
        counts: &[usize],
        all: Vec<T>,
    ) -> Exchange<'_, T> {
        assert_eq!(mine.len(), counts[self.rank()], "own count of an all-gather");
        assert_eq!(all.len(), counts.iter().sum::<usize>(), "sum of an all-gather's counts");
        let counts = counts.iter().map(|count| count * size_of::<T>()).collect();
        let buffers = Buffers { send: Box::new(mine), receive: Box::new(all) };
        let started = self.start(Call::AllGather { counts }, buffers, 0);
        Exchange::new(started, |_, buffer| numbers(buffer))
    }

    /// Starts to send each rank r its `send_counts[r]` numbers of `send`, which lie in rank order,
    /// and to receive `received_counts[r]` from it, in rank order; they are parts of `what`.
    /// `longest` is the longest of all parts that any rank sends any other, or more, and the same
    /// on all ranks. What the ordered sum scatters by.
    #[track_caller]
    pub fn start_all_to_all_v<'a, T: Pod>(
        &'a self,
        what: impl Display + 'a,
        (send, send_counts): (&[T], &[usize]),
        received_counts: &[usize],
        longest: usize,
    ) -> Exchange<'a, T> {
        let started = self.start_parts((send, send_counts), received_counts, longest);
        let counts = received_counts.to_vec();
        Exchange::new(started, move |comm, buffer| {
            let mut received = vec![T::zeroed(); counts.iter().sum()];
            unseal(buffer.bytes(), &counts, &mut received, |rank, part, seal, place| {
                if let Err(error) = comm.damage(rank, &what, part, seal) {
                    comm.keep_damage(error);
                    place.fill(0);
                }
            });
            received
        })
    }

    /// As `start_all_to_all_v`, into `received`, without seals: whoever calls proves what arrives.
    #[track_caller]
    pub(crate) fn start_all_to_all_unsealed<T: Pod>(
        &self,
        (send, send_counts): (Vec<T>, &[usize]),
        (received, received_counts): (Vec<T>, &[usize]),
        longest: usize,
    ) -> Exchange<'_, T> {
        assert_eq!(send.len(), send_counts.iter().sum::<usize>(), "what an all-to-all sends");
        assert_eq!(received.len(), received_counts.iter().sum::<usize>(), "what it receives");
        let bytes = |counts: &[usize]| counts.iter().map(|count| count * size_of::<T>()).collect();
        let (to, from): (Vec<usize>, _) = (bytes(send_counts), bytes(received_counts));
        let (at, longest) = (offsets(&to), longest * size_of::<T>());
        let buffers = Buffers { send: Box::new(send), receive: Box::new(received) };
        let started = self.start(Call::AllToAll { to, at, from }, buffers, longest);
        Exchange::new(started, |_, buffer| numbers(buffer))
    }

    /// What each rank sends here in rank order, each part followed by its seal unless it is empty.
    #[track_caller]
    pub(super) fn start_parts<T: Pod>(
        &self,
        (send, send_counts): (&[T], &[usize]),
        received_counts: &[usize],
        longest: usize,
    ) -> super::exchange::Started<'_> {
        let (to, from) = (sealed::<T>(send_counts), sealed::<T>(received_counts));
        let mut out = Vec::with_capacity(to.iter().sum());
        for part in offsets(send_counts).iter().zip(send_counts).map(|(at, n)| &send[*at..at + n]) {
            let bytes: &[u8] = bytemuck::cast_slice(part);
            out.extend_from_slice(bytes);
            if !bytes.is_empty() {
                out.extend(self.seal_of(bytes).to_le_bytes());
            }
        }
        let receive: Box<dyn Buffer> = Box::new(vec![0u8; from.iter().sum()]);
        let buffers = Buffers { send: Box::new(out), receive };
        self.carries(Cargo::Numbers { seal_bytes: SEAL });
        let at = offsets(&to);
        self.start(Call::AllToAll { to, at, from }, buffers, longest * size_of::<T>() + SEAL)
    }

    /// Starts to send each rank `shared[part_of[r]]`, if anything, which lie in this order in
    /// `send`, and to receive `counts[r]` numbers from it into `all`, without seals: whoever calls
    /// proves what arrives. No rank sends or receives more than `most` numbers, nor any one part of
    /// more than `longest`; both are the same on all ranks.
    #[track_caller]
    pub(crate) fn start_shares_unsealed<T: Pod>(
        &self,
        (send, shares, share_of): (Vec<T>, &[usize], &[Option<usize>]),
        (counts, all): (&[usize], Vec<T>),
        (most, longest): (usize, usize),
    ) -> Exchange<'_, T> {
        assert_eq!(send.len(), shares.iter().sum::<usize>(), "what the shares add up to");
        assert_eq!(all.len(), counts.iter().sum::<usize>(), "sum of an all-to-all's counts");
        let bytes = |count: usize| count * size_of::<T>();
        let places = offsets(shares);
        let of = |share: &Option<usize>| share.map_or((0, 0), |at| (shares[at], places[at]));
        let (to, at) = share_of.iter().map(of).map(|(to, at)| (bytes(to), bytes(at))).unzip();
        let from = counts.iter().copied().map(bytes).collect();
        let buffers = Buffers { send: Box::new(send), receive: Box::new(all) };
        // At once, where everybody's is short enough for that.
        let at_once = bytes(most) <= self.backend.count_max();
        let longest = if at_once { 0 } else { bytes(longest) };
        let started = self.start(Call::AllToAll { to, at, from }, buffers, longest);
        Exchange::new(started, |_, buffer| numbers(buffer))
    }

    /// Seals the first `length` of `numbers`, which has room for that.
    fn put_seal<T: Pod>(&self, numbers: &mut [T], length: usize) {
        let (own, seal) = numbers.split_at_mut(length);
        let crc = self.seal_of(bytemuck::cast_slice(own));
        bytemuck::cast_slice_mut(seal)[..SEAL].copy_from_slice(&crc.to_le_bytes());
    }

    /// Keeps the damage of a part that ends with its seal, and makes it zeros, if it is damaged.
    fn check_seal<T: Pod>(&self, what: impl Display, sender: usize, part: &mut [T]) {
        let (numbers, seal) = part.split_at_mut(part.len() - seal_numbers::<T>());
        let seal = seal_in(bytemuck::cast_slice(seal));
        if let Err(error) = self.damage(sender, what, bytemuck::cast_slice(numbers), seal) {
            self.keep_damage(error);
            numbers.fill(T::zeroed());
        }
    }
}

/// Copies sealed parts into `received`, and calls `check` with each part's rank, its bytes, its
/// seal and where it now lies.
pub(super) fn unseal<T: Pod>(
    arrived: &[u8],
    counts: &[usize],
    received: &mut [T],
    mut check: impl FnMut(usize, &[u8], u32, &mut [u8]),
) {
    let mut rest = received;
    let parts = offsets(&sealed::<T>(counts)).into_iter().zip(counts).enumerate();
    for (rank, (at, count)) in parts.filter(|part| *part.1.1 > 0) {
        let (place, after) = rest.split_at_mut(*count);
        let place = bytemuck::cast_slice_mut(place);
        let (part, seal) = arrived[at..].split_at(place.len());
        place.copy_from_slice(part);
        check(rank, part, seal_in(seal), place);
        rest = after;
    }
}
