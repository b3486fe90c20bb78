//! Solvers: they keep a state, take gradients and make steps.
//!
//! Two kinds: a `MiniBatch` steps any stretch of a vector of parameters by the gradient of some
//! rows; a `FullBatch` steps a class's numbers, or the shared layers', by value and gradient over
//! all rows. The tables at the end say which there are and what jobs call them: a new solver is a
//! file, with its impl of one of the traits, and a line there.

pub(crate) mod adagrad;
pub mod adam;
pub mod average;
pub(crate) mod irprop;
pub(crate) mod lbfgs;
mod tables;

use std::io;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use self::irprop::Steps;
use crate::kernel::irprop::Signs;
use crate::kernel::text::calls::Stepper;
use crate::kernel::vector::{Instructions, LANES};
use crate::packed;
use crate::team::Team;

/// A solver that learns by mini-batches. Its state has numbers beside each parameter and perhaps
/// some beside all of them, so that any stretch of a vector can be stepped by a state of its own.
pub trait MiniBatch: Sized + Serialize {
    /// The kernel that takes its steps on devices, which hold its `vectors` then. None: it steps on
    /// the host, whatever the device.
    const STEPPER: Option<Stepper> = None;
    /// Numbers kept beside each parameter.
    const NUMBERS: usize;
    /// The learning rate where a job gives none.
    const LEARNING_RATE: f32;

    /// The state before the first step.
    fn new(parameters: usize) -> Self;

    /// What of a state that was read back no steps on so many parameters can have led to.
    fn fault(&self, parameters: usize) -> Option<String>;

    /// What `STEPPER` keeps of each parameter, in its order.
    fn vectors(&mut self) -> Vec<&mut Vec<f32>> {
        Vec::new()
    }

    /// Counts a step that `STEPPER` takes, and gives the rate that it takes it with.
    fn rate(&mut self, learning_rate: f32) -> f32 {
        learning_rate
    }

    /// One step, shared by as many threads as `team` has; their number can't be seen in
    /// the bits.
    fn step<S: Send>(
        &mut self,
        team: &mut Team<S>,
        instructions: Instructions,
        parameters: &mut [f32],
        gradient: &[f32],
        step: Step,
    );
}

/// A solver that learns from value and gradient over all rows.
pub(crate) trait FullBatch: Sized + Serialize {
    /// What the kernel that takes its steps on devices, which hold what is `kept` then, takes one
    /// with at this value. None: it steps on the host, whatever the device.
    const SIGNS: Option<fn(&mut Self, f64) -> Signs> = None;
    /// Numbers kept at most beside each parameter.
    const NUMBERS: usize;

    /// Those of them that a checkpoint holds after so many evaluations.
    fn saved(_evaluations: usize) -> usize {
        Self::NUMBERS
    }

    /// What that kernel keeps of each parameter, in its order.
    fn kept(&mut self) -> Vec<&mut Vec<f32>> {
        Vec::new()
    }

    /// The state before the first evaluation, which is to be at `point`.
    fn begin(point: &[f32], offered: &Offered) -> Self;

    /// What of a state that was read back none over so many numbers can have come to.
    fn fault(&self, numbers: usize, offered: &Offered) -> Option<String>;

    /// Takes the value and the gradient at `point`, which becomes the point where they are wanted
    /// next. May be shared by as many threads as `team` has.
    fn advance<S: Send>(
        &mut self,
        team: &mut Team<S>,
        instructions: Instructions,
        point: &mut [f32],
        found: (f64, &[f32]),
        offered: &Offered,
    );
}

/// A full-batch solver by which each class searches by itself, for as long as that gains something.
pub(crate) trait ByClass: FullBatch {
    /// True once nothing more is to be gained.
    fn converged(&self) -> bool;

    /// The value at the last accepted point; infinite before the first.
    fn value(&self) -> f64;

    /// The last accepted point.
    fn accepted(&self) -> &[f32];

    /// Ends the search at `point`.
    fn end_at(&mut self, point: Vec<f32>);
}

/// What jobs offer full-batch solvers, each of which takes what it needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offered {
    /// Relative fall of the value below which a search has converged.
    pub(crate) tolerance: f64,
    pub(crate) learning_rate: f32,
    /// Bounds of the steps of iRprop+.
    pub(crate) steps: Steps,
}

tables::mini_batch_solvers!(MiniBatchSolver, MiniBatchState {
    adagrad::Adagrad = "adagrad",
    adam::Adam = "adam",
});

