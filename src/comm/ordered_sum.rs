//! The ordered sum: leaves 0..n are added along one fixed binary tree, whoever owns them.
//!
//! Aligned runs reduce at home as the leaves come (`tree.rs`); only what is left of them crosses
//! ranks, cut into one slice per rank, where it is added along the same tree.

use std::ops::{AddAssign, Range};

use bytemuck::Pod;

use super::{Comm, Runs};
use crate::team::Team;
use crate::tree::{Node, Partials, nodes_of};

/// Numbers that a thread adds at once, and of a total from many ranks at least.
const STRETCH: usize = 1 << 15;
const STRETCH_LEAST: usize = 1 << 10;

/// What can be summed.
pub trait Term: Pod + AddAssign + Send + Sync {}

impl<T: Pod + AddAssign + Send + Sync> Term for T {}

/// Does `work` with items of `all` numbers together, by as many of the threads as are worth it.
fn by_threads<I: Send>(
    threads: usize,
    all: usize,
    items: impl Iterator<Item = I> + Send,
    work: impl Fn(I) + Sync,
) {
    let mut team = vec![(); threads.min(all.div_ceil(STRETCH)).max(1)];
    Team::new(&mut team).for_each(items, |(), item| work(item));
}

fn add<T: Term>(threads: usize, left: &mut [T], right: &[T]) {
    let all = left.len();
    let items = left.chunks_mut(STRETCH).zip(right.chunks(STRETCH));
    by_threads(threads, all, items, |(left, right)| {
        left.iter_mut().zip(right).for_each(|(left, right)| *left += *right);
    });
}

fn plus<T: Term>(threads: usize, mut left: Vec<T>, right: &[T]) -> Vec<T> {
    add(threads, &mut left, right);
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
    threads: usize,
    runs: Runs,
    next: usize,
    end: usize,
    length: usize,
    partials: Partials<Vec<T>>,
    /// Memory of vectors that have been added, for further leaves.
    free: Vec<Vec<T>>,
}

impl<T: Term> OrderedSum<T> {
    /// A sum of vectors of `length` elements, which are `what`; `runs[r]` are the leaves that rank
    /// r adds, in order and without gaps.
    pub fn new(comm: &Comm, what: &'static str, runs: Runs, length: usize) -> OrderedSum<T> {
        assert!(
            runs.len() == comm.size() && runs.windows(2).all(|pair| pair[0].end == pair[1].start)
        );
        let Range { start: next, end } = runs[comm.rank()].clone();
        let partials = Partials::default();
        let threads = comm.threads();
        OrderedSum { what, threads, runs, next, end, length, partials, free: Vec::new() }
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

    /// Number of the leaf that is added next.
    pub(crate) fn next(&self) -> usize {
        self.next
    }

    /// Adds the next leaf of this rank's run.
    pub fn add(&mut self, leaf: Vec<T>) {
        self.add_sum(1, leaf);
    }

    /// Adds the next `leaves` leaves, a node of the tree, of which this is the sum.
    pub(crate) fn add_sum(&mut self, leaves: usize, sum: Vec<T>) {
        let own = self.next..self.next + leaves;
        assert!(sum.len() == self.length && own.end <= self.end, "leaves too many or too long");
        let [node] = nodes_of(own.clone())[..] else { panic!("leaves {own:?} are no node") };
        let (threads, free) = (self.threads, &mut self.free);
        self.partials.push(node, sum, |left, right| {
            let sum = plus(threads, left, &right);
            free.push(right);
            sum
        });
        self.next = own.end;
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
            let total = self.partials.total(|left, right| plus(self.threads, left, &right));
            return total.map_or(vec![T::zeroed(); mine], |sum| sum[slices[0].clone()].to_vec());
        }
        let nodes: Vec<Vec<Node>> = self.runs.iter().map(|run| nodes_of(run.clone())).collect();
        let own = nodes[comm.rank()].len();
        let mut send = vec![T::zeroed(); own * slices.iter().map(Range::len).sum::<usize>()];
        let (all, mut rest, mut parts) = (send.len(), &mut send[..], Vec::new());
        for slice in slices {
            for sum in self.partials.sums() {
                let (part, after) = rest.split_at_mut(slice.len());
                parts.push((part, &sum[slice.clone()]));
                rest = after;
            }
        }
        by_threads(self.threads, all, parts.into_iter(), |(part, sum)| part.copy_from_slice(sum));
        let send_counts: Vec<usize> = slices.iter().map(|slice| own * slice.len()).collect();
        let received_counts: Vec<usize> = nodes.iter().map(|nodes| nodes.len() * mine).collect();
        let received = comm.exchange_numbers(self.what, (&send, &send_counts), &received_counts);
        let nodes: Vec<Node> = nodes.into_iter().flatten().collect();
        let mut total = vec![T::zeroed(); mine];
        let stretch = (STRETCH / nodes.len().max(1)).max(STRETCH_LEAST);
        let stretches = total.chunks_mut(stretch).scan(0, |from, total| {
            *from += total.len();
            Some((*from - total.len(), total))
        });
        by_threads(self.threads, received.len(), stretches, |(from, total)| {
            let mut partials = Partials::default();
            for (index, node) in nodes.iter().enumerate() {
                let part = received[index * mine + from..][..total.len()].to_vec();
                partials.push(*node, part, |left, right| plus(1, left, &right));
            }
            if let Some(sum) = partials.total(|left, right| plus(1, left, &right)) {
                total.copy_from_slice(&sum);
            }
        });
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comm::run_threads;

    /// Lengths about stretches, on ranks of one to five threads, idle ones among them: the bits of
    /// one thread.
    #[test]
    fn threads_give_the_same_sum() {
        for length in [0, 1, STRETCH, 3 * STRETCH + 5] {
            let number = |leaf: usize, at: usize| ((leaf * 31 + at * 7) % 97) as f32 / 9.7 - 4.9;
            let bits = |ranks: usize, threads: usize| {
                let summed = run_threads(ranks, |comm| {
                    comm.use_threads(threads);
                    let ends = if ranks == 1 { vec![11] } else { vec![5, 5, 11] };
                    let starts = std::iter::once(0).chain(ends.clone());
                    let runs: Vec<Range<usize>> =
                        starts.zip(ends).map(|(start, end)| start..end).collect();
                    let mut sum = OrderedSum::new(comm, "numbers", runs.clone(), length);
                    for leaf in runs[comm.rank()].clone() {
                        sum.add((0..length).map(|at| number(leaf, at)).collect());
                    }
                    Ok(sum.finish(comm))
                });
                let summed = summed.unwrap().swap_remove(0);
                summed.into_iter().map(f32::to_bits).collect::<Vec<u32>>()
            };
            let expected = bits(1, 1);
            for (ranks, threads) in [(1, 2), (1, 5), (3, 1), (3, 2), (3, 5)] {
                let found = bits(ranks, threads);
                assert!(found == expected, "{length} numbers, {ranks} ranks x {threads} threads");
            }
        }
    }
}
