//! A column of ranks (flow/column) with a device in short: gradients of slices that depend on the
//! weights, and what one rank comes to that adds all slices along the tree and steps whole blocks.

use reelscale::Result;
use reelscale::internals::comm::Comm;
use reelscale::internals::device::{Between, Pace, Part, Turn, Vote};
use reelscale::internals::flow::column::{Column, Steps, Stretches, Whole};
use reelscale::internals::flow::grid::{ColumnLanes, Lanes};
use reelscale::internals::kernel::vector::Instructions;
use reelscale::internals::model::Layout;
use reelscale::internals::model::experts::layouts;
use reelscale::internals::model::initial;
use reelscale::internals::model::spec::Dummy;
use reelscale::internals::optim::average::Average;
use reelscale::internals::optim::{MiniBatchSolver, Step};
use reelscale::internals::packed;
use reelscale::internals::partition::{Grid, Owners};
use reelscale::internals::rng::{Purpose, Stream};
use reelscale::internals::team::Team;
use reelscale::internals::tree::{self, Node, Partials};

pub const CLASSES: usize = 70;
pub const WIDTH: usize = 5;
const BATCHES: usize = 4;
const BATCH: usize = 48;
const LAST: usize = 20;
pub const STEPS: Steps = Steps { learning_rate: 0.05, l2: 1e-3 };

/// What a test varies.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub ranks: usize,
    pub slices: usize,
    pub blocks: usize,
    pub parts: usize,
    pub solver: MiniBatchSolver,
    pub averaging: f32,
}

pub const CASE: Case = Case {
    ranks: 2,
    slices: 4,
    blocks: 3,
    parts: 2,
    solver: MiniBatchSolver::Adam,
    averaging: 0.9,
};

impl Case {
    pub fn layouts(&self) -> Vec<Layout> {
        let counts: Vec<usize> = (0..CLASSES).map(|class| 1 + class / 16 % 3).collect();
        layouts(&counts, Dummy::Learned, WIDTH, self.blocks)
    }

    /// In their order.
    pub fn turns(&self) -> Vec<Turn> {
        let blocks = self.layouts().len();
        let turn = |at: usize| {
            let (batch, block) = (at / blocks, at % blocks);
            let rows = if batch + 1 == BATCHES { LAST } else { BATCH };
            Turn { block, batch, rows, end: batch * BATCH + rows }
        };
        (0..BATCHES * blocks).map(turn).collect()
    }
}

pub fn initial_weights(layout: &Layout) -> Vec<f32> {
    initial::experts(layout, CLASSES, 3, 1)
}

/// The gradient of a slice in a turn, which depends on the weights.
fn gradient(turn: &Turn, slice: usize, weights: &[f32]) -> Vec<f32> {
    let index = (turn.block * 1000 + turn.batch) * 1000 + slice;
    let mut stream = Stream::new(11, Purpose::PlantedRows, index as u64);
    weights.iter().map(|weight| stream.uniform() - 0.5 + 0.1 * weight.clamp(-1.0, 1.0)).collect()
}

fn plus(mut left: Vec<f32>, right: Vec<f32>) -> Vec<f32> {
    left.iter_mut().zip(right).for_each(|(left, right)| *left += right);
    left
}

/// What is left of a block, as bits: weights, and what checkpoints hold of its solver.
pub type LearnedBlock = (Vec<u32>, Vec<u8>);
pub type Learned = Vec<LearnedBlock>;

pub fn learned(weights: &[f32], whole: &Whole) -> LearnedBlock {
    let mut bytes = Vec::new();
    packed::put(&mut bytes, whole).unwrap();
    (weights.iter().map(|weight| weight.to_bits()).collect(), bytes)
}

/// One rank that takes these turns: whole blocks, all slices.
pub fn alone(case: Case, turns: &[Turn]) -> Learned {
    let layouts = case.layouts();
    let mut weights: Vec<Vec<f32>> = layouts.iter().map(initial_weights).collect();
    let mut states: Vec<Whole> = layouts
        .iter()
        .map(|layout| Whole {
            solver: case.solver.begin(layout.parameters()),
            average: (case.averaging > 0.0)
                .then(|| Average::new(layout.parameters(), case.averaging)),
        })
        .collect();
    for turn in turns {
        let (weights, state) = (&mut weights[turn.block], &mut states[turn.block]);
        let leaves = (0..case.slices).map(|slice| gradient(turn, slice, weights));
        let sum = tree::sum(leaves, plus).unwrap();
        let step = Step {
            learning_rate: STEPS.learning_rate,
            scale: 1.0 / turn.rows as f32,
            l2: STEPS.l2,
            decayed: layouts[turn.block].biases(),
        };
        let (member, plain) = (&mut (), Instructions::plain());
        state.solver.step(&mut Team::alone(member), plain, weights, &sum, step);
        if let Some(average) = &mut state.average {
            average.step(&mut Team::alone(member), plain, weights);
        }
    }
    weights.iter().zip(&states).map(|(weights, state)| learned(weights, state)).collect()
}

/// A rank's device, in short.
pub struct Device {
    pub layouts: Vec<Layout>,
    pub weights: Vec<Vec<f32>>,
}

impl Device {
    pub fn new(case: Case) -> Device {
        let layouts = case.layouts();
        Device { weights: layouts.iter().map(initial_weights).collect(), layouts }
    }

    pub fn stretches(&self, case: Case, slices: &Owners) -> Stretches {
        let blocks: Vec<(&Layout, &[f32])> =
            self.layouts.iter().zip(&self.weights).map(|(a, b)| (a, &b[..])).collect();
        Stretches::new(slices.clone(), &blocks, (case.solver, case.averaging), case.parts)
    }

