//! The calls that the rest of the program makes: typed, of any length, split where they are too
//! long for one message, and sealed (`seal.rs`).

use std::fmt::{self, Display};
use std::panic::Location;

use bytemuck::Pod;

use super::Comm;
use super::seal::{SEAL, seal_in, seal_numbers};

fn nothing(_: &mut dyn FnMut()) {}

impl Comm {
    #[track_caller]
    pub fn barrier(&self) {
        self.counted(0, 0, nothing, |backend, _| backend.barrier());
    }

    /// `data` of `root` replaces everyone's.
    #[track_caller]
    pub fn broadcast<T: Pod>(&self, root: usize, data: &mut [T]) {
        let place = Message(Location::caller());
        let own: &[u8] = bytemuck::cast_slice(data);
        let mut bytes = own.to_vec();
        bytes.extend(self.seal_of(own).to_le_bytes());
        self.broadcast_bytes(root, &mut bytes, nothing);
        let (arrived, seal) = bytes.split_at(bytes.len() - SEAL);
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
        work: impl FnMut(&mut dyn FnMut()),
    ) {
        let length = data.len();
        data.resize(length + seal_numbers::<T>(), T::zeroed());
        if self.rank() == root {
            self.put_seal(data, length);
        }
        self.broadcast_bytes(root, bytemuck::cast_slice_mut(data), work);
        self.check_seal(what, root, &mut data[..]);
        data.truncate(length);
    }

