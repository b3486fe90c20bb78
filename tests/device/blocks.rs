//! Own class blocks by their definition, a mini-batch of all of them before the next one. Weights
//! and gradients are the device's; solvers step on the host, as of a device that has no kernel for
//! them: gradients come down and weights go up.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use reelscale::internals::device::{
    AllRows, Apart, Batch, ByEpoch, ClassBlock, FullBatches, Joint, JointStep, Learn, MiniBatches,
    Nodes, Slices, Solving, VARIABLES,
};
use reelscale::internals::kernel::mixture::definition as mixture;
use reelscale::internals::kernel::vector::Instructions;
use reelscale::internals::model::{LANES, Layout, Role, stride_of};
use reelscale::internals::optim::{MiniBatch, Offered, Step};
use reelscale::internals::team::Team;
use reelscale::internals::tree::{Node, Partials};

use super::rows::Rows;
use super::storage::{Buffer, Meter};

/// Class blocks that learn in the way S.
pub struct Blocks<S> {
    pub blocks: Vec<Block<S>>,
}

/// One of them.
pub struct Block<S> {
    pub layout: Layout,
    weights: Buffer<f32>,
    /// As it was last read back, and whether its weights have changed since.
    read: RefCell<ClassBlock<S>>,
    changed: Cell<bool>,
    /// Of the mini-batch, pass or slice of a pass under way.
    gradient: Buffer<f32>,
    losses: Vec<f64>,
    /// Slices of a pass that are complete: which, gradients and losses.
    complete: Vec<(usize, Vec<f32>, Vec<f64>)>,
}

/// Leaves added along the tree: of more than one the left ones, the largest power of two that
/// leaves something, and the right ones, each along the tree, and then both.
fn along_tree<T: Copy + std::ops::Add<Output = T>>(leaves: &[Vec<T>]) -> Vec<T> {
    let [_, _, ..] = leaves else { return leaves[0].clone() };
    let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
    let sums = along_tree(left).into_iter().zip(along_tree(right));
    sums.map(|(left, right)| left + right).collect()
}

impl<S: Solving> Blocks<S> {
    pub fn new(meter: &Rc<Meter>, blocks: Vec<ClassBlock<S>>) -> Blocks<S> {
        let block = |block: ClassBlock<S>| Block {
            layout: block.layout.clone(),
            weights: Buffer::up(meter, &block.weights),
            changed: Cell::new(false),
            gradient: Buffer::zeros(meter, block.layout.parameters()),
            losses: vec![0.0; block.layout.groups.len() * LANES],
            complete: Vec::new(),
            read: RefCell::new(block),
        };
        Blocks { blocks: blocks.into_iter().map(block).collect() }
    }
}

impl<S> Block<S> {
    /// The block on the host, as it is now. The same weights are the same memory.
    pub fn read(&self) -> std::cell::Ref<'_, ClassBlock<S>> {
        if self.changed.replace(false) {
            self.read.borrow_mut().weights = Arc::new(self.weights.down().to_vec());
        }
        self.read.borrow()
    }

    /// What the host has of it.
    pub fn state(&mut self) -> &mut S {
        &mut self.read.get_mut().state
    }

    /// Has the weights changed on the host.
    pub fn change(&mut self, with: impl FnOnce(&mut S, &mut [f32], &[f32])) {
        let mut weights = self.weights.down().to_vec();
        with(&mut self.read.get_mut().state, &mut weights, self.gradient.down());
        self.weights.put(&weights);
        self.changed.set(true);
    }

    /// Adds a row to the gradient, its losses to those by class, and its part to `slopes`.
    fn row(
        &mut self,
        (v, labels, weight): (&[f32], &[u32], f32),
        epsilon: f32,
        losses: &mut [f64],
        slopes: &mut [f32],
    ) {
        let layout = &self.layout;
        let mut logits = mixture::logits(layout, &self.weights, v);
        mixture::logit_gradients(layout, &mut logits, labels, weight, epsilon, losses);
        mixture::add_expert_gradient(layout, v, &logits, &mut self.gradient);
        mixture::add_activation_gradient(layout, &self.weights, &logits, slopes);
    }
}

impl<S: Solving> Block<S> {
    /// The gradient over the rows of a slice that the block learns from, of which row i is at
    /// `position` + i of the epoch. Losses go to the slice's chain of all.
    pub fn slice(
        &mut self,
        (rows, own, position): (&Rows, Range<usize>, usize),
        how: &Learn,
        epsilon: f32,
        (slice, losses): (usize, &mut [f64]),
    ) -> Vec<f32> {
        self.gradient.fill(0.0);
        let lanes = self.layout.groups.len() * LANES;
        let losses = &mut losses[slice * lanes..(slice + 1) * lanes];
        for row in own {
            let labels = rows.labels.row_within(row, &self.layout.classes);
            let weight = match how.negatives {
                Some(negatives) if labels.is_empty() => {
                    if !negatives.takes(&self.layout, position + row) {
                        continue;
                    }
                    1.0 / negatives.share
                }
                _ => 1.0,
            };
            self.row((rows.row(row), labels, weight), epsilon, losses, &mut []);
        }
        self.gradient.down().to_vec()
    }
}

