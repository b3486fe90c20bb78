//! Scaling beyond one machine: what the communication layer counts on 1 to 1,024 ranks equals the
//! formulas of the design. Ranks are threads and the model is tiny; counts depend on neither.
//!
//! With P ranks, N rows of d activations and l labels in all, of which this rank holds n and m,
//! W windows, C class blocks of parameters p in all, of which this rank owns q, and a vector of L
//! numbers; bytes contributed by this rank -> bytes given to it by others, collective calls:
//!
//! ```text
//! expert step, an epoch   4 d n + 4 (n + m) + 8 W
//!                      -> 4 d (N - n) + 4 (N - n + l - m) + 8 W (P - 1)      3 W
//! shared step, a pass     4 q -> 4 (p - q)                                        C
//! ordered sum             4 L a + 4 L / P + 8
//!                      -> 4 (L / P) A + 4 (L - L / P) + 8 (P - 1)            3
//! ```
//!
//! One rank alone makes no calls in the last two. a is the number of partial sums that this rank is
//! left with, A that of all ranks: 1 and P where P is a power of two. (The part of the exchange
//! that a rank keeps counts on both sides.)

use std::ops::Range;

use reelscale::comm::{Comm, OrderedSum, Traffic, run_threads};
use reelscale::flow::experts_travel::visit_blocks;
use reelscale::flow::own_rows::{OwnRows, Room};
use reelscale::flow::rows_travel::{Order, Travel};
use reelscale::labels::Labels;
use reelscale::model::experts::{Experts, layouts};
use reelscale::model::matrix::Matrix;
use reelscale::model::spec::Dummy;
use reelscale::partition::{Blocks, owned};
use reelscale::rng::{Permutation, Purpose};

const RANKS: [usize; 9] = [1, 2, 3, 4, 5, 16, 64, 256, 1024];
const ROWS: usize = 3000;
const WIDTH: usize = 16;
const WINDOW: usize = 700;
const BLOCKS: usize = 1024;
/// One group of sixteen classes a block, one expert each: a gate, the dummy's gate, an expert, each
/// of `WIDTH` weights and a bias.
const PARAMETERS: usize = 3 * 16 * (WIDTH + 1);
const LENGTH: usize = 4096;

fn labels_of(row: usize) -> Vec<u32> {
    (0..row as u32 % 4).collect()
}

/// What `work` adds to the counters, on each rank: contributed, given by others, calls.
fn counted(ranks: usize, work: impl Fn(&Comm) + Sync) -> Vec<[u64; 3]> {
    let numbers = |traffic: Traffic| [traffic.bytes_sent, traffic.bytes_received, traffic.messages];
    let body = |comm: &Comm| {
        let before = numbers(comm.traffic());
        work(comm);
        let after = numbers(comm.traffic());
        Ok(std::array::from_fn(|index| after[index] - before[index]))
    };
    run_threads(ranks, body).unwrap()
}

fn check(what: &str, ranks: usize, found: Vec<[u64; 3]>, formula: impl Fn(usize) -> [usize; 3]) {
    for (rank, found) in found.into_iter().enumerate() {
        let expected = formula(rank).map(|number| number as u64);
        assert_eq!(found, expected, "{what}: rank {rank} of {ranks}");
    }
}

/// The rows of a rank: whole row blocks, 1,024 or as many as there are.
fn run_of(ranks: usize, rank: usize) -> Range<usize> {
    Blocks::even(ROWS, 1024).owned(ranks, rank)
}

#[test]
fn an_epoch_of_the_expert_step_moves_activations_only() {
    for ranks in RANKS {
        let runs: Vec<Range<usize>> = (0..ranks).map(|rank| run_of(ranks, rank)).collect();
        let found = counted(ranks, |comm| {
            let rows = runs[comm.rank()].clone();
            let mut own = OwnRows::new(rows.clone(), WIDTH, &Room::unlimited()).unwrap();
            let mut labels = Labels::new();
            rows.clone().for_each(|row| labels.push(&labels_of(row)));
            own.push(&Matrix::zeros(rows.len(), WIDTH), &labels).unwrap();
            let order = Order::Shuffled(Permutation::new(1, Purpose::RowOrder, 0, ROWS));
            let travel =
                Travel { comm, own: &own, runs: &runs, order, window: WINDOW, dropout: None };
            let mut windows = travel.windows(0).unwrap();
            while windows.pass(|_, _| ()).unwrap().is_some() {}
        });
        let windows = ROWS.div_ceil(WINDOW);
        let label_count = |rows: Range<usize>| rows.map(|row| row % 4).sum::<usize>();
        check("expert step", ranks, found, |rank| {
            let (n, m) = (runs[rank].len(), label_count(runs[rank].clone()));
            let own = 4 * WIDTH * n + 4 * (n + m);
            let all = 4 * WIDTH * ROWS + 4 * (ROWS + label_count(0..ROWS));
            [own + 8 * windows, all - own + 8 * windows * (ranks - 1), 3 * windows]
        });
    }
}

#[test]
fn a_pass_of_the_shared_step_moves_each_class_block_once() {
    for ranks in RANKS {
        let found = counted(ranks, |comm| {
            let layouts = layouts(&vec![1; 16 * BLOCKS], Dummy::Learned, WIDTH, BLOCKS);
            assert_eq!(layouts.len(), BLOCKS);
            let own = owned(BLOCKS, comm.size(), comm.rank());
            let parameters = layouts[own.clone()].iter().map(|one| one.empty_parameters().into());
            let experts = Experts { parameters: parameters.collect(), own, layouts };
            visit_blocks(comm, &experts, |_, _| ());
        });
        check("shared step", ranks, found, |rank| {
            if ranks == 1 {
                return [0, 0, 0];
            }
            let own = 4 * PARAMETERS * owned(BLOCKS, ranks, rank).len();
            [own, 4 * PARAMETERS * BLOCKS - own, BLOCKS]
        });
    }
}

/// Partial sums that are left of a run of leaves once aligned pairs have been joined: the fewest
/// aligned powers of two that make it up.
fn partial_sums(run: Range<usize>) -> usize {
    let (mut at, mut count) = (run.start, 0);
    while at < run.end {
        let aligned = if at == 0 { usize::MAX } else { 1 << at.trailing_zeros() };
        let fits = 1 << (run.end - at).ilog2();
        at += fits.min(aligned);
        count += 1;
    }
    count
}

#[test]
fn an_ordered_sum_moves_the_vector_twice() {
    for ranks in RANKS {
        let runs: Vec<Range<usize>> = (0..ranks).map(|rank| owned(1024, ranks, rank)).collect();
        let found = counted(ranks, |comm| {
            let mut sum = OrderedSum::new(comm, runs.clone(), LENGTH);
            runs[comm.rank()].clone().for_each(|leaf| sum.add(vec![leaf as f32; LENGTH]));
            let sum = sum.finish(comm);
            assert!(sum.iter().all(|number| *number == (1023 * 1024 / 2) as f32));
        });
        let partials: Vec<usize> = runs.iter().map(|run| partial_sums(run.clone())).collect();
        if ranks.is_power_of_two() {
            assert!(partials.iter().all(|count| *count == 1));
        }
        check("ordered sum", ranks, found, |rank| {
            if ranks == 1 {
                return [0, 0, 0];
            }
            let slice = (rank + 1) * LENGTH / ranks - rank * LENGTH / ranks;
            let all = partials.iter().sum::<usize>();
            let sent = 4 * LENGTH * partials[rank] + 4 * slice + 8;
            [sent, 4 * slice * all + 4 * (LENGTH - slice) + 8 * (ranks - 1), 3]
        });
    }
}
