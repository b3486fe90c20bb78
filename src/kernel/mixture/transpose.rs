//! Weights turned, as ways back take them.

use super::Block;
use crate::kernel::vector::{LANES, load};

/// W' in panels of sixteen activations: `[d / 16][column][16]`, zero beyond d.
pub fn transpose(block: Block) -> Vec<f32> {
    let mut turned = Vec::new();
    transpose_into(block, &mut turned);
    turned
}

/// As `transpose`, in memory that is there already.
pub fn transpose_into(block: Block, turned: &mut Vec<f32>) {
    let (width, panels) = (block.layout.width, block.layout.panels);
    assert!(block.layout.fits(block.parameters), "parameters of the layout");
    turned.resize(width.div_ceil(LANES) * panels * LANES * LANES, 0.0);
    turn_panels(block.parameters, width, panels, turned);
}

/// Panels `[panel][depth][16]` turned into panels `[depth / 16][panel, lane][16]` of the transpose.
pub fn transpose_panels(panels: &[f32], depth: usize, count: usize) -> Vec<f32> {
    let numbers = depth.checked_mul(count).and_then(|columns| columns.checked_mul(LANES));
    assert_eq!(numbers, Some(panels.len()), "so many panels of that depth");
    let mut turned = vec![0.0; depth.div_ceil(LANES) * count * LANES * LANES];
    turn_panels(panels, depth, count, &mut turned);
    turned
}

fn turn_panels(panels: &[f32], depth: usize, count: usize, turned: &mut [f32]) {
    let columns = count * LANES;
    if !depth.is_multiple_of(LANES) {
        turned.fill(0.0);
    }
    for panel in 0..count {
        for k in 0..depth {
            let to = (k / LANES * columns + panel * LANES) * LANES + k % LANES;
            for (lane, weight) in load(panels, (panel * depth + k) * LANES).into_iter().enumerate()
            {
                turned[to + lane * LANES] = weight;
            }
        }
    }
}
