//! The mixtures' gradient by variable, each of which is clipped by itself: all gates, all experts,
//! all biases.

use crate::device::VARIABLES;
use crate::device::host_arithmetic::square;
use crate::model::{LANES, Layout, Role};
use crate::team::Team;

/// The variable of each panel of a block: 0 gates, 1 experts. (Biases are variable 2.)
fn variables(layout: &Layout) -> impl Iterator<Item = usize> + '_ {
    layout.groups.iter().flat_map(|group| layout.roles(group)).map(|role| match role {
        Role::Dummy | Role::Gate(_) => 0,
        Role::Expert(_) => 1,
    })
}

/// Squared norms of the block's gradient, by variable.
pub(crate) fn squares_by_variable(layout: &Layout, gradient: &[f32]) -> [f64; VARIABLES] {
    let (weights, biases) = gradient.split_at(layout.biases());
    squares_of_panels(layout, weights.chunks_exact(layout.width * LANES).map(square), biases)
}

/// The same, given each panel's sum of squares and the gradient of the biases.
pub(crate) fn squares_of_panels(
    layout: &Layout,
    panels: impl Iterator<Item = f64>,
    biases: &[f32],
) -> [f64; VARIABLES] {
    let mut squares = [0.0, 0.0, square(biases)];
    panels.zip(variables(layout)).for_each(|(panel, variable)| squares[variable] += panel);
    squares
}

/// Scales the block's gradient, each variable by its own factor; threads take panels.
pub(crate) fn scale_by_variable<S: Send>(
    team: &mut Team<S>,
    layout: &Layout,
    gradient: &mut [f32],
    scales: [f32; VARIABLES],
) {
    let (weights, biases) = gradient.split_at_mut(layout.biases());
    let panels = weights.chunks_exact_mut(layout.width * LANES);
    team.for_each(panels.zip(variables(layout)), |_, (panel, variable)| {
        panel.iter_mut().for_each(|slope| *slope *= scales[variable]);
    });
    biases.iter_mut().for_each(|slope| *slope *= scales[2]);
}
