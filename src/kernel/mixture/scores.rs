//! Scores of rows that pass a class block, with losses or without.

use std::ops::Range;

use super::cut::tiles;
use super::{Block, Kernel, Passing, check, check_block};
use crate::kernel::matrix::Matrix;
use crate::kernel::sweep;
use crate::labels::Labels;

impl Kernel {
    /// p of `rows` and all classes of the block into `scores` [rows][classes]; each row's loss over
    /// these classes is added to `row_loss` [rows].
    pub fn scores(
        &mut self,
        block: Block,
        passing: Passing,
        rows: Range<usize>,
        scores: &mut [f32],
        row_loss: &mut [f64],
    ) {
        check(block, passing, &rows);
        assert_eq!(row_loss.len(), rows.len(), "a loss for each row");
        self.score_tiles(block, passing, rows, scores, Some(row_loss));
    }

    /// The same p of rows whose labels aren't asked for, without losses.
    pub(crate) fn probabilities(
        &mut self,
        block: Block,
        activations: &Matrix,
        rows: Range<usize>,
        scores: &mut [f32],
    ) {
        check_block(block, activations, &rows);
        let passing = Passing { activations, labels: &Labels::new(), weights: &[] };
        self.score_tiles(block, passing, rows, scores, None);
    }

    fn score_tiles(
        &mut self,
        block: Block,
        passing: Passing,
        rows: Range<usize>,
        scores: &mut [f32],
        mut row_loss: Option<&mut [f64]>,
    ) {
        let classes = block.layout.classes.len();
        assert_eq!(scores.len(), rows.len() * classes, "a score for each row and class");
        let mut swept = std::mem::take(&mut self.swept);
        for tile in tiles(block.layout, std::slice::from_ref(&rows), 1) {
            let tile = tile.rows;
            let (logits, _) = swept.of(block.layout, tile.len());
            let own = tile.start - rows.start..tile.end - rows.start;
            let scores = &mut scores[own.start * classes..own.end * classes];
            self.logits(block, passing, tile.clone(), logits);
            let instructions = self.gemm.instructions();
            let mut tile = self.tile(block.layout, passing, tile, logits);
            match &mut row_loss {
                Some(losses) => {
                    sweep::scores(instructions, &mut tile, scores, &mut losses[own]);
                }
                None => sweep::probabilities(instructions, &mut tile, scores),
            }
        }
        self.swept = swept;
    }
}