tables::class_solvers!(ClassSolver, ClassState {
    lbfgs::Lbfgs = "lbfgs",
});

tables::full_batch_solvers!(SharedSolver, SharedState {
    irprop::Irprop = "irprop",
    adam::Adam = "adam",
});

/// Which solver the expert step runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Solver {
    MiniBatch(MiniBatchSolver),
    /// Each class by itself.
    FullBatch(ClassSolver),
}

#[doc(hidden)]
impl Solver {
    /// As jobs name them.
    pub(crate) const NAMES: &[&str] = {
        const ALL: [&str; MiniBatchSolver::NAMES.len() + ClassSolver::NAMES.len()] =
            joined(MiniBatchSolver::NAMES, ClassSolver::NAMES);
        &ALL
    };

    pub(crate) fn name(self) -> &'static str {
        match self {
            Solver::MiniBatch(solver) => solver.name(),
            Solver::FullBatch(solver) => solver.name(),
        }
    }

    /// The solver of this name, if there is one.
    pub(crate) fn named(name: &str) -> Option<Solver> {
        let full_batch = || ClassSolver::named(name).map(Solver::FullBatch);
        MiniBatchSolver::named(name).map(Solver::MiniBatch).or_else(full_batch)
    }

    /// Numbers that it keeps at most for each parameter, for plans of memory.
    pub(crate) fn numbers(self) -> usize {
        match self {
            Solver::MiniBatch(solver) => solver.numbers(),
            Solver::FullBatch(solver) => solver.numbers(),
        }
    }

    /// Those of them that a checkpoint holds after so many steps or evaluations.
    pub(crate) fn saved(self, evaluations: usize) -> usize {
        match self {
            Solver::MiniBatch(solver) => solver.numbers(),
            Solver::FullBatch(solver) => solver.saved(evaluations),
        }
    }

    /// The learning rate where a job gives none. Of full-batch solvers none makes use of it.
    pub(crate) fn learning_rate(self) -> f32 {
        match self {
            Solver::MiniBatch(solver) => solver.learning_rate(),
            Solver::FullBatch(_) => 0.01,
        }
    }
}

/// One list after the other, N names in all.
const fn joined<const N: usize>(
    first: &[&'static str],
    second: &[&'static str],
) -> [&'static str; N] {
    let (mut all, mut at) = ([""; N], 0);
    while at < N {
        all[at] = if at < first.len() { first[at] } else { second[at - first.len()] };
        at += 1;
    }
    all
}

/// What a mini-batch solver takes a step with.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub learning_rate: f32,
    /// What the gradient is multiplied by.
    pub scale: f32,
    /// Times the parameter is added to the gradient, for the first `decayed` parameters.
    pub l2: f32,
    pub decayed: usize,
}

impl Step {
    /// The parameters that decay with their `l2`, and the others.
    fn parts(&self, parameters: usize) -> [(f32, Range<usize>); 2] {
        [(self.l2, 0..self.decayed), (0.0, self.decayed..parameters)]
    }
}

/// Whether all of them are numbers, and finite.
fn finite(numbers: &[f32]) -> bool {
    numbers.iter().all(|number| number.is_finite())
}

/// What an error says of vectors of a state that was read back, where they aren't all as long as
/// the parameters.
fn other_lengths<const N: usize>(found: [&[f32]; N], parameters: usize) -> Option<String> {
    let found = found.map(<[f32]>::len);
    let same = found.iter().all(|length| *length == parameters);
    (!same).then(|| format!("found {found:?} numbers, expected {parameters} each"))
}

/// Length of the stretches in which `threads` share a step over so many parameters.
fn stretch(parameters: usize, threads: usize) -> usize {
    parameters.div_ceil(threads).next_multiple_of(LANES).max(LANES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_stands_for_one_solver_and_no_other_name_for_any() {
        for name in Solver::NAMES {
            assert_eq!(Solver::named(name).map(Solver::name), Some(*name));
        }
        for name in SharedSolver::NAMES {
            assert_eq!(SharedSolver::named(name).map(SharedSolver::name), Some(*name));
        }
        assert!(Solver::named("irprop").is_none() && SharedSolver::named("lbfgs").is_none());
        let once: std::collections::BTreeSet<_> = Solver::NAMES.iter().collect();
        assert_eq!(once.len(), Solver::NAMES.len(), "a name stands for one solver");
    }
}
