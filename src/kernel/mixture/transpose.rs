//! Weights turned, as ways back take them.

use super::Block;
use crate::kernel::vector::{LANES, load};
use crate::team::Team;

/// W' in panels of sixteen activations: `[d / 16][column][16]`, zero beyond d.
pub fn transpose(block: Block) -> Vec<f32> {
    let mut turned = Vec::new();
    transpose_into(&mut Team::alone(&mut ()), block, &mut turned);
    turned
}

/// As `transpose`, in memory that is there already; a team divides d.
pub fn transpose_into<S: Send>(team: &mut Team<S>, block: Block, turned: &mut Vec<f32>) {
    let (width, panels) = (block.layout.width, block.layout.panels);
    assert!(block.layout.fits(block.parameters), "parameters of the layout");
    turned.resize(width.div_ceil(LANES) * panels * LANES * LANES, 0.0);
    turn_panels(team, block.parameters, width, panels, turned);
}

/// Panels `[panel][depth][16]` turned into panels `[depth / 16][panel, lane][16]` of the transpose.
pub fn transpose_panels(panels: &[f32], depth: usize, count: usize) -> Vec<f32> {
    let numbers = depth.checked_mul(count).and_then(|columns| columns.checked_mul(LANES));
    assert_eq!(numbers, Some(panels.len()), "so many panels of that depth");
    let mut turned = vec![0.0; depth.div_ceil(LANES) * count * LANES * LANES];
    turn_panels(&mut Team::alone(&mut ()), panels, depth, count, &mut turned);
    turned
}

fn turn_panels<S: Send>(
    team: &mut Team<S>,
    panels: &[f32],
    depth: usize,
    count: usize,
    turned: &mut [f32],
) {
    let own = count * LANES * LANES;
    team.for_each(turned.chunks_mut(own.max(1)).enumerate(), |_, (index, turned)| {
        let own = index * LANES..((index + 1) * LANES).min(depth);
        if own.len() < LANES {
            turned.fill(0.0);
        }
        for (panel, turned) in turned.chunks_exact_mut(LANES * LANES).enumerate() {
            for (at, k) in own.clone().enumerate() {
                let weights = load(panels, (panel * depth + k) * LANES);
                for (lane, weight) in weights.into_iter().enumerate() {
                    turned[lane * LANES + at] = weight;
                }
            }
        }
    });
}
