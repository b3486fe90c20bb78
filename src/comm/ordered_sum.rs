//! The ordered sum: leaves 0..n are added along one fixed binary tree, whoever owns them.
//!
//! Node (level l, index i) is the sum of leaves i 2^l .. (i + 1) 2^l that exist; a node is its left
//! child plus its right child. Aligned runs reduce at home as the leaves come, like the carries of a
//! binary counter, so that a rank holds at most one partial sum per level.

use std::ops::{AddAssign, Range};

use bytemuck::Pod;

use super::{Comm, Runs};

/// A sum of equally long vectors over leaves 0..n, of which this rank adds a contiguous run.
pub struct OrderedSum<T> {
    runs: Runs,
    next: usize,
    length: usize,
    /// Partial sums not yet joined, left to right: (level, index, sum).
    nodes: Vec<(u32, usize, Vec<T>)>,
}

impl<T: Pod + AddAssign> OrderedSum<T> {
    /// A sum of vectors of `length` elements; `runs[r]` are the leaves that rank r adds.
    pub fn new(comm: &Comm, runs: Runs, length: usize) -> OrderedSum<T> {
        let next = runs[comm.rank()].start;
        OrderedSum { runs, next, length, nodes: Vec::new() }
    }

    /// Adds the next leaf of this rank's run.
    pub fn add(&mut self, leaf: Vec<T>) {
        assert_eq!(leaf.len(), self.length);
        let (mut level, mut index, mut sum) = (0, self.next, leaf);
        self.next += 1;
        while let Some((_, _, left)) =
            self.nodes.pop_if(|node| index % 2 == 1 && (node.0, node.1) == (level, index - 1))
        {
            sum = plus(left, &sum);
            (level, index) = (level + 1, index / 2);
        }
        self.nodes.push((level, index, sum));
    }

    /// The whole sum, on every rank.
    pub fn finish(self, comm: &Comm) -> Vec<T> {
        let _ = &self.runs;
        assert_eq!(comm.size(), 1, "to be written");
        self.nodes
            .into_iter()
            .rev()
            .map(|node| node.2)
            .reduce(|right, left| plus(left, &right))
            .unwrap()
    }

    /// The part `slices[rank]` of the whole sum, on each rank.
    pub fn finish_scattered(self, comm: &Comm, slices: &[Range<usize>]) -> Vec<T> {
        self.finish(comm)[slices[comm.rank()].clone()].to_vec()
    }
}

fn plus<T: Pod + AddAssign>(mut left: Vec<T>, right: &[T]) -> Vec<T> {
    left.iter_mut().zip(right).for_each(|(left, right)| *left += *right);
    left
}
