//! What slices are, in scalar lines: of a mini-batch's n rows slice s has [s n / S, (s + 1) n / S),
//! each is a chain of its own from +0, the chains are added along the tree, and losses are a chain
//! for each slice through the epoch. A device learns so; what is almost the same has other bits.

use std::ops::Range;
use std::sync::Arc;

use reelscale::Host;
use reelscale::internals::device::{
    Arrived, ClassBlock, Device, Learn, MiniBatches, Negatives, Pace,
};
use reelscale::internals::kernel::adagrad::definition::update;
use reelscale::internals::kernel::coefficients::Coefficients;
use reelscale::internals::kernel::mixture::definition;
use reelscale::internals::kernel::mixture::layout::{Dummy, Layout};
use reelscale::internals::kernel::vector::LANES;
use reelscale::internals::labels::Labels;
use reelscale::internals::model::{initial, stride_of};
use reelscale::internals::optim::MiniBatchSolver;

use super::draws::Draws;
use super::{kernels, same, same_sums};

const WIDTH: usize = 9;
const EPSILON: f32 = 1e-5;
/// The last mini-batch has 7 rows, fewer than twelve slices.
const ROWS: usize = 3 * BATCH + 7;
const BATCH: usize = 40;

/// How a mini-batch is cut and summed: as defined, and otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Defined,
    /// Slices of the rows that a mini-batch usually has.
    OfUsualRows,
    /// Empty slices are no leaves.
    WithoutEmpty,
    /// Slices one after the other.
    Chain,
    /// Each negative drawn by its place in its slice.
    DrawnBySlice,
}

/// Rows, labels and a class block.
struct Case {
    layout: Layout,
    weights: Vec<f32>,
    rows: Vec<Vec<f32>>,
    labels: Vec<Vec<u32>>,
    negatives: Option<Negatives>,
}

/// The largest power of two of leaves that leaves something, and the others: each along the tree.
pub(super) fn along_tree(leaves: &[Vec<f32>]) -> Vec<f32> {
    let [_, _, ..] = leaves else { return leaves[0].clone() };
    let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
    along_tree(left).iter().zip(along_tree(right)).map(|(left, right)| left + right).collect()
}

impl Case {
    fn new(number: u64) -> Case {
        let mut draws = Draws::new(number);
        let classes = draws.one_of(&[1, 16, 23]);
        let experts = (0..classes).map(|class| 1 + class % 3).collect();
        let layout = Layout::new(4..4 + classes, experts, Dummy::Learned, WIDTH);
        let rows = (0..ROWS).map(|_| draws.numbers(WIDTH, 1.0)).collect();
        let label = |draws: &mut Draws| draws.below(classes + 30) as u32;
        let labels = (0..ROWS).map(|_| vec![label(&mut draws)]).collect();
        let negatives = Negatives { share: 0.6, seed: number, first: 77, class_count: 60 };
        let negatives = (number % 2 == 1).then_some(negatives);
        let weights = initial::experts(&layout, 60, 3, number);
        Case { layout, weights, rows, labels, negatives }
    }

    /// The chain over some rows of a mini-batch that begins at row `first`.
    fn chain(&self, weights: &[f32], own: Range<usize>, way: Way, losses: &mut [f64]) -> Vec<f32> {
        let mut leaf = vec![0.0; self.layout.parameters()];
        let first = own.start;
        for row in own {
            let mut counts = 1.0;
            let classes = &self.layout.classes;
            let labelled =
                self.labels[row].iter().any(|label| classes.contains(&(*label as usize)));
            if let Some(negatives) = self.negatives.filter(|_| !labelled) {
                let position = if way == Way::DrawnBySlice { row - first } else { row };
                if !negatives.takes(&self.layout, position) {
                    continue;
                }
                counts = 1.0 / negatives.share;
            }
            let v = &self.rows[row];
            let mut slopes = definition::logits(&self.layout, weights, v);
            let labels = &self.labels[row];
            definition::logit_gradients(&self.layout, &mut slopes, labels, counts, EPSILON, losses);
            definition::add_expert_gradient(&self.layout, v, &slopes, &mut leaf);
        }
        leaf
    }

