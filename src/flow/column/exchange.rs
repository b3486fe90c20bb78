//! How one part of a block's gradient becomes weights, between the ranks of a column: two
//! exchanges, each with words beside it that prove what has come.
//!
//! ```text
//! sums      all-to-all: of each node of its own slices a rank gives every rank that one's stretch
//!           words: its vote, and of what it gives each rank the crc32c
//! weights   all-gather: the stretch that a rank has stepped; in order they are the part
//!           words: the crc32c of that
//! ```
//!
//! Each kind travels in a group of its own, since gradients are given in one order, but weights get
//! ready at other moments on each rank: in each group all ranks start the same in the same order.

use std::ops::{AddAssign, Range};
use std::rc::Rc;

use super::Vote;
use crate::comm::{Cargo, Comm, Exchange, crc32c_of_each};
use crate::flow::grid::ColumnLanes;
use crate::team::Team;
use crate::tree::{Node, Partials};

/// Numbers of a sum that a thread adds at once.
const PIECE: usize = 1 << 14;

/// What memory of a column's exchanges is for. Of each kind about as much is in use at a time,
/// block after block, so that what one is done with does for the next one of its kind and for no
/// other.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// A sum of a part over the slices of a node.
    Node,
    /// Such sums side by side, as they are sent.
    Sent,
    /// Stretches of all ranks' nodes.
    Come,
    /// A stretch of a part: its sum, or its weights.
    Stretch,
    /// All weights of a part.
    Part,
}

/// Memory that was in use, by its kind.
#[derive(Default)]
pub(super) struct Free([Vec<Vec<f32>>; 5]);

impl Free {
    /// So many numbers, which hold anything: of what was about as long, since what it grows by is
    /// filled.
    pub(super) fn room(&mut self, kind: Kind, numbers: usize) -> Vec<f32> {
        let own = &mut self.0[kind as usize];
        let nearest = (0..own.len()).min_by_key(|place| own[*place].len().abs_diff(numbers));
        let mut room = nearest.map_or_else(Vec::new, |place| own.swap_remove(place));
        // What it held isn't copied.
        if room.capacity() < numbers {
            room = Vec::new();
        }
        room.resize(numbers, 0.0);
        room
    }

    pub(super) fn take_back(&mut self, kind: Kind, room: Vec<f32>) {
        self.0[kind as usize].push(room);
    }
}

/// Partial sums of a part on their way to the homes of their stretches.
pub(super) struct Sums<'a> {
    numbers: Exchange<'a, f32>,
    /// What is sent.
    sent: Kind,
    words: Exchange<'a, u32>,
}

/// Weights of a part on their way to all ranks of the column.
pub(super) struct Weights<'a> {
    numbers: Exchange<'a, f32>,
    words: Exchange<'a, u32>,
}

/// What has come of a part's sums: stretches of all ranks' nodes, and all ranks' words.
pub(super) struct Come {
    numbers: Vec<f32>,
    words: Vec<u32>,
    ranks: usize,
}

fn crc(numbers: &[f32]) -> u32 {
    crc32c::crc32c(bytemuck::cast_slice(numbers))
}

/// The crc32c of each of consecutive parts of `numbers`, by all threads of the rank.
fn crcs(comm: &Comm, numbers: &[f32], counts: &[usize]) -> Vec<u32> {
    let mut rest = numbers;
    let parts = counts.iter().map(|count| {
        let (part, after) = rest.split_at(*count);
        rest = after;
        bytemuck::cast_slice(part)
    });
    crc32c_of_each(comm.threads(), &parts.collect::<Vec<_>>())
}

/// Makes zeros of the parts that didn't come as they were sent, and keeps the damage until ranks
/// agree: `seals[r]` is the crc32c of rank r's part, `counts[r]` its length.
fn prove(comm: &Comm, what: &str, numbers: &mut [f32], counts: &[usize], seals: &[u32]) {
    let found = crcs(comm, numbers, counts);
    let mut at = 0;
    for (rank, count) in counts.iter().enumerate() {
        // What a rank sends itself doesn't travel.
        if rank != comm.rank() && found[rank] != seals[rank] {
            numbers[at..at + count].fill(0.0);
            comm.keep_damage(comm.damaged(rank, what, found[rank], seals[rank]));
        }
        at += count;
    }
}

