//! L-BFGS in the expert step: a class block whose classes search by themselves, each told its own
//! value and gradient of a pass over all rows.

use std::io;

use super::early_stopping::HeldOut;
use crate::kernel::mixture::layout::Layout;
use crate::kernel::mixture::{Block, Kernel, Passing, expert_gradient};
use crate::kernel::vector::LANES;
use crate::optim::lbfgs::Lbfgs;
use crate::packed::{put, take, unless};
use crate::team::Team;

/// A class block whose classes search by L-BFGS, each by itself. The block's parameters stand at
/// the trial points.
pub struct BlockSearch {
    gradient: Vec<f32>,
    /// [groups][16]
    losses: Vec<f64>,
    classes: Vec<ClassSearch>,
}

/// One class: where its numbers lie in the block's parameters, weights first, and its search.
struct ClassSearch {
    places: Vec<usize>,
    /// The first so many of `places` are weights, the rest biases.
    weights: usize,
    search: Lbfgs,
}

impl BlockSearch {
    pub fn new(layout: &Layout, parameters: &[f32], tolerance: f64) -> BlockSearch {
        let begin = |places: &[usize]| {
            let point = places.iter().map(|place| parameters[*place]).collect();
            Ok(Lbfgs::new(point, tolerance))
        };
        BlockSearch::with(layout, begin).expect("nothing is read")
    }

    /// What a checkpoint holds between two passes.
    ///
    /// # Errors
    /// It is something else.
    pub fn restore(
        layout: &Layout,
        tolerance: f64,
        from: &mut dyn io::Read,
    ) -> io::Result<BlockSearch> {
        BlockSearch::with(layout, |places| {
            let search: Lbfgs = take(from)?;
            let fault = search.fault(places.len(), tolerance);
            unless(search, fault)
        })
    }

    fn with(
        layout: &Layout,
        mut search: impl FnMut(&[usize]) -> io::Result<Lbfgs>,
    ) -> io::Result<BlockSearch> {
        let classes = (0..layout.classes.len()).map(|class| {
            let (places, weights) = layout.places_of(class);
            let search = search(&places)?;
            Ok(ClassSearch { places, weights, search })
        });
        let classes = classes.collect::<io::Result<_>>()?;
        let losses = vec![0.0; layout.groups.len() * LANES];
        Ok(BlockSearch { gradient: vec![0.0; layout.parameters()], losses, classes })
    }

    /// Writes what `restore` reads.
    pub fn put(&self, to: &mut dyn io::Write) -> io::Result<()> {
        self.classes.iter().try_for_each(|class| put(to, &class.search))
    }

    /// Leaves out what the pass under way has given so far.
    pub fn forget(&mut self) {
        self.gradient.fill(0.0);
        self.losses.fill(0.0);
    }

    pub fn converged(&self) -> bool {
        self.classes.iter().all(|class| class.search.converged())
    }

    /// Objectives at the last accepted points, summed over classes.
    pub fn value(&self) -> f64 {
        self.classes.iter().map(|class| class.search.value()).sum()
    }

    /// Adds what a window's rows give to every class's value and gradient.
    pub fn evaluate(&mut self, team: &mut Team<Kernel>, block: Block, window: Passing) {
        let rows = 0..window.labels.rows();
        let (gradient, losses) = (&mut self.gradient, &mut self.losses);
        expert_gradient(team, block, window, rows, gradient, losses);
    }

    /// Tells every class its objective, mean loss + l2 |w|^2 / 2, and moves it to its next trial.
    pub fn advance(&mut self, parameters: &mut [f32], rows: usize, l2: f64) {
        let scale = 1.0 / rows as f64;
        for (index, class) in self.classes.iter_mut().enumerate() {
            let (mut value, mut gradient) = (self.losses[index] * scale, Vec::new());
            for (position, place) in class.places.iter().enumerate() {
                let mut slope = f64::from(self.gradient[*place]) * scale;
                if position < class.weights {
                    let weight = f64::from(parameters[*place]);
                    value += 0.5 * l2 * weight * weight;
                    slope += l2 * weight;
                }
                gradient.push(slope as f32);
            }
            class.search.told(value, &gradient);
            let trial = class.search.trial();
            class.places.iter().zip(trial).for_each(|(place, weight)| parameters[*place] = weight);
        }
        self.forget();
    }

    /// Ends the searches of classes that have stopped by themselves, at where `parameters` stand.
    pub fn end_stopped(&mut self, held_out: &HeldOut, parameters: &[f32]) {
        for (index, class) in self.classes.iter_mut().enumerate() {
            if held_out.stopped(index) {
                let point = class.places.iter().map(|place| parameters[*place]).collect();
                class.search.end_at(point);
            }
        }
    }

    /// Puts every class at its last accepted point.
    pub fn settle(&self, parameters: &mut [f32]) {
        for class in &self.classes {
            let point = class.search.point();
            class.places.iter().zip(point).for_each(|(place, weight)| parameters[*place] = *weight);
        }
    }
}