    fn put(&mut self, parts: &[Vec<Part>], block: usize, part: usize, numbers: &[f32]) {
        parts[block][part].put(&self.layouts[block], numbers, &mut self.weights[block]);
    }

    /// Gives the parts of a turn's gradient, over the own slices.
    fn give(&self, column: &mut Column, turn: &Turn, vote: Vote, dice: &mut Stream) {
        let (own, layout) = (column.slices().own, &self.layouts[turn.block]);
        let mut partials = Partials::default();
        for slice in own {
            let leaf = match vote {
                Vote::Failed => vec![0.0; layout.parameters()],
                _ => gradient(turn, slice, &self.weights[turn.block]),
            };
            partials.push(Node::leaf(slice), leaf, plus);
        }
        let parts = column.parts(turn.block);
        for (index, part) in parts.iter().enumerate() {
            let nodes = partials.sums().map(|sum| {
                let mut room = column.room(turn.block, index);
                part.take(layout, sum, &mut room);
                room
            });
            let nodes = nodes.collect();
            column.give(turn, index, nodes, vote);
            // Ranks look at what has come at moments of their own.
            if dice.below(3) == 0 {
                column.tend();
            }
        }
    }

    /// Takes turns until they are through or all ranks stop; `vote` says what this rank votes on
    /// each. Gives those that took no step.
    pub fn take(
        &mut self,
        (lanes, stretches): (&Lanes, &mut Stretches),
        turns: &[Turn],
        mut vote: impl FnMut(usize) -> Result<Vote>,
        seed: u64,
    ) -> Result<Vec<Turn>> {
        let mut dice = Stream::new(7, Purpose::PlantedRows, seed);
        let column = &mut Column::new(lanes.column().expect("a column"), stretches, STEPS);
        let mut poll = || ();
        let pace = &mut Pace::new(&mut poll, &|| false);
        let parts: Vec<Vec<Part>> =
            (0..self.layouts.len()).map(|block| column.parts(block)).collect();
        for (at, turn) in turns.iter().enumerate() {
            let put = &mut |block: usize, part: usize, numbers: &[f32]| {
                self.put(&parts, block, part, numbers);
            };
            if !column.begin(turn, put, pace) {
                break;
            }
            let vote = vote(at)?;
            self.give(column, turn, vote, &mut dice);
        }
        let put = &mut |block: usize, part: usize, numbers: &[f32]| {
            self.put(&parts, block, part, numbers);
        };
        Ok(column.end(put, pace))
    }

    /// What all ranks have, and what the column's ranks have between them.
    pub fn learned(
        &self,
        (lanes, stretches): (&Lanes, &Stretches),
        ranks: usize,
    ) -> Result<(Vec<Vec<f32>>, Vec<Whole>)> {
        let lanes = lanes.column().expect("a column");
        let owners = Owners::even(self.layouts.len(), ranks, 0).runs();
        let whole = stretches.collect(lanes, &owners)?;
        for (own, home) in self.weights.iter().zip(stretches.weights(lanes)) {
            let odd = own.iter().zip(&home).position(|(own, home)| own.to_bits() != home.to_bits());
            assert_eq!(odd, None, "what was put is what homes have");
        }
        Ok((self.weights.clone(), whole))
    }
}

/// The weights of all blocks after they and averages were exchanged. Collective in the column.
// The simulator's columns have none.
#[allow(dead_code)]
pub fn swapped(lanes: &ColumnLanes, stretches: &mut Stretches) -> Vec<Vec<f32>> {
    let mut all = Vec::new();
    stretches.swap_averages(lanes, &mut |_, weights| all.push(weights));
    all
}

/// A column of all of `comm`'s ranks takes the case's turns, and what is left: weights of all ranks
/// and states by owners; and the turns that took no step.
pub type Found = (Vec<Vec<f32>>, Vec<Whole>, Vec<Turn>);

pub fn on_rank(
    case: Case,
    comm: &Comm,
    vote: impl Fn(usize, usize) -> Result<Vote>,
    seed: u64,
) -> Result<Found> {
    let grid = Grid::new((case.ranks, 1), case.slices, case.ranks, comm.rank());
    let lanes = Lanes::new(comm, &grid);
    let mut device = Device::new(case);
    let mut stretches = device.stretches(case, grid.slices());
    let (rank, turns) = (comm.rank(), case.turns());
    let left =
        device.take((&lanes, &mut stretches), &turns, |at| vote(rank, at), seed + rank as u64)?;
    // As at a boundary, damage before anything else.
    comm.agree(Ok(()))?;
    let (weights, whole) = device.learned((&lanes, &stretches), case.ranks)?;
    Ok((weights, whole, left))
}

/// Sees that a rank has what one rank has after these turns: all weights, and the states of the
/// blocks that it owns.
pub fn check(what: &str, case: Case, rank: usize, (weights, whole, _): &Found, turns: &[Turn]) {
    let expected = alone(case, turns);
    let own = Owners::even(expected.len(), case.ranks, rank).own();
    assert_eq!((weights.len(), whole.len()), (expected.len(), own.len()), "{what}: {case:?}");
    for (block, (weights, expected)) in weights.iter().zip(&expected).enumerate() {
        let bits = weights.iter().map(|weight| weight.to_bits());
        assert!(
            bits.eq(expected.0.iter().copied()),
            "{what}: rank {rank}, block {block}, {case:?}"
        );
        if own.contains(&block) {
            let found = learned(weights, &whole[block - own.start]);
            assert!(found == *expected, "{what}: rank {rank}, state of block {block}, {case:?}");
        }
    }
}
