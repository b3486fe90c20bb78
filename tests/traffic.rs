//! Scaling beyond one machine: what the communication layer counts on 1 to 1,024 ranks equals the
//! formulas of the design. Ranks are threads and the model is tiny; counts depend on neither.
//!
//! With P ranks, N rows of d activations and l labels in all, of which this rank holds n and m,
//! W windows, C class blocks of parameters p in all, of which this rank owns c and q, and a vector
//! of L numbers; bytes contributed by this rank -> bytes given to it by others, collective calls:
//!
//! ```text
//! expert step, an epoch   4 (d + 1) n + 4 (n + m) + 20 W
//!                      -> 4 (d + 1) (N - n) + 4 (N - n + l - m) + 20 W (P - 1)    3 W
//! shared step, a pass     4 q + 4 c -> 4 (p - q) + 4 (C - c)                       C
//! ordered sum             4 L a + 4 P + 12 + 4 L / P + 4
//!                      -> 4 (L / P) A + 4 P + 12 (P - 1) + 4 (L - L / P) + 4 (P - 1)  3
//! pretraining, an epoch   4 d n + 4 (n + m) + 4 d N a + 48 S + 4 S P + 10
//!                      -> 4 d (N - n) + 4 (N - n + l - m) + 4 d n A
//!                         + 48 S (P - 1) + 4 S P + 10 (P - 1)                      6 S + 2
//!                         and S times three ordered sums, of 3 calls each
//! ```
//!
//! Four bytes of each part are its seal, the crc32c that proves it: of each row of a window, of
//! each class block, of what each rank gives to each other one unless that is empty (4 P at most),
//! and of every word or two that ranks tell each other (12 for 8, 20 for 16, 5 for 1).
//!
//! One rank alone makes no calls in ordered sums and in passes of the shared step. a is the number
//! of partial sums that this rank is left with, A that of all ranks: 1 and P where P is a power of
//! two. (The part of the exchange that a rank keeps counts on both sides.) The ordered sums of each
//! of pretraining's S mini-batches are the shared layers' gradient over groups of rows and, over
//! class blocks, 3 squared norms and the loss in f64; its dL/dv, summed over class blocks, goes
//! home without being given to all.

mod common;

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use common::shards;
use reelscale::internals::comm::{OrderedSum, Traffic};
use reelscale::internals::data::Dataset;
use reelscale::internals::flow::experts_travel::visit_blocks;
use reelscale::internals::flow::own_rows::{OwnRows, Room};
use reelscale::internals::flow::rows_travel::{Order, Travel};
use reelscale::internals::kernel::matrix::Matrix;
use reelscale::internals::labels::Labels;
use reelscale::internals::model::experts::{Experts, layouts};
use reelscale::internals::model::spec::Dummy;
use reelscale::internals::partition::{Blocks, Owners};
use reelscale::internals::rng::{Permutation, Purpose};
use reelscale::{Comm, Data, Host, Job, Report, run_threads, train};

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
    let blocks = Blocks::even(ROWS, 1024);
    blocks.run(Owners::even(blocks.len(), ranks, rank).own())
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
            let device = &mut Host::detected(1, 0.0);
            let mut windows = travel.windows(0, device).unwrap();
            while windows.pass(device, |_, _, _| Ok(())).unwrap().is_some() {}
        });
        let windows = ROWS.div_ceil(WINDOW);
        let label_count = |rows: Range<usize>| rows.map(|row| row % 4).sum::<usize>();
        check("expert step", ranks, found, |rank| {
            let (n, m) = (runs[rank].len(), label_count(runs[rank].clone()));
            let own = 4 * (WIDTH + 1) * n + 4 * (n + m);
            let all = 4 * (WIDTH + 1) * ROWS + 4 * (ROWS + label_count(0..ROWS));
            [own + 20 * windows, all - own + 20 * windows * (ranks - 1), 3 * windows]
        });
    }
}

