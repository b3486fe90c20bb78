//! A column of ranks that have the same class blocks, whatever each computes with, comes to the
//! bits of one rank with the same slices; where one stops or fails all leave at the same turn.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use reelscale::internals::device::{
    AllRows, Apart, Arrived, Batch, ClassBlock, Device, Learn, MiniBatches, Negatives, Nodes, Pace,
    Slices,
};
use reelscale::internals::labels::Labels;
use reelscale::internals::model::{Layout, initial, stride_of};
use reelscale::internals::optim::MiniBatchSolver;
use reelscale::internals::rng::{Purpose, Stream};
use reelscale::internals::tree::{Node, Partials, nodes_of};
use reelscale::{Host, Result};

use super::column::{CLASSES, Column, L2, RATE, Rank, WIDTH, own_layouts, plus};
use super::gpu;
use super::textbook::Textbook;

const ROWS: usize = 100;
const BATCH: usize = 32;
const EPSILON: f32 = 1e-5;

fn blocks<S>(state: impl Fn(&Layout) -> S) -> Vec<ClassBlock<S>> {
    let block = |layout: Layout| ClassBlock {
        weights: Arc::new(initial::experts(&layout, CLASSES, 3, 1)),
        state: state(&layout),
        layout,
    };
    own_layouts().into_iter().map(block).collect()
}

/// Some rows of two labels each, of all.
fn rows<D: Device>(device: &mut D, first: usize, own: &[usize]) -> D::Rows {
    let (stride, mut labels) = (stride_of(WIDTH), Labels::new());
    let mut stream = Stream::new(1, Purpose::PlantedRows, 0);
    let numbers: Vec<f32> = (0..ROWS * stride)
        .map(|at| if at % stride < WIDTH { stream.uniform() - 0.5 } else { 0.0 })
        .collect();
    own.iter().for_each(|row| labels.push(&[*row as u32 % 19, 20 + *row as u32 % 17]));
    let put = &mut |to: &mut [f32], to_labels: &mut Labels| {
        for (to, row) in to.chunks_mut(stride).zip(own) {
            to.copy_from_slice(&numbers[row * stride..(row + 1) * stride]);
        }
        to_labels.clone_from(&labels);
    };
    let arrived = Arrived { first, rows: own.len(), width: WIDTH, put };
    device.bring(arrived, None).unwrap()
}

fn how(slices: usize) -> Learn {
    let negatives = Negatives { share: 0.7, seed: 5, first: 0, class_count: CLASSES };
    Learn { batch: BATCH, slices, learning_rate: RATE, l2: L2, negatives: Some(negatives) }
}

/// Weights and chains of losses of each block, as bits.
type Learned = Vec<(Vec<u32>, Vec<u64>)>;

fn bits(weights: &[f32], losses: &[f64]) -> (Vec<u32>, Vec<u64>) {
    let weights = weights.iter().map(|weight| weight.to_bits()).collect();
    (weights, losses.iter().map(|loss| loss.to_bits()).collect())
}

/// One rank with all slices.
fn alone(slices: usize) -> Learned {
    let mut device = Host::detected(1, EPSILON);
    let rows = rows(&mut device, 0, &(0..ROWS).collect::<Vec<_>>());
    let state = |layout: &Layout| MiniBatches::new(layout, MiniBatchSolver::Adam, 0.0, slices);
    let mut own = device.hold(blocks(state)).unwrap();
    let mut poll = || ();
    let pace = &mut Pace::new(&mut poll, &|| false);
    device.learn(&mut own, &rows, &how(slices), pace).unwrap();
    let mut learned = Vec::new();
    for index in 0..own_layouts().len() {
        let look = &mut |block: &ClassBlock<MiniBatches>| {
            learned.push(bits(&block.weights, &block.state.losses));
        };
        device.read(&own, index, look).unwrap();
    }
    learned
}

/// What a rank computes with.
#[derive(Clone, Copy, Debug)]
enum On {
    Host(usize),
    Textbook {
        lost_at: usize,
    },
    Gpu,
    /// With room for one block at a time.
    SmallGpu,
}

/// How a column comes through the rows: which slices are whose, who stops at which turn, and then
/// goes on.
struct Case {
    slices: usize,
    /// Where each rank's slices end.
    ends: Vec<usize>,
    parts: usize,
    stops: Option<(usize, usize)>,
}

/// What a rank of a column has learned, or its error; and how many turns the column took.
type Outcome = (Result<Learned>, usize);

impl Case {
    fn ranks(&self) -> Vec<Slices> {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        let own = starts.zip(&self.ends).map(|(from, to)| from..*to);
        own.map(|own| Slices { count: self.slices, own }).collect()
    }