    /// Weights and the chains of losses [slices][lanes] after an epoch of AdaGrad.
    fn defined(&self, slices: usize, way: Way) -> (Vec<f32>, Vec<f64>) {
        let lanes = self.layout.groups.len() * LANES;
        let (mut weights, mut losses) = (self.weights.clone(), vec![0.0; slices * lanes]);
        let mut squares = vec![0.1; weights.len()];
        for from in (0..ROWS).step_by(BATCH) {
            let n = BATCH.min(ROWS - from);
            let cut = if way == Way::OfUsualRows { BATCH } else { n };
            let mut leaves = Vec::new();
            for slice in 0..slices {
                let [start, end] = [slice, slice + 1].map(|at| from + (at * cut / slices).min(n));
                if start < end || way != Way::WithoutEmpty {
                    let losses = &mut losses[slice * lanes..(slice + 1) * lanes];
                    leaves.push(self.chain(&weights, start..end, way, losses));
                }
            }
            let gradient = match way {
                Way::Chain => leaves.into_iter().reduce(|sum, leaf| along_tree(&[sum, leaf])),
                _ => Some(along_tree(&leaves)),
            };
            for (place, slope) in gradient.expect("a leaf").into_iter().enumerate() {
                let l2 = if place < self.layout.biases() { 1e-3 } else { 0.0 };
                let given = Coefficients { rate: 0.3, scale: 1.0 / n as f32, l2 };
                update(&mut weights[place], slope, &mut squares[place], given);
            }
        }
        (weights, losses)
    }

    /// The same by a device.
    fn learned(&self, mut device: Host, slices: usize) -> (Vec<f32>, Vec<f64>) {
        let stride = stride_of(WIDTH);
        let put = &mut |to: &mut [f32], labels: &mut Labels| {
            to.fill(0.0);
            let rows = to.chunks_mut(stride).zip(&self.rows);
            rows.for_each(|(to, v)| to[..WIDTH].copy_from_slice(v));
            *labels = Labels::new();
            self.labels.iter().for_each(|own| labels.push(own));
        };
        let arrived = Arrived { first: 0, rows: ROWS, width: WIDTH, put };
        let rows = device.bring(arrived, None).unwrap();
        let block = ClassBlock {
            weights: Arc::new(self.weights.clone()),
            state: MiniBatches::new(&self.layout, MiniBatchSolver::Adagrad, 0.0, slices),
            layout: self.layout.clone(),
        };
        let mut own = device.hold(vec![block]).unwrap();
        let negatives = self.negatives;
        let how = Learn { batch: BATCH, slices, learning_rate: 0.3, l2: 1e-3, negatives };
        let mut poll = || ();
        let pace = &mut Pace::new(&mut poll, &|| false);
        device.learn(&mut own, &rows, &how, pace).unwrap();
        let mut losses = Vec::new();
        device.read(&own, 0, &mut |block| losses = block.state.losses.clone()).unwrap();
        (device.weights(&own, 0).unwrap().to_vec(), losses)
    }
}

#[test]
fn mini_batches_are_summed_slice_by_slice_and_slices_along_the_tree() {
    for number in 0..4 {
        let case = Case::new(number);
        for slices in [1, 2, 3, 4, 12, 64] {
            let (weights, losses) = case.defined(slices, Way::Defined);
            for kernel in kernels() {
                for threads in 1..=3 {
                    let device = Host::named(kernel.name(), threads, EPSILON).unwrap();
                    let found = case.learned(device, slices);
                    let what = || format!("case {number}, {slices} slices, {threads} x {kernel:?}");
                    same(&found.0, &weights, &what);
                    same_sums(&found.1, &losses, &what);
                }
            }
        }
    }
}

/// What a mistake would compute has other bits, so that the test above sees it.
#[test]
fn other_ways_to_cut_and_to_sum_are_seen() {
    let case = Case::new(1);
    let weights = |slices, way| case.defined(slices, way).0;
    for (slices, way) in [
        (4, Way::OfUsualRows),
        (12, Way::OfUsualRows),
        (64, Way::WithoutEmpty),
        (4, Way::Chain),
        (12, Way::Chain),
        (4, Way::DrawnBySlice),
    ] {
        let (found, defined) = (weights(slices, way), weights(slices, Way::Defined));
        assert!(found != defined, "{slices} slices, {way:?}");
    }
    let all = [1, 2, 3, 4, 12].map(|slices| weights(slices, Way::Defined));
    for (index, own) in all.iter().enumerate() {
        assert!(!all[..index].contains(own), "slices decide bits");
    }
    let leaves: Vec<Vec<f32>> = vec![vec![-0.0]; 3];
    assert_eq!(along_tree(&leaves)[0].to_bits(), (-0.0f32).to_bits(), "nothing turns -0");
    assert_eq!(along_tree(&[vec![-0.0], vec![0.0]])[0].to_bits(), 0, "but an empty slice");
}
