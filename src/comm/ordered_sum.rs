//! The ordered sum: leaves 0..n are added along one fixed binary tree, whoever owns them.
//!
//! Aligned runs reduce at home as the leaves come (`tree.rs`); only what is left of them crosses
//! ranks, cut into one slice per rank, where it is added along the same tree.

use std::ops::{AddAssign, Range};

use bytemuck::Pod;

use super::{Comm, Runs};
use crate::tree::{Node, Partials, nodes_of};

fn add<T: Pod + AddAssign>(left: &mut [T], right: &[T]) {
    left.iter_mut().zip(right).for_each(|(left, right)| *left += *right);
}

fn plus<T: Pod + AddAssign>(mut left: Vec<T>, right: Vec<T>) -> Vec<T> {
    add(&mut left, &right);
    left
}

/// A sum of equally long vectors over leaves 0..n, of which this rank adds a contiguous run.
///
/// Every rank sends each other one its slice of its partial sums, (number of own nodes) x length /
/// P elements each, and with `finish` its slice of the result: for P a power of two and aligned
/// runs that is 2 (P - 1) / P of the vector in all, what a ring all-reduce sends.
pub struct OrderedSum<T> {
    /// What is summed, for errors.
    what: &'static str,
    runs: Runs,
    next: usize,
    end: usize,
    length: usize,
    partials: Partials<Vec<T>>,
    /// Memory of vectors that have been added, for further leaves.
    free: Vec<Vec<T>>,
}

impl<T: Pod + AddAssign> OrderedSum<T> {
    /// A sum of vectors of `length` elements, which are `what`; `runs[r]` are the leaves that rank
    /// r adds, in order and without gaps.
    pub fn new(comm: &Comm, what: &'static str, runs: Runs, length: usize) -> OrderedSum<T> {
        assert!(
            runs.len() == comm.size() && runs.windows(2).all(|pair| pair[0].end == pair[1].start)
        );
        let Range { start: next, end } = runs[comm.rank()].clone();
        let partials = Partials::default();
        OrderedSum { what, runs, next, end, length, partials, free: Vec::new() }
    }

    /// A vector to make a leaf in. What it holds is left over from others.
    pub(crate) fn room(&mut self) -> Vec<T> {
        self.free.pop().unwrap_or_else(|| vec![T::zeroed(); self.length])
    }

    /// Adds zeros for the leaves that are missing, where this rank has failed and others go on.
    pub(crate) fn leave_out(&mut self) {
        while self.next < self.end {
            let mut leaf = self.room();
            leaf.fill(T::zeroed());
            self.add(leaf);
        }
    }

    /// Adds the next leaf of this rank's run.
    pub fn add(&mut self, leaf: Vec<T>) {
        assert!(leaf.len() == self.length && self.next < self.end, "a leaf too many or too long");
        let free = &mut self.free;
        self.partials.push(Node::leaf(self.next), leaf, |mut left, right| {
            add(&mut left, &right);
            free.push(right);
            left
        });
        self.next += 1;
    }

    /// The whole sum, on every rank; zeros where there are no leaves.
    #[track_caller]
    pub fn finish(self, comm: &Comm) -> Vec<T> {
        let (size, length) = (comm.size(), self.length);
        let slices: Vec<Range<usize>> =
            (0..size).map(|rank| rank * length / size..(rank + 1) * length / size).collect();
        let counts: Vec<usize> = slices.iter().map(Range::len).collect();
        let what = self.what;
        let mine = self.finish_scattered(comm, &slices);
        if size == 1 { mine } else { comm.all_gather_v(what, mine, &counts) }
    }

    /// The part `slices[rank]` of the whole sum, on each rank. Slices may be empty.
    #[track_caller]
    pub fn finish_scattered(self, comm: &Comm, slices: &[Range<usize>]) -> Vec<T> {
        assert_eq!(self.next, self.end, "a leaf is missing");
        let mine = slices[comm.rank()].len();
        if comm.size() == 1 {
            let total = self.partials.total(plus);
            return total.map_or(vec![T::zeroed(); mine], |sum| sum[slices[0].clone()].to_vec());
        }
        let nodes: Vec<Vec<Node>> = self.runs.iter().map(|run| nodes_of(run.clone())).collect();
        let mut send = Vec::new();
        for slice in slices {
            let sums = self.partials.sums();
            sums.for_each(|sum| send.extend_from_slice(&sum[slice.clone()]));
        }
        let own = nodes[comm.rank()].len();
        let send_counts: Vec<usize> = slices.iter().map(|slice| own * slice.len()).collect();
        let received_counts: Vec<usize> = nodes.iter().map(|nodes| nodes.len() * mine).collect();
        let received = comm.exchange_numbers(self.what, (&send, &send_counts), &received_counts);
        let mut partials = Partials::default();
        for (index, node) in nodes.iter().flatten().enumerate() {
            let part = received[index * mine..(index + 1) * mine].to_vec();
            partials.push(*node, part, plus);
        }
        partials.total(plus).unwrap_or(vec![T::zeroed(); mine])
    }
}