    fn learn(&self, on: &[On]) -> Vec<Outcome> {
        let (slices, stop) = (self.ranks(), AtomicBool::new(false));
        let column = &(Mutex::new(Column::new(slices.clone(), self.parts)), Condvar::new());
        let turn = |rank: usize| {
            let (slices, on, stop) = (&slices[rank], on[rank % on.len()], &stop);
            let rank = move |window: usize| {
                let stops = self.stops.filter(|stops| stops.0 == rank && window == 0);
                let stops_at = stops.map_or(usize::MAX, |stops| stops.1);
                Rank { column, rank, given: 0, taken: 0, stops_at, stop }
            };
            match on {
                On::Host(threads) => learned(Host::detected(threads, EPSILON), slices, rank),
                On::Textbook { lost_at } => {
                    learned(Textbook::new(EPSILON).lost_at(lost_at), slices, rank)
                }
                On::Gpu => learned(gpu::device(EPSILON), slices, rank),
                On::SmallGpu => {
                    let bytes = own_layouts().iter().map(Layout::parameters).max().unwrap();
                    let small = gpu::device(EPSILON).with_class_blocks_in(8 * 4 * bytes);
                    learned(small, slices, rank)
                }
            }
        };
        thread::scope(|scope| {
            let turn = &turn;
            let ranks = (0..slices.len()).map(|rank| scope.spawn(move || turn(rank)));
            let ranks: Vec<_> = ranks.collect();
            ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
        })
    }
}

/// A rank through the rows, and once more where the column was stopped.
fn learned<'a, D: Device>(
    mut device: D,
    slices: &Slices,
    rank: impl Fn(usize) -> Rank<'a>,
) -> Outcome {
    let batches = Batch::of_window(&(0..ROWS), BATCH, slices);
    let own = batches.iter().flat_map(|batch| batch.first..batch.first + batch.rows());
    let rows = rows(&mut device, 0, &own.collect::<Vec<_>>());
    let mut own = device.hold(blocks(|layout| Apart::new(layout, slices))).unwrap();
    let mut turns = 0;
    for window in 0..2 {
        let mut between = rank(window);
        let (mut poll, stop) = (|| (), between.stop);
        let stopped = || stop.load(Relaxed);
        let pace = &mut Pace::new(&mut poll, &stopped);
        let how = how(slices.count);
        let outcome = device.learn_apart(&mut own, (&rows, &batches), &how, &mut between, pace);
        between.column().failed |= outcome.is_err();
        let barrier = between.column().barrier.clone();
        barrier.wait();
        let again = {
            let column = between.column();
            turns += column.stepped;
            column.ends_at.is_some() && !column.failed
        };
        let leads = barrier.wait().is_leader();
        if let Err(error) = outcome {
            return (Err(error), turns);
        }
        if !again {
            break;
        }
        if leads {
            between.column().begin_again();
            stop.store(false, Relaxed);
        }
        barrier.wait();
    }
    let mut learned = Vec::new();
    for index in 0..own_layouts().len() {
        let look = &mut |block: &ClassBlock<Apart>| {
            learned.push(bits(&block.weights, &block.state.losses));
        };
        if let Err(error) = device.read(&own, index, look) {
            return (Err(error), turns);
        }
    }
    (Ok(learned), turns)
}

/// That each rank has these weights, and that their chains of losses in order are these.
fn same(outcomes: Vec<Outcome>, expected: &Learned, what: &str) {
    let ranks: Vec<Learned> =
        outcomes.into_iter().map(|rank| rank.0.unwrap_or_else(|e| panic!("{what}: {e}"))).collect();
    for (block, (weights, losses)) in expected.iter().enumerate() {
        for (rank, learned) in ranks.iter().enumerate() {
            assert!(learned[block].0 == *weights, "{what}: weights of block {block} on {rank}");
        }
        let found: Vec<u64> = ranks.iter().flat_map(|rank| rank[block].1.clone()).collect();
        assert!(found == *losses, "{what}: losses of block {block}");
    }
}

const TEXTBOOK: On = On::Textbook { lost_at: usize::MAX };

/// What ranks of a column compute with, rank by rank and around again; GPUs where they are asked
/// for, which take seconds to begin.
fn grounds(gpus: bool) -> Vec<Vec<On>> {
    let mut grounds = vec![vec![On::Host(1)], vec![On::Host(3), TEXTBOOK, On::Host(2)]];
    if gpus && !gpu::missing() {
        grounds.extend([vec![On::Gpu, On::Host(1)], vec![TEXTBOOK, On::SmallGpu]]);
    }
    grounds
}

#[test]
fn a_column_of_ranks_learns_what_one_rank_learns() {
    let turns = own_layouts().len() * ROWS.div_ceil(BATCH);
    for (slices, columns) in [
        (1, vec![vec![1]]),
        (2, vec![vec![2], vec![1, 2]]),
        (4, vec![vec![4], vec![2, 4], vec![1, 4], vec![1, 2, 3, 4]]),
        (12, vec![vec![5, 12], vec![3, 6, 9, 12], vec![1, 2, 12]]),
    ] {
        let expected = alone(slices);
        for (index, ends) in columns.into_iter().enumerate() {
            for on in grounds(slices == 4 && index == 1 || slices == 12 && index == 0) {
                let case = Case { slices, ends: ends.clone(), parts: 1 + index, stops: None };
                let found = case.learn(&on);
                assert!(found.iter().all(|rank| rank.1 == turns), "all turns are taken");
                same(found, &expected, &format!("{slices} slices, {ends:?}, {on:?}"));
            }
        }
    }
}