    #[track_caller]
    fn broadcast_bytes(
        &self,
        root: usize,
        bytes: &mut [u8],
        mut work: impl FnMut(&mut dyn FnMut()),
    ) {
        let (first, rest) = bytes.split_at_mut(bytes.len().min(self.backend.count_max()));
        let mine = self.rank() == root;
        let (sent, received) = if mine { (first.len(), 0) } else { (0, first.len()) };
        self.counted(sent, received, &mut work, |backend, work| {
            backend.broadcast(root, first, work)
        });
        if !rest.is_empty() {
            self.broadcast_bytes(root, rest, nothing);
        }
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

    /// Every rank's `mine` in rank order. All lengths are equal.
    #[track_caller]
    pub fn all_gather<T: Pod>(&self, mine: &[T]) -> Vec<T> {
        let place = Message(Location::caller());
        let mine: &[u8] = bytemuck::cast_slice(mine);
        let mut sealed = mine.to_vec();
        sealed.extend(self.seal_of(mine).to_le_bytes());
        let counts = vec![sealed.len(); self.size()];
        let mut bytes = vec![0; sealed.len() * self.size()];
        self.all_gather_bytes(&sealed, &counts, &mut bytes, nothing);
        let mut all = vec![T::zeroed(); mine.len() / size_of::<T>().max(1) * self.size()];
        let places = bytemuck::cast_slice_mut(&mut all).chunks_mut(mine.len().max(1));
        for (rank, (part, place_of)) in bytes.chunks(sealed.len()).zip(places).enumerate() {
            let (part, seal) = part.split_at(mine.len());
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
        let mut all = vec![T::zeroed(); counts.iter().sum()];
        self.all_gather_v_during(mine, &counts, &mut all, nothing);
        let parts = split(all, &counts);
        for (rank, (part, head)) in parts.iter().zip(&heads).enumerate() {
            let bytes = bytemuck::cast_slice(part);
            self.undamaged(self.damage(rank, &place, bytes, head[1] as u32));
        }
        parts
    }

    /// Every rank's `mine`, which is its part of `what`, in rank order; `counts[r]` is the length
    /// of rank r's. What arrives damaged is zeros, and the next agreement gives an error.
    #[track_caller]
    pub fn all_gather_v<T: Pod>(&self, what: &str, mut mine: Vec<T>, counts: &[usize]) -> Vec<T> {
        let (length, seal) = (mine.len(), seal_numbers::<T>());
        mine.resize(length + seal, T::zeroed());
        self.put_seal(&mut mine, length);
        let sealed: Vec<usize> = counts.iter().map(|count| count + seal).collect();
        let mut all = vec![T::zeroed(); sealed.iter().sum()];
        self.all_gather_v_during(&mine, &sealed, &mut all, nothing);
        let mut length = 0;
        for (rank, (at, count)) in offsets(&sealed).into_iter().zip(counts).enumerate() {
            self.check_seal(what, rank, &mut all[at..at + count + seal]);
            if at > length {
                all.copy_within(at..at + count, length);
            }
            length += count;
        }
        all.truncate(length);
        all
    }

    /// `all` becomes every rank's `mine` in rank order, `counts[r]` the length of rank r's, while
    /// `work` runs, which sees neither. Without seals: whoever calls proves what arrives.
    #[track_caller]
    pub fn all_gather_v_during<T: Pod>(
        &self,
        mine: &[T],
        counts: &[usize],
        all: &mut [T],
        work: impl FnMut(&mut dyn FnMut()),
    ) {
        assert_eq!(mine.len(), counts[self.rank()], "own count of an all-gather");
        assert_eq!(all.len(), counts.iter().sum::<usize>(), "sum of an all-gather's counts");
        let bytes: Vec<usize> = counts.iter().map(|count| count * size_of::<T>()).collect();
        let all = bytemuck::cast_slice_mut(all);
        self.all_gather_bytes(bytemuck::cast_slice(mine), &bytes, all, work);
    }

    #[track_caller]
    fn all_gather_bytes(
        &self,
        mine: &[u8],
        bytes: &[usize],
        all: &mut [u8],
        mut work: impl FnMut(&mut dyn FnMut()),
    ) {
        if all.len() <= self.backend.count_max() {
            self.counted(mine.len(), all.len() - mine.len(), &mut work, |backend, work| {
                backend.all_gather_v(mine, bytes, all, work)
            });
            return;
        }
        // Too long for one call: turns in which every rank gives at most its share of the limit.
        work(&mut || ());
        let offsets = offsets(bytes);
        let share = self.backend.count_max() / self.size();
        for from in (0..*bytes.iter().max().unwrap()).step_by(share) {
            let part = |rank: usize| from.min(bytes[rank])..(from + share).min(bytes[rank]);
            let counts: Vec<usize> = (0..self.size()).map(|rank| part(rank).len()).collect();
            let mut turn = vec![0; counts.iter().sum()];
            let mine = &mine[part(self.rank())];
            self.counted(mine.len(), turn.len() - mine.len(), nothing, |backend, work| {
                backend.all_gather_v(mine, &counts, &mut turn, work)
            });
            for (rank, piece) in split(turn, &counts).iter().enumerate() {
                let at = offsets[rank] + part(rank).start;
                all[at..at + piece.len()].copy_from_slice(piece);
            }
        }
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
        split(received, &counts)
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
        let arrived = self.exchange(send, send_counts, received_counts);
        let check = |rank, part: &[u8], seal, _: &mut [u8]| {
            self.undamaged(self.damage(rank, &place, part, seal));
        };
        unseal(&arrived, received_counts, received, check);
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
        let arrived = self.exchange(send, send_counts, received_counts);
        let mut received = vec![T::zeroed(); received_counts.iter().sum()];
        let check = |rank, part: &[u8], seal, place: &mut [u8]| {
            if let Err(error) = self.damage(rank, what, part, seal) {
                self.keep_damage(error);
                place.fill(0);
            }
        };
        unseal(&arrived, received_counts, &mut received, check);
        received
    }

    /// What each rank sent here in rank order, each part followed by its seal unless it is empty.
    #[track_caller]
    fn exchange<T: Pod>(
        &self,
        send: &[T],
        send_counts: &[usize],
        received_counts: &[usize],
    ) -> Vec<u8> {
        let (to, from) = (sealed::<T>(send_counts), sealed::<T>(received_counts));
        let mut out = Vec::with_capacity(to.iter().sum());
        for part in offsets(send_counts).iter().zip(send_counts).map(|(at, n)| &send[*at..at + n]) {
            let bytes: &[u8] = bytemuck::cast_slice(part);
            out.extend_from_slice(bytes);
            if !bytes.is_empty() {
                out.extend(self.seal_of(bytes).to_le_bytes());
            }
        }
        let longest = to.iter().chain(&from).copied().max().unwrap_or(0);
        // All ranks must take the same number of turns. One turn is the rule.
        let share = self.backend.count_max() / self.size();
        let turns = self.max(longest.div_ceil(share) as u64) as usize;
        if turns == 1 {
            return self.exchange_bytes(&out, &to, &from);
        }
        let (to_at, from_at) = (offsets(&to), offsets(&from));
        let mut arrived = vec![0; from.iter().sum()];
        for turn in 0..turns {
            let part = |n: usize| (turn * share).min(n)..((turn + 1) * share).min(n);
            let mut now = Vec::new();
            for (at, n) in to_at.iter().zip(&to) {
                now.extend_from_slice(&out[*at..at + n][part(*n)]);
            }
            let to_now: Vec<usize> = to.iter().map(|n| part(*n).len()).collect();
            let from_now: Vec<usize> = from.iter().map(|n| part(*n).len()).collect();
            let inward = self.exchange_bytes(&now, &to_now, &from_now);
            for (rank, piece) in split(inward, &from_now).iter().enumerate() {
                let at = from_at[rank] + part(from[rank]).start;
                arrived[at..at + piece.len()].copy_from_slice(piece);
            }
        }
        arrived
    }

    #[track_caller]
    fn exchange_bytes(&self, out: &[u8], to: &[usize], from: &[usize]) -> Vec<u8> {
        let mut inward = vec![0; from.iter().sum()];
        self.counted(out.len(), inward.len(), nothing, |backend, _| {
            backend.all_to_all_v(out, to, &mut inward, from)
        });
        inward
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

/// Bytes of parts of so many numbers, each with its seal; an empty one has none.
fn sealed<T>(counts: &[usize]) -> Vec<usize> {
    let bytes = counts.iter().map(|count| count * size_of::<T>());
    bytes.map(|bytes| if bytes == 0 { 0 } else { bytes + SEAL }).collect()
}

/// Copies sealed parts into `received`, and calls `check` with each part's rank, its bytes, its
/// seal and where it now lies.
fn unseal<T: Pod>(
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

/// Where each of the consecutive parts of these lengths begins.
fn offsets(counts: &[usize]) -> Vec<usize> {
    counts.iter().scan(0, |at, count| Some(std::mem::replace(at, *at + count))).collect()
}

/// Cuts `all` into consecutive parts of these lengths.
fn split<T: Pod>(all: Vec<T>, counts: &[usize]) -> Vec<Vec<T>> {
    let at = offsets(counts);
    counts.iter().zip(at).map(|(count, at)| all[at..at + count].to_vec()).collect()
}