#[test]
fn a_pass_of_the_shared_step_moves_each_class_block_once() {
    for ranks in RANKS {
        let found = counted(ranks, |comm| {
            let layouts = layouts(&vec![1; 16 * BLOCKS], Dummy::Learned, WIDTH, BLOCKS);
            assert_eq!(layouts.len(), BLOCKS);
            let owners = comm.deal(BLOCKS);
            let parameters = layouts[owners.own()].iter().map(|one| one.empty_parameters().into());
            let experts = Experts { parameters: parameters.collect(), owners, layouts };
            visit_blocks(comm, &experts, |_, _, _| ());
        });
        check("shared step", ranks, found, |rank| {
            if ranks == 1 {
                return [0, 0, 0];
            }
            let own = 4 * (PARAMETERS + 1) * Owners::even(BLOCKS, ranks, rank).own().len();
            [own, 4 * (PARAMETERS + 1) * BLOCKS - own, BLOCKS]
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
        let runs: Vec<Range<usize>> = Owners::even(1024, ranks, 0).runs();
        let found = counted(ranks, |comm| {
            let mut sum = OrderedSum::new(comm, "numbers", runs.clone(), LENGTH);
            runs[comm.rank()].clone().for_each(|leaf| sum.add(vec![leaf as f32; LENGTH]));
            let sum = sum.finish(comm);
            assert!(sum.iter().all(|number| *number == (1023 * 1024 / 2) as f32));
        });
        let partials = partials_of(1024, ranks);
        if ranks.is_power_of_two() {
            assert!(partials.iter().all(|count| *count == 1));
        }
        check("ordered sum", ranks, found, |rank| ordered_sum(4 * LENGTH, 4, rank, &partials));
    }
}

/// The formula for a vector of `bytes` bytes in numbers of `width` bytes, given each rank's number
/// of partial sums.
fn ordered_sum(bytes: usize, width: usize, rank: usize, partials: &[usize]) -> [usize; 3] {
    let (ranks, length) = (partials.len(), bytes / width);
    if ranks == 1 {
        return [0, 0, 0];
    }
    let slice = width * ((rank + 1) * length / ranks - rank * length / ranks);
    let all = partials.iter().sum::<usize>();
    let [to, from] = seals(partials, rank, length.min(ranks), slice > 0);
    let sent = bytes * partials[rank] + to + 12 + slice + width;
    [sent, slice * all + from + 12 * (ranks - 1) + (bytes - slice) + width * (ranks - 1), 3]
}

/// Bytes of seals that a rank sends and is given where ranks exchange their partial sums, of which
/// `takers` ranks take any part, this one if it `takes`.
fn seals(partials: &[usize], rank: usize, takers: usize, takes: bool) -> [usize; 2] {
    let givers = partials.iter().filter(|count| **count > 0).count();
    [4 * takers * usize::from(partials[rank] > 0), 4 * givers * usize::from(takes)]
}

/// Partial sums that each rank is left with, of so many leaves.
fn partials_of(leaves: usize, ranks: usize) -> Vec<usize> {
    Owners::even(leaves, ranks, 0).runs().into_iter().map(partial_sums).collect()
}

/// Two epochs against one of a whole training run: the second epoch's traffic.
#[test]
fn an_epoch_of_pretraining_moves_activations_and_their_gradients() {
    const CLASSES: usize = 2048;
    const BATCH: usize = 512;
    let folder = tempfile::tempdir().unwrap();
    let infos = shards(folder.path(), ROWS, CLASSES, WIDTH);
    let job = |epochs: usize| {
        let text = format!(
            "[data]\ntrain = [\"{}/*.h5\"]\n[model]\nshared = [{{ dense = {WIDTH} }}]\n\
             [pretrain]\nbatch = {BATCH}\nexperts = 1\nepochs = {epochs}\n\
             [rounds]\ncount = 0\n[run]\nthreads = 1\n",
            folder.path().display()
        );
        Job::parse(&text, "job", &[]).unwrap()
    };
    let groups = Blocks::even(256, BATCH / 32);
    let (row_blocks, steps) = (Blocks::even(ROWS, 256), ROWS.div_ceil(BATCH));
    let shared = (WIDTH + 1) * WIDTH;
    let label_count = |rows: Range<usize>| {
        let mut labels = Labels::new();
        Dataset::new(infos.clone()).unwrap().reader().labels(rows, &mut labels).unwrap();
        (0..labels.rows()).map(|row| labels.row(row).len()).sum::<usize>()
    };
    for ranks in RANKS.into_iter().take_while(|ranks| *ranks <= 64) {
        let blocks = AtomicUsize::new(0);
        let run = |epochs: usize| {
            let job = job(epochs);
            counted(ranks, |comm| {
                let data = Data::open(comm, &job).unwrap();
                let trained = train(comm, &job, data, &mut Report::new(None), None).unwrap();
                blocks.store(trained.annotator.experts.layouts.len(), Relaxed);
            })
        };
        let found = run(2).into_iter().zip(run(1));
        let found = found.map(|(two, one)| std::array::from_fn(|index| two[index] - one[index]));
        let partials = partials_of(groups.len(), ranks);
        let blocks = partials_of(blocks.into_inner(), ranks);
        check("pretraining", ranks, found.collect(), |rank| {
            let rows = row_blocks.run(groups.run(Owners::even(groups.len(), ranks, rank).own()));
            let (n, m) = (rows.len(), label_count(rows));
            let own = 4 * WIDTH * n + 4 * (n + m);
            let all = 4 * WIDTH * ROWS + 4 * (ROWS + label_count(0..ROWS));
            let (sent, others) = (36 * steps + 10, ranks - 1);
            let dv = |rows: usize, partials: usize| 4 * WIDTH * rows * partials;
            let home = match ranks {
                1 => [0, 0, 0],
                _ => {
                    let [to, from] = seals(&blocks, rank, groups.len().min(ranks), n > 0);
                    [
                        dv(ROWS, blocks[rank]) + (12 + to) * steps,
                        dv(n, blocks.iter().sum()) + (12 * others + from) * steps,
                        2 * steps,
                    ]
                }
            };
            let sums = [(4 * shared, 4, &partials), (24, 8, &blocks), (8, 8, &blocks)]
                .map(|(bytes, width, partials)| ordered_sum(bytes, width, rank, partials));
            let sums = |index: usize| steps * sums.iter().map(|sum| sum[index]).sum::<usize>();
            [
                own + sent + home[0] + sums(0),
                all - own + sent * others + home[1] + sums(1),
                4 * steps + 2 + home[2] + sums(2),
            ]
        });
    }
}