/// Wherever a rank is told to stop, all leave at the same turn, with what they had before it, and
/// go on from there.
#[test]
fn a_column_that_stops_goes_on_as_if_it_had_not() {
    let turns = own_layouts().len() * ROWS.div_ceil(BATCH);
    let expected = alone(4);
    for stops_at in 0..=turns {
        for on in grounds(stops_at == 5) {
            let stops = Some((stops_at % 3, stops_at));
            let case = Case { slices: 4, ends: vec![1, 2, 4], parts: 2, stops };
            let found = case.learn(&on);
            assert!(found.iter().all(|rank| rank.1 == turns), "every turn steps once");
            same(found, &expected, &format!("a stop at turn {stops_at}, {on:?}"));
        }
    }
}

/// A rank whose device is lost says so; the others leave with it, at the same turn.
#[test]
fn where_a_device_is_lost_the_column_leaves_at_the_same_turn() {
    let mut failed = 0;
    for lost_at in (2..80).step_by(3) {
        let on = [On::Host(1), On::Textbook { lost_at }, On::Host(1)];
        let case = Case { slices: 4, ends: vec![1, 2, 4], parts: 2, stops: None };
        let found = case.learn(&on);
        if found[1].0.is_ok() {
            continue;
        }
        failed += 1;
        assert!(found[1].0.as_ref().unwrap_err().text.contains("is lost"));
        let [first, last] = [0, 2].map(|rank| found[rank].0.as_ref().unwrap());
        let weights = |learned: &Learned| -> Vec<Vec<u32>> {
            learned.iter().map(|block| block.0.clone()).collect()
        };
        assert!(weights(first) == weights(last), "lost at call {lost_at}");
        assert!(found.iter().all(|rank| rank.1 == found[0].1));
    }
    assert!(failed > 10, "{failed} losses");
}

/// Sums of a pass by some of its slices, in windows of so many rows.
fn pass<D: Device>(mut device: D, slices: &Slices, window: usize) -> Vec<Nodes> {
    let all = AllRows { count: ROWS, slices: slices.clone() };
    let mut own = device.hold(blocks(|layout| Apart::new(layout, slices))).unwrap();
    let run = slices.run(ROWS);
    let mut poll = || ();
    let pace = &mut Pace::new(&mut poll, &|| false);
    let mut sums = Vec::new();
    // Of a pass before it nothing is left.
    for _ in 0..2 {
        for from in run.clone().step_by(window) {
            let here: Vec<usize> = (from..(from + window).min(run.end)).collect();
            let rows = rows(&mut device, from, &here);
            device.evaluate_apart(&mut own, &rows, &all, pace).unwrap();
        }
        let blocks = 0..own_layouts().len();
        sums = blocks.map(|index| device.sums(&mut own, index).unwrap()).collect();
    }
    sums
}

#[test]
fn a_pass_by_slices_is_the_same_wherever_they_are() {
    for (slices, ends) in [(2, vec![1, 2]), (4, vec![1, 4]), (12, vec![5, 6, 12])] {
        let whole = pass(Host::detected(1, EPSILON), &Slices::all(slices), ROWS);
        let starts = [0].into_iter().chain(ends.iter().copied());
        let ranks: Vec<Slices> =
            starts.zip(&ends).map(|(from, to)| Slices { count: slices, own: from..*to }).collect();
        for (index, window) in [7, 100].into_iter().enumerate() {
            let nodes = ranks.iter().enumerate().map(|(rank, own)| match (rank + index) % 3 {
                0 => pass(Host::detected(2, EPSILON), own, window),
                1 if slices == 4 && !gpu::missing() => pass(gpu::device(EPSILON), own, window),
                _ => pass(Textbook::new(EPSILON), own, window),
            });
            let nodes: Vec<Vec<Nodes>> = nodes.collect();
            for block in 0..own_layouts().len() {
                let total = |ranks: &[Slices], nodes: &[&Nodes]| {
                    let (mut gradients, mut losses) = (Partials::default(), Partials::default());
                    for (own, sums) in ranks.iter().zip(nodes) {
                        let held: Vec<Node> = nodes_of(own.own.clone());
                        assert_eq!(held.len(), sums.len());
                        for (node, (gradient, loss)) in held.into_iter().zip(sums.iter()) {
                            gradients.push(node, gradient.clone(), plus);
                            losses.push(node, loss.clone(), plus);
                        }
                    }
                    bits(&gradients.total(plus).unwrap(), &losses.total(plus).unwrap())
                };
                let found: Vec<&Nodes> = nodes.iter().map(|rank| &rank[block]).collect();
                let expected = total(&[Slices::all(slices)], &[&whole[block]]);
                assert!(
                    total(&ranks, &found) == expected,
                    "{slices} slices, {ends:?}, windows of {window}, block {block}"
                );
            }
        }
    }
}