/// Starts the sums of a part: `nodes` are those of the own slices, each as long as the part, which
/// is cut into `stretches`, one a rank; `held[r]` are rank r's nodes. Memory comes from `free` and
/// goes back there.
pub(super) fn start_sums<'a>(
    lanes: &'a ColumnLanes,
    mut nodes: Vec<Vec<f32>>,
    (stretches, held): (&[Range<usize>], &[Vec<Node>]),
    vote: Vote,
    free: &mut Free,
) -> Sums<'a> {
    let comm = &lanes.sums;
    let own = held[comm.rank()].len();
    assert_eq!(nodes.len(), own, "a sum for each node of the own slices");
    let send_counts: Vec<usize> = stretches.iter().map(|stretch| own * stretch.len()).collect();
    let (kind, send) = match nodes.len() {
        // As it lies.
        1 => (Kind::Node, nodes.pop().expect("one node")),
        _ => {
            let mut send = free.room(Kind::Sent, send_counts.iter().sum());
            let (mut pairs, mut rest) = (Vec::new(), &mut send[..]);
            for (stretch, node) in
                stretches.iter().flat_map(|own| nodes.iter().map(move |node| (own, node)))
            {
                let (to, after) = rest.split_at_mut(stretch.len());
                pairs.push((to, &node[stretch.clone()]));
                rest = after;
            }
            Team::new(&mut vec![(); comm.threads()]).copy(pairs);
            nodes.into_iter().for_each(|node| free.take_back(Kind::Node, node));
            (Kind::Sent, send)
        }
    };
    let mine = stretches[comm.rank()].len();
    let counts: Vec<usize> = held.iter().map(|nodes| nodes.len() * mine).collect();
    let longest = stretches.iter().map(Range::len).max().unwrap_or(0);
    let longest = longest * held.iter().map(Vec::len).max().unwrap_or(0);
    let mut words = vec![vote as u32];
    words.extend(crcs(comm, &send, &send_counts));
    let room = free.room(Kind::Come, counts.iter().sum());
    comm.carries(zeros());
    let numbers = comm.start_all_to_all_unsealed((send, &send_counts), (room, &counts), longest);
    let (own, ranks) = (comm.rank(), comm.size());
    comm.carries(words_of(move |rank| {
        let mut words = vec![0; 1 + ranks];
        (words[0], words[1 + own]) = (Vote::GoOn as u32, crc(&vec![0.0; counts[rank]]));
        words
    }));
    Sums { numbers, sent: kind, words: comm.start_all_gather(&words) }
}

/// Zeros of others, for whoever stands in for them (`reelscale bench rank`).
fn zeros() -> Cargo<'static> {
    Cargo::Made(Rc::new(|_, _, part: &mut [u8]| part.fill(0)))
}

/// The words beside them that each rank would gather.
fn words_of(words: impl Fn(usize) -> Vec<u32> + 'static) -> Cargo<'static> {
    Cargo::Made(Rc::new(move |rank, _, part: &mut [u8]| {
        let words = words(rank);
        let (own, seal) = part.split_at_mut(size_of_val(&words[..]));
        own.copy_from_slice(bytemuck::cast_slice(&words));
        seal.copy_from_slice(&crc32c::crc32c(own).to_le_bytes());
    }))
}

impl Sums<'_> {
    /// Whether all of it has come. Never waits.
    pub(super) fn poll(&mut self) -> bool {
        self.words.poll() && self.numbers.poll()
    }

    /// Waits until it has.
    pub(super) fn wait(self, lanes: &ColumnLanes, free: &mut Free) -> Come {
        let words = self.words.wait();
        let (numbers, sent) = self.numbers.wait_both();
        free.take_back(self.sent, sent);
        Come { numbers, words, ranks: lanes.sums.size() }
    }
}

