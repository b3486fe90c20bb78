//! A frozen class block that visits rows: the gradient with respect to their activations.

use std::ops::Range;

use super::cut::shares;
use super::{Block, Kernel, Passing, check_losses, rows_of};
use crate::kernel::sweep;
use crate::kernel::vector::LANES;
use crate::team::Team;

/// Tiles that each member of a team takes before their losses are added up.
const TILES: usize = 2;

/// Adds the gradient with respect to the activations of `rows` to `dv`, whose row 0 is
/// `rows.start`, [rows][stride of d], and the losses to `class_loss`. `transposed` is what
/// `transpose` makes of the block. The bits don't depend on how many threads the team has: rows are
/// worked on apart, and losses of a lane are added up by one thread, row after row.
pub fn activation_gradient<S: AsMut<Kernel> + Send>(
    team: &mut Team<S>,
    block: Block,
    transposed: &[f32],
    passing: Passing,
    rows: Range<usize>,
    dv: &mut [f32],
    class_loss: &mut [f64],
) {
    check_losses(block, passing, &rows, class_loss);
    let (layout, stride) = (block.layout, passing.activations.stride());
    let lanes = layout.groups.len() * LANES;
    let tiles: Vec<Range<usize>> = shares(layout, rows.clone(), team.threads()).collect();
    let mut rest = rows_of(dv, passing, 0..rows.len());
    for round in tiles.chunks(TILES * team.threads()) {
        let mut items = Vec::with_capacity(round.len());
        for tile in round {
            let (own, after) = rest.split_at_mut(tile.len() * stride);
            items.push((tile.clone(), own));
            rest = after;
        }
        let losses = team.map(items, |member, (tile, dv)| {
            member.as_mut().visit_tile(block, transposed, passing, tile, dv)
        });
        team.for_each(class_loss.chunks_mut(LANES).enumerate(), |_, (group, sums)| {
            let rows = losses.iter().flat_map(|losses| losses.chunks_exact(lanes));
            for losses in rows {
                let own = &losses[group * LANES..][..LANES];
                sums.iter_mut().zip(own).for_each(|(sum, loss)| *sum += f64::from(*loss));
            }
        });
    }
}

impl Kernel {
    /// The same of one tile, whose losses it gives, [rows][groups][16].
    fn visit_tile(
        &mut self,
        block: Block,
        transposed: &[f32],
        passing: Passing,
        tile: Range<usize>,
        dv: &mut [f32],
    ) -> Vec<f32> {
        let mut swept = std::mem::take(&mut self.swept);
        let (logits, losses) = swept.of(block.layout, tile.len());
        self.logits(block, passing, tile.clone(), logits);
        let instructions = self.gemm.instructions();
        sweep::gradients(instructions, &mut self.tile(block.layout, passing, tile, logits), losses);
        self.add_activation_gradient(block.layout, transposed, logits, dv);
        let losses = losses.to_vec();
        self.swept = swept;
        losses
    }
}
