//! The state of a class block each of whose classes is minimised by itself, by value and gradient
//! over all rows.

use std::io;
use std::ops::Range;

use super::class_block::{ByEpoch, Solving};
use crate::model::Layout;
use crate::optim::{ClassSolver, ClassState, Offered};
use crate::packed::{self, unless};

/// The search of each class of a block. The block's weights stand at the trial points.
pub struct FullBatches {
    pub classes: Vec<ClassState>,
}

impl FullBatches {
    /// Searches that begin at `weights`.
    pub(crate) fn new(
        layout: &Layout,
        weights: &[f32],
        solver: ClassSolver,
        offered: &Offered,
    ) -> FullBatches {
        let classes = 0..layout.classes.len();
        FullBatches { classes: searches(layout, classes, weights, (solver, offered)) }
    }

    /// Takes searches that were read from a checkpoint.
    ///
    /// # Errors
    /// They aren't what this solver has of the block's classes between two passes.
    pub(crate) fn of(
        layout: &Layout,
        solver: ClassSolver,
        offered: &Offered,
        classes: Vec<ClassState>,
    ) -> io::Result<FullBatches> {
        let (found, expected) = (classes.len(), layout.classes.len());
        let fault = match found == expected {
            false => Some(format!("found {found} searches, expected {expected}")),
            true => classes.iter().enumerate().find_map(|(class, search)| {
                search.fault(solver, layout.places_of(class).0.len(), offered)
            }),
        };
        unless(FullBatches { classes }, fault)
    }

    /// Puts every class's weights at its last accepted point.
    pub fn settle(&self, layout: &Layout, weights: &mut [f32]) {
        for (class, search) in self.classes.iter().enumerate() {
            let places = layout.places_of(class).0.into_iter();
            places.zip(search.accepted()).for_each(|(place, weight)| weights[place] = *weight);
        }
    }
}

/// Searches of some classes of a block, counted from its first, that begin at `weights`.
pub(crate) fn searches(
    layout: &Layout,
    classes: Range<usize>,
    weights: &[f32],
    (solver, offered): (ClassSolver, &Offered),
) -> Vec<ClassState> {
    let begin = |class: usize| {
        let places = layout.places_of(class).0;
        let point: Vec<f32> = places.into_iter().map(|place| weights[place]).collect();
        solver.begin(&point, offered)
    };
    classes.map(begin).collect()
}

impl Solving for FullBatches {
    const GRADIENT_LASTS: bool = true;

    fn put(&self, to: &mut dyn io::Write) -> io::Result<()> {
        packed::put(to, &self.classes)
    }
}

impl ByEpoch for FullBatches {
    /// Objectives at the last accepted points.
    fn losses(&self) -> Vec<f64> {
        self.classes.iter().map(ClassState::value).collect()
    }

    fn converged(&self) -> bool {
        self.classes.iter().all(ClassState::converged)
    }

    fn end(&mut self, layout: &Layout, weights: &[f32], stopped: &[bool]) {
        for (class, search) in
            self.classes.iter_mut().enumerate().filter(|(class, _)| stopped[*class])
        {
            let places = layout.places_of(class).0.into_iter();
            search.end_at(places.map(|place| weights[place]).collect());
        }
    }
}