impl Block<MiniBatches> {
    /// Whether it is to learn from the mini-batch that ends before this row of the epoch.
    pub fn wants(&mut self, end: usize) -> bool {
        let state = self.state();
        !state.converged && state.rows < end
    }

    /// The gradient over a mini-batch, its losses added to the epoch's: slice by slice.
    pub fn mini_batch(&mut self, rows: &Rows, batch: Range<usize>, how: &Learn, epsilon: f32) {
        let (count, mut leaves) = (batch.len(), Vec::new());
        for slice in 0..how.slices {
            let [from, to] = [slice, slice + 1].map(|at| batch.start + at * count / how.slices);
            let mut losses = std::mem::take(&mut self.state().losses);
            let passing = (rows, from..to, rows.first);
            leaves.push(self.slice(passing, how, epsilon, (slice, &mut losses)));
            self.state().losses = losses;
        }
        self.gradient.put(&along_tree(&leaves));
    }

    /// The solver's step by the gradient.
    pub fn step(&mut self, rows: &Rows, batch: Range<usize>, how: &Learn) {
        let step = Step {
            learning_rate: how.learning_rate,
            scale: 1.0 / batch.len() as f32,
            l2: how.l2,
            decayed: self.layout.biases(),
        };
        let end = rows.first + batch.end;
        self.change(|state, weights, gradient| {
            let (instructions, mut own) = (Instructions::detect(), ());
            let team = &mut Team::alone(&mut own);
            state.solver.step(team, instructions, weights, gradient, step);
            if let Some(average) = &mut state.average {
                average.step(team, instructions, weights);
            }
            state.rows = end;
        });
    }

    /// Exchanges the weights and their average.
    pub fn swap_average(&mut self) {
        let front = self.read().weights.clone();
        let block = self.read.get_mut();
        if let Some(average) = &mut block.state.average {
            block.weights = std::mem::replace(&mut average.weights, front);
            self.weights.put(&block.weights);
        }
    }

    pub fn end_epoch(&mut self, tolerance: f64) {
        self.state().end_epoch(tolerance);
    }
}

impl<S: ByEpoch> Block<S> {
    /// Ends the learning of classes that have stopped, at where the weights stand.
    pub fn end(&mut self, stopped: &[bool]) {
        drop(self.read());
        let ClassBlock { layout, weights, state } = self.read.get_mut();
        state.end(layout, weights, stopped);
    }
}

impl<S: Solving> Block<S> {
    /// Goes on with the gradient and the losses of the pass, slice by slice.
    pub fn evaluate(&mut self, rows: &Rows, all: &AllRows, epsilon: f32) {
        let Slices { count, own } = &all.slices;
        let ends = |slice: usize| (own.start + slice + 1) * all.count / count;
        let end = ends(own.len() - 1);
        for row in 0..=rows.labels.rows() {
            // Slices that end before this row, of which some may have none.
            while self.complete.len() < own.len()
                && ends(self.complete.len()) == rows.first + row
                && (row < rows.labels.rows() || rows.first + row == end)
            {
                let slice = own.start + self.complete.len();
                let sums = (slice, self.gradient.down().to_vec(), self.losses.clone());
                self.complete.push(sums);
                self.gradient.fill(0.0);
                self.losses.fill(0.0);
            }
            if row < rows.labels.rows() {
                let mut losses = std::mem::take(&mut self.losses);
                let own = (rows.row(row), rows.labels.row(row), 1.0);
                self.row(own, epsilon, &mut losses, &mut []);
                self.losses = losses;
            }
        }
    }
}

impl Block<Apart> {
    /// The nodes of the own slices of a mini-batch.
    pub fn nodes(
        &mut self,
        (rows, batch): (&Rows, &Batch),
        how: &Learn,
        epsilon: f32,
        slices: &Slices,
    ) -> Vec<Vec<f32>> {
        let position = batch.first - batch.own[0].start;
        let mut sums = Partials::default();
        for (index, own) in batch.own.iter().enumerate() {
            let mut losses = std::mem::take(&mut self.state().losses);
            let passing = (rows, own.clone(), position);
            let leaf = self.slice(passing, how, epsilon, (index, &mut losses));
            self.state().losses = losses;
            let plus = |left: Vec<f32>, right| along_tree(&[left, right]);
            sums.push(Node::leaf(slices.own.start + index), leaf, plus);
        }
        sums.into_sums().collect()
    }

    pub fn learns(&self) -> bool {
        !self.read.borrow().state.converged
    }

