//! The end of a pass over all rows: every class's search takes its step, on every device's host.

use crate::device::FullBatches;
use crate::kernel::mixture::Kernel;
use crate::model::Layout;
use crate::optim::Offered;
use crate::team::Team;

/// What a pass over so many rows has given a class block: sums of losses by class, and their
/// gradient.
pub(crate) struct Pass<'a> {
    pub(crate) losses: &'a [f64],
    pub(crate) gradient: &'a [f32],
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
    let scale = 1.0 / pass.rows as f64;
    let instructions = kernel.gemm().instructions();
    for (class, search) in state.classes.iter_mut().enumerate() {
        let (places, decayed) = layout.places_of(class);
        let (mut value, mut gradient) = (pass.losses[class] * scale, Vec::new());
        let mut point = Vec::with_capacity(places.len());
        for (position, place) in places.iter().enumerate() {
            let mut slope = f64::from(pass.gradient[*place]) * scale;
            if position < decayed {
                let weight = f64::from(weights[*place]);
                value += 0.5 * pass.l2 * weight * weight;
                slope += pass.l2 * weight;
            }
            gradient.push(slope as f32);
            point.push(weights[*place]);
        }
        let (team, found) = (&mut Team::alone(kernel), (value, &gradient[..]));
        search.advance(team, instructions, &mut point, found, offered);
        places.iter().zip(point).for_each(|(place, weight)| weights[*place] = weight);
    }
}
