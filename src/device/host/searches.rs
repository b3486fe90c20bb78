//! The end of a pass over all rows: every class's search takes its step, on every device's host.

use crate::device::FullBatches;
use crate::kernel::mixture::Kernel;
use crate::kernel::vector::Instructions;
use crate::model::Layout;
use crate::optim::{ClassState, Offered};
use crate::team::Team;

/// What a pass over so many rows has given a class block: sums of losses by class, and their
/// gradient.
pub(crate) struct Pass<'a> {
    pub(crate) losses: &'a [f64],
    pub(crate) gradient: &'a [f32],
    pub(crate) rows: usize,
    pub(crate) l2: f64,
}

/// The same of one of its classes, whose numbers lie in the order of its places.
pub(crate) struct ClassPass<'a> {
    pub(crate) loss: f64,
    pub(crate) gradient: &'a [f32],
    /// How many of the class's numbers are weights, which decay.
    pub(crate) decayed: usize,
    pub(crate) rows: usize,
    pub(crate) l2: f64,
}

/// Gives every search of a block its objective and its gradient, and moves its class's weights to
/// the next trial.
pub(crate) fn advance_classes(
    kernel: &mut Kernel,
    layout: &Layout,
    weights: &mut [f32],
    state: &mut FullBatches,
    pass: Pass,
    offered: &Offered,
) {
    let instructions = kernel.gemm().instructions();
    let Pass { losses, gradient, rows, l2 } = pass;
    for (class, search) in state.classes.iter_mut().enumerate() {
        let (places, decayed) = layout.places_of(class);
        let of =
            |numbers: &[f32]| -> Vec<f32> { places.iter().map(|place| numbers[*place]).collect() };
        let (gradient, mut point) = (&of(gradient)[..], of(weights));
        let pass = ClassPass { loss: losses[class], gradient, decayed, rows, l2 };
        advance_class((&mut Team::alone(kernel), instructions), search, &mut point, &pass, offered);
        places.iter().zip(point).for_each(|(place, weight)| weights[*place] = weight);
    }
}

/// Gives a class's search its objective and its gradient at `point`, which becomes the next trial.
pub(crate) fn advance_class<S: Send>(
    (team, instructions): (&mut Team<S>, Instructions),
    search: &mut ClassState,
    point: &mut [f32],
    pass: &ClassPass,
    offered: &Offered,
) {
    let scale = 1.0 / pass.rows as f64;
    let (mut value, mut gradient) = (pass.loss * scale, Vec::with_capacity(point.len()));
    for (position, (slope, weight)) in pass.gradient.iter().zip(&*point).enumerate() {
        let mut slope = f64::from(*slope) * scale;
        if position < pass.decayed {
            let weight = f64::from(*weight);
            value += 0.5 * pass.l2 * weight * weight;
            slope += pass.l2 * weight;
        }
        gradient.push(slope as f32);
    }
    search.advance(team, instructions, point, (value, &gradient[..]), offered);
}
