//! What host code above the seam asks of numbers that it was given back or is about to give: always
//! with the best instructions of this machine, whatever the device.

use std::borrow::Cow;

pub(crate) use super::host::ClassPass;
use super::host::advance_class;
use crate::kernel::vector::Instructions;
use crate::kernel::{finite, functions, permutation};
use crate::model::Matrix;
use crate::model::features::Features;
use crate::optim::average::Average;
use crate::optim::{ClassState, MiniBatchState, Offered, Step};
use crate::rng::Permutation;
use crate::team::Team;

/// Whether all values are numbers, and not infinite.
pub(crate) fn all_finite(values: &[f32]) -> bool {
    finite::all_finite(Instructions::detect(), values)
}

/// Sum of squares, one after the other.
pub(crate) fn square(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value) * f64::from(*value)).sum()
}

/// The natural logarithm that losses are made of: the same bits everywhere.
pub(crate) fn log(x: f32) -> f32 {
    functions::log(x)
}

/// The items at the places of a permutation from `first` on.
pub(crate) fn permuted(permutation: &Permutation, first: usize, items: &mut [usize]) {
    permutation::items(Instructions::detect(), permutation, first, items);
}

/// The places of these items of a permutation, in their stead.
pub(crate) fn places_of(permutation: &Permutation, items: &mut [usize]) {
    permutation::places(Instructions::detect(), permutation, items);
}

/// Features as numbers, one after the other: of videos `[rows][D]`, of frames `[all frames][D]`.
pub(crate) fn features_as_numbers(features: &Features) -> Cow<'_, Matrix> {
    match features {
        Features::Videos(videos) => Cow::Borrowed(videos),
        Features::Frames(frames) => {
            Cow::Owned(frames.numbers(Instructions::detect(), &(0..frames.rows())))
        }
    }
}

/// One step of a stretch of weights by its gradient, and of their average, if there is one.
pub(crate) fn step_stretch(
    team: &mut Team<()>,
    (solver, average): (&mut MiniBatchState, Option<&mut Average>),
    weights: &mut [f32],
    gradient: &[f32],
    step: Step,
) {
    let instructions = Instructions::detect();
    solver.step(team, instructions, weights, gradient, step);
    if let Some(average) = average {
        average.step(team, instructions, weights);
    }
}

/// Gives a class's search its objective and its gradient at `point`, which becomes the next trial.
pub(crate) fn advance_search(
    search: &mut ClassState,
    point: &mut [f32],
    pass: &ClassPass,
    offered: &Offered,
) {
    let (mut alone, instructions) = ((), Instructions::detect());
    advance_class((&mut Team::alone(&mut alone), instructions), search, point, pass, offered);
}