    /// What the pass has given.
    pub fn sums(&mut self) -> Nodes {
        let (mut gradients, mut losses) = (Partials::default(), Partials::default());
        let complete = std::mem::take(&mut self.complete);
        for (slice, gradient, loss) in complete {
            let plus = |left: Vec<f32>, right| along_tree(&[left, right]);
            gradients.push(Node::leaf(slice), gradient, plus);
            losses
                .push(Node::leaf(slice), loss, |left: Vec<f64>, right| along_tree(&[left, right]));
        }
        gradients.into_sums().zip(losses.into_sums()).collect()
    }
}

impl Block<FullBatches> {
    pub fn searches(&self) -> bool {
        !self.read.borrow().state.converged()
    }

    pub fn forget(&mut self) {
        self.gradient.fill(0.0);
        self.losses.fill(0.0);
        self.complete.clear();
    }

    /// Each class's objective and its gradient, in 64 bits, to its search.
    pub fn advance(&mut self, rows: usize, l2: f64, offered: &Offered) {
        let complete = std::mem::take(&mut self.complete).into_iter();
        let (gradients, losses): (Vec<_>, Vec<_>) =
            complete.map(|(_, gradient, losses)| (gradient, losses)).unzip();
        self.gradient.put(&along_tree(&gradients));
        self.losses = along_tree(&losses);
        let (layout, losses, scale) = (self.layout.clone(), self.losses.clone(), 1.0 / rows as f64);
        self.change(|state, weights, gradient| {
            for (class, search) in state.classes.iter_mut().enumerate() {
                let (places, decayed) = layout.places_of(class);
                let mut value = losses[class] * scale;
                let mut slopes = Vec::new();
                for (position, place) in places.iter().enumerate() {
                    let mut slope = f64::from(gradient[*place]) * scale;
                    if position < decayed {
                        let weight = f64::from(weights[*place]);
                        value += 0.5 * l2 * weight * weight;
                        slope += l2 * weight;
                    }
                    slopes.push(slope as f32);
                }
                let mut point: Vec<f32> = places.iter().map(|place| weights[*place]).collect();
                let (mut own, instructions) = ((), Instructions::detect());
                let team = &mut Team::alone(&mut own);
                search.advance(team, instructions, &mut point, (value, &slopes), offered);
                places.iter().zip(point).for_each(|(place, weight)| weights[*place] = weight);
            }
        });
        self.forget();
    }

    pub fn settle(&mut self) {
        let layout = self.layout.clone();
        self.change(|state, weights, _| state.settle(&layout, weights));
    }
}

impl Block<Joint> {
    /// The gradient over a mini-batch, and the part of dL/dv where `slopes` has room; losses by
    /// class.
    pub fn gradients(&mut self, rows: &Rows, epsilon: f32, slopes: &mut [f32]) -> Vec<f64> {
        self.gradient.fill(0.0);
        slopes.fill(0.0);
        let (mut losses, stride) = (vec![0.0; self.losses.len()], stride_of(rows.width));
        for row in 0..rows.labels.rows() {
            let own = (rows.row(row), rows.labels.row(row), 1.0);
            let slopes = slopes.get_mut(row * stride..(row + 1) * stride).unwrap_or_default();
            self.row(own, epsilon, &mut losses, slopes);
        }
        losses
    }

    /// The variable of each place of the block's parameters: gates, experts, biases.
    fn variable(layout: &Layout) -> impl Fn(usize) -> usize + use<> {
        let roles = layout.groups.iter().flat_map(|group| layout.roles(group));
        let of = |role| if matches!(role, Role::Expert(_)) { 1 } else { 0 };
        let panels: Vec<usize> = roles.map(of).collect();
        let (biases, panel) = (layout.biases(), layout.width * LANES);
        move |place| if place < biases { panels[place / panel] } else { 2 }
    }

    /// Squares in 64 bits: one chain for each panel from 0, panels in order; one for biases.
    pub fn squares(&self) -> [f64; VARIABLES] {
        let (variable, panel) = (Block::variable(&self.layout), self.layout.width * LANES);
        let (weights, biases) = self.gradient.split_at(self.layout.biases());
        let square = |numbers: &[f32]| numbers.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
        let mut squares = [0.0, 0.0, square(biases)];
        for (index, numbers) in weights.chunks_exact(panel).enumerate() {
            squares[variable(index * panel)] += square(numbers);
        }
        squares
    }

    pub fn step(&mut self, step: &JointStep) {
        let (variable, decayed) = (Block::variable(&self.layout), self.layout.biases());
        for (place, slope) in self.gradient.iter_mut().enumerate() {
            *slope *= step.scales[variable(place)];
        }
        let (learning_rate, l2) = (step.learning_rate, step.l2);
        self.change(|state, weights, gradient| {
            let step = Step { learning_rate, scale: 1.0, l2, decayed };
            let mut own = ();
            let team = &mut Team::alone(&mut own);
            state.0.step(team, Instructions::detect(), weights, gradient, step);
        });
    }
}