impl Come {
    /// Whether all ranks go on.
    pub(super) fn all_go_on(&self) -> bool {
        self.words.chunks(1 + self.ranks).all(|words| words[0] == Vote::GoOn as u32)
    }

    /// The sum of all slices' chains along the tree, over the own stretch of so many numbers;
    /// `what` it is. What came damaged is zeros.
    pub(super) fn sum(
        mut self,
        comm: &Comm,
        what: &str,
        held: &[Vec<Node>],
        length: usize,
        free: &mut Free,
    ) -> Vec<f32> {
        let counts: Vec<usize> = held.iter().map(|nodes| nodes.len() * length).collect();
        let words = self.words.chunks(1 + self.ranks);
        let seals: Vec<u32> = words.map(|words| words[1 + comm.rank()]).collect();
        prove(comm, what, &mut self.numbers, &counts, &seals);
        let mut sum = free.room(Kind::Stretch, length);
        add_nodes(comm.threads(), held, &self.numbers, &mut sum);
        free.take_back(Kind::Come, self.numbers);
        sum
    }
}

/// Adds along the tree what has `come` of all ranks' nodes, node after node, each as long as their
/// `sum`, by so many threads.
pub(super) fn add_nodes<T: Copy + AddAssign + Send + Sync>(
    threads: usize,
    held: &[Vec<Node>],
    come: &[T],
    sum: &mut [T],
) {
    let (length, piece) = (sum.len(), sum.len().div_ceil(threads).clamp(1, PIECE));
    let add = |_: &mut (), (at, sum): (usize, &mut [T])| {
        let mut partials = Partials::default();
        for (index, node) in held.iter().flatten().enumerate() {
            let at = index * length + at * piece;
            partials.push(*node, come[at..at + sum.len()].to_vec(), plus);
        }
        sum.copy_from_slice(&partials.total(plus).expect("a node of every column"));
    };
    Team::new(&mut vec![(); threads]).for_each(sum.chunks_mut(piece).enumerate(), add);
}

fn plus<T: Copy + AddAssign>(mut left: Vec<T>, right: Vec<T>) -> Vec<T> {
    left.iter_mut().zip(right).for_each(|(left, right)| *left += right);
    left
}

/// Starts to give all ranks the own stretch of a part. Memory comes from `free`.
pub(super) fn start_weights<'a>(
    lanes: &'a ColumnLanes,
    mine: Vec<f32>,
    stretches: &[Range<usize>],
    free: &mut Free,
) -> Weights<'a> {
    let comm = &lanes.weights;
    let counts: Vec<usize> = stretches.iter().map(Range::len).collect();
    let room = free.room(Kind::Part, counts.iter().sum());
    let seal = crc(&mine);
    comm.carries(zeros());
    let numbers = comm.start_all_gather_unsealed(mine, &counts, room);
    comm.carries(words_of(move |rank| vec![crc(&vec![0.0; counts[rank]])]));
    Weights { numbers, words: comm.start_all_gather(&[seal]) }
}

impl Weights<'_> {
    /// Whether all of it has come. Never waits.
    pub(super) fn poll(&mut self) -> bool {
        self.words.poll() && self.numbers.poll()
    }

    /// Waits for the part, which is `what`. Stretches that came damaged are zeros.
    pub(super) fn wait(
        self,
        lanes: &ColumnLanes,
        what: &str,
        stretches: &[Range<usize>],
        free: &mut Free,
    ) -> Vec<f32> {
        let (seals, (mut numbers, sent)) = (self.words.wait(), self.numbers.wait_both());
        free.take_back(Kind::Stretch, sent);
        let counts: Vec<usize> = stretches.iter().map(Range::len).collect();
        prove(&lanes.weights, what, &mut numbers, &counts, &seals);
        numbers
    }
}
