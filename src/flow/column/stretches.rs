//! What one rank of a column steps: of each part of each block a stretch, whose weights have their
//! home here, with the solver's state and the average, which lie nowhere else. Solvers go element
//! by element, so that no bit depends on where parts and stretches are cut.

use std::ops::Range;
use std::sync::Arc;

use super::Steps;
use super::exchange::{Free, Kind};
use crate::device::host_arithmetic::step_stretch;
use crate::device::{Part, Slices};
use crate::model::{LANES, Layout};
use crate::optim::average::Average;
use crate::optim::{MiniBatchSolver, MiniBatchState, Step};
use crate::partition::Owners;
use crate::team::Team;
use crate::tree::{Node, nodes_of};

/// This rank's stretches of the blocks of its column.
pub struct Stretches {
    pub(super) slices: Slices,
    /// Slices over the ranks of the column.
    pub(super) rows: Owners,
    /// The nodes of each rank's slices.
    pub(super) held: Vec<Vec<Node>>,
    pub(super) blocks: Vec<Home>,
    pub(super) free: Free,
}

/// A class block of the column.
pub(super) struct Home {
    pub(super) layout: Layout,
    pub(super) parts: Vec<HomePart>,
}

/// A part of a block, as the ranks of its column have it between them.
pub(super) struct HomePart {
    pub(super) part: Part,
    /// The numbers of the part that each rank steps.
    pub(super) stretches: Vec<Range<usize>>,
    pub(super) own: Stretch,
}

/// The numbers that this rank steps.
pub(super) struct Stretch {
    pub(super) weights: Vec<f32>,
    pub(super) solver: MiniBatchState,
    pub(super) average: Option<Average>,
    /// How many of them are weights, which decay; biases come after them.
    decayed: usize,
}

/// Where numbers `of` a part lie in its block's: weights, then biases.
fn places(part: &Part, layout: &Layout, of: &Range<usize>) -> [Range<usize>; 2] {
    let [weights, biases] = part.places(layout);
    let (count, all) = (weights.len(), weights.len() + biases.len());
    let within = |from: usize, to: usize| of.start.clamp(from, to)..of.end.clamp(from, to);
    let (of_weights, of_biases) = (within(0, count), within(count, all));
    let shifted = |run: Range<usize>, by: usize| run.start + by..run.end + by;
    [
        shifted(of_weights, weights.start),
        shifted(of_biases.start - count..of_biases.end - count, biases.start),
    ]
}

/// Numbers `of` a part, of its block's.
pub(super) fn taken(part: &Part, layout: &Layout, of: &Range<usize>, block: &[f32]) -> Vec<f32> {
    places(part, layout, of).into_iter().flat_map(|places| &block[places]).copied().collect()
}

/// Puts numbers `of` a part into its block's.
pub(super) fn put(
    part: &Part,
    layout: &Layout,
    of: &Range<usize>,
    numbers: &[f32],
    block: &mut [f32],
) {
    let [weights, biases] = places(part, layout, of);
    let (of_weights, of_biases) = numbers.split_at(weights.len());
    block[weights].copy_from_slice(of_weights);
    block[biases].copy_from_slice(of_biases);
}

/// What each of so many ranks steps of a part of so many numbers: runs of sixteen numbers, as even
/// as can be.
fn stretches(numbers: usize, ranks: usize) -> Vec<Range<usize>> {
    let start = |rank: usize| LANES * (rank * (numbers / LANES) / ranks);
    (0..ranks).map(|rank| start(rank)..start(rank + 1)).collect()
}

impl Stretches {
    /// Of these blocks, as the rank that `rows`, slices over the ranks of the column, is of, before
    /// the first step. Each block is cut into at most so many `parts`.
    pub fn new(
        rows: Owners,
        blocks: &[(&Layout, &[f32])],
        (solver, averaging): (MiniBatchSolver, f32),
        parts: usize,
    ) -> Stretches {
        let home = |(layout, weights): &(&Layout, &[f32])| {
            let new = |part| HomePart::new(part, (layout, weights), &rows, (solver, averaging));
            let parts = Part::all(layout, parts).into_iter().map(new).collect();
            Home { layout: (*layout).clone(), parts }
        };
        let blocks = blocks.iter().map(home).collect();
        let slices = Slices { count: rows.blocks(), own: rows.own() };
        let held = rows.runs().into_iter().map(nodes_of).collect();
        Stretches { slices, rows, held, blocks, free: Free::default() }
    }

    /// All slices, and those that are summed here.
    pub fn slices(&self) -> &Slices {
        &self.slices
    }

    /// The parts of a block.
    pub fn parts(&self, block: usize) -> impl ExactSizeIterator<Item = &Part> {
        self.blocks[block].parts.iter().map(|home| &home.part)
    }

    pub(super) fn room(&mut self, block: usize, part: usize) -> Vec<f32> {
        let Home { layout, parts } = &self.blocks[block];
        self.free.room(Kind::Node, parts[part].part.numbers(layout))
    }
}

impl HomePart {
    fn new(
        part: Part,
        (layout, weights): (&Layout, &[f32]),
        rows: &Owners,
        (solver, averaging): (MiniBatchSolver, f32),
    ) -> HomePart {
        let stretches = stretches(part.numbers(layout), rows.ranks());
        let own = stretches[rows.rank()].clone();
        let weights = taken(&part, layout, &own, weights);
        let decayed = part.places(layout)[0].len().clamp(own.start, own.end) - own.start;
        let average = (averaging > 0.0).then(|| Average::new(weights.len(), averaging));
        let solver = solver.begin(weights.len());
        HomePart { part, stretches, own: Stretch { weights, solver, average, decayed } }
    }
}

impl Stretch {
    /// One step by the sum of a mini-batch's gradient, of so many rows of all ranks.
    pub(super) fn step(&mut self, threads: usize, gradient: &[f32], rows: usize, steps: Steps) {
        let Steps { learning_rate, l2 } = steps;
        let step = Step { learning_rate, scale: 1.0 / rows as f32, l2, decayed: self.decayed };
        let (mut members, Stretch { weights, solver, average, .. }) = (vec![(); threads], self);
        let team = &mut Team::new(&mut members);
        step_stretch(team, (solver, average.as_mut()), weights, gradient, step);
    }

    /// Exchanges weights and their average, where there is one.
    pub(super) fn swap(&mut self) {
        if let Some(average) = &mut self.average {
            std::mem::swap(Arc::make_mut(&mut average.weights), &mut self.weights);
        }
    }
}
