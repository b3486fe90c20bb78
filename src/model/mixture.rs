//! The mixtures of one class block: scores, and the gradient with respect to their weights, to the
//! activations, or both.
//!
//! Rows go through in tiles whose logits stay in cache; logits of all rows never exist. Stage 1
//! asks for `expert_gradient`, stage 2 for `activation_gradient`, pretraining for both of one
//! sweep.

use std::ops::Range;

use super::gemm::{Left, Output, Panels, Size, Workspace};
use super::layout::Layout;
use super::matrix::Matrix;
use super::sweep::{self, Tile};
use super::vector::{Instructions, LANES, load, store};
use crate::labels::Labels;

/// Numbers of logits of one tile: 256 KiB.
const TILE_LOGITS: usize = 65_536;
/// Rows of a tile at least, unless there are fewer: every tile passes over all weights of a block.
const TILE_ROWS_MIN: usize = 240;
/// And at most.
const TILE_ROWS_MAX: usize = 480;

/// One thread's room for the work on tiles, made once.
pub struct Kernel {
    gemm: Workspace,
    logits: Vec<f32>,
    epsilon: f32,
}

/// A class block at rest: its layout and its weights and biases (see `Layout` for their order).
#[derive(Clone, Copy)]
pub struct Block<'a> {
    pub layout: &'a Layout,
    pub parameters: &'a [f32],
}

/// Rows that pass a class block: activations v and labels, row by row.
#[derive(Clone, Copy)]
pub struct Passing<'a> {
    /// [rows][d]
    pub activations: &'a Matrix,
    pub labels: &'a Labels,
}

impl Kernel {
    /// `epsilon` is the loss's eps.
    pub fn new(instructions: Instructions, epsilon: f32) -> Kernel {
        Kernel { gemm: Workspace::new(instructions), logits: Vec::new(), epsilon }
    }

    /// The instructions it runs on, and the product kernel that the shared layers use too.
    pub fn gemm(&mut self) -> &mut Workspace {
        &mut self.gemm
    }

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
        let classes = block.layout.classes.len();
        for tile in tiles(block.layout, rows.clone()) {
            let own = tile.start - rows.start..tile.end - rows.start;
            let to = own.start * classes..own.end * classes;
            self.logits(block, passing, tile.clone());
            let instructions = self.gemm.instructions();
            let mut tile = self.tile(block.layout, passing, tile, &mut row_loss[own]);
            sweep::scores(instructions, &mut tile, &mut scores[to]);
        }
    }

    /// As `expert_gradient`, but `gradient` need not be zero before: it becomes that of `rows`, of
    /// which there is at least one.
    pub fn fresh_expert_gradient(
        &mut self,
        block: Block,
        passing: Passing,
        rows: Range<usize>,
        gradient: &mut [f32],
        class_loss: &mut [f64],
    ) {
        gradient[block.layout.biases()..].fill(0.0);
        self.expert_gradients(block, passing, rows, true, gradient, class_loss);
    }

    /// Adds the gradient of the loss, summed over `rows`, to `gradient` (the parameters' layout;
    /// the biases of gates, which aren't learned, get none) and the losses to `class_loss`.
    pub fn expert_gradient(
        &mut self,
        block: Block,
        passing: Passing,
        rows: Range<usize>,
        gradient: &mut [f32],
        class_loss: &mut [f64],
    ) {
        self.expert_gradients(block, passing, rows, false, gradient, class_loss);
    }

    fn expert_gradients(
        &mut self,
        block: Block,
        passing: Passing,
        rows: Range<usize>,
        fresh: bool,
        gradient: &mut [f32],
        class_loss: &mut [f64],
    ) {
        for tile in tiles(block.layout, rows.clone()) {
            let fresh = fresh && tile.start == rows.start;
            self.logit_gradients(block, passing, tile.clone(), class_loss);
            self.add_expert_gradient(block.layout, passing.activations, tile, fresh, gradient);
        }
    }

    /// Adds the gradient with respect to the activations of `rows` to `dv`, whose row 0 is
    /// `rows.start`, [rows][stride of d]. `transposed` is what `transpose` makes of the block.
    pub fn activation_gradient(
        &mut self,
        block: Block,
        transposed: &[f32],
        passing: Passing,
        rows: Range<usize>,
        dv: &mut [f32],
        class_loss: &mut [f64],
    ) {
        let stride = passing.activations.stride();
        for tile in tiles(block.layout, rows.clone()) {
            let dv = &mut dv[(tile.start - rows.start) * stride..(tile.end - rows.start) * stride];
            self.logit_gradients(block, passing, tile.clone(), class_loss);
            self.add_activation_gradient(block.layout, transposed, tile.len(), dv);
        }
    }

    /// Both gradients of one sweep: `expert_gradient` and `activation_gradient`.
    #[expect(clippy::too_many_arguments, reason = "two results of one sweep over the same inputs")]
    pub fn both_gradients(
        &mut self,
        block: Block,
        transposed: &[f32],
        passing: Passing,
        rows: Range<usize>,
        gradient: &mut [f32],
        dv: &mut [f32],
        class_loss: &mut [f64],
    ) {
        let stride = passing.activations.stride();
        for tile in tiles(block.layout, rows.clone()) {
            let dv = &mut dv[(tile.start - rows.start) * stride..(tile.end - rows.start) * stride];
            self.logit_gradients(block, passing, tile.clone(), class_loss);
            let (layout, v) = (block.layout, passing.activations);
            self.add_expert_gradient(layout, v, tile.clone(), false, gradient);
            self.add_activation_gradient(block.layout, transposed, tile.len(), dv);
        }
    }

    fn logit_gradients(
        &mut self,
        block: Block,
        passing: Passing,
        rows: Range<usize>,
        class_loss: &mut [f64],
    ) {
        self.logits(block, passing, rows.clone());
        let instructions = self.gemm.instructions();
        sweep::gradients(instructions, &mut self.tile(block.layout, passing, rows, class_loss));
    }

    /// Z = V W + b for a tile.
    fn logits(&mut self, block: Block, passing: Passing, rows: Range<usize>) {
        let layout = block.layout;
        let (columns, stride) = (layout.columns(), passing.activations.stride());
        assert_eq!(passing.activations.width(), layout.width, "width of the activations");
        let (weights, biases) = block.parameters.split_at(layout.biases());
        self.logits.resize(self.logits.len().max(rows.len() * columns), 0.0);
        for row in self.logits.chunks_exact_mut(columns).take(rows.len()) {
            row.copy_from_slice(biases);
        }
        self.gemm.accumulate(
            Size { rows: rows.len(), depth: layout.width, panels: layout.panels },
            Left { data: passing.activations.run(rows), row: stride, column: 1 },
            Panels { data: weights, row: LANES, panel: layout.width * LANES },
            &mut Output { data: &mut self.logits, row: columns, panel: LANES },
        );
    }

    fn tile<'a>(
        &'a mut self,
        layout: &'a Layout,
        passing: Passing<'a>,
        rows: Range<usize>,
        losses: &'a mut [f64],
    ) -> Tile<'a> {
        let labels = passing.labels;
        Tile { layout, logits: &mut self.logits, labels, rows, epsilon: self.epsilon, losses }
    }

    /// dW += V' dZ (= where fresh) and db += column sums of dZ, for a tile.
    fn add_expert_gradient(
        &mut self,
        layout: &Layout,
        activations: &Matrix,
        rows: Range<usize>,
        fresh: bool,
        gradient: &mut [f32],
    ) {
        let (columns, stride) = (layout.columns(), activations.stride());
        let (weights, biases) = gradient.split_at_mut(layout.biases());
        let size = Size { rows: layout.width, depth: rows.len(), panels: layout.panels };
        let turned = Left { data: activations.run(rows.clone()), row: 1, column: stride };
        let slopes = Panels { data: &self.logits, row: columns, panel: LANES };
        let mut sums = Output { data: weights, row: LANES, panel: layout.width * LANES };
        match fresh {
            true => self.gemm.multiply(size, turned, slopes, &mut sums),
            false => self.gemm.accumulate(size, turned, slopes, &mut sums),
        }
        for row in self.logits.chunks_exact(columns).take(rows.len()) {
            for group in &layout.groups {
                for panel in group.first_panel + group.gates..group.end() {
                    let (at, dz) = (panel * LANES, load(row, panel * LANES));
                    let sum = load(biases, at);
                    store(biases, at, std::array::from_fn(|lane| sum[lane] + dz[lane]));
                }
            }
        }
    }

    /// dV += dZ W' for a tile.
    fn add_activation_gradient(
        &mut self,
        layout: &Layout,
        transposed: &[f32],
        rows: usize,
        dv: &mut [f32],
    ) {
        let columns = layout.columns();
        let panels = layout.width.div_ceil(LANES);
        self.gemm.accumulate(
            Size { rows, depth: columns, panels },
            Left { data: &self.logits, row: columns, column: 1 },
            Panels { data: transposed, row: LANES, panel: columns * LANES },
            &mut Output { data: dv, row: panels * LANES, panel: LANES },
        );
    }
}

/// Cuts rows into about equal tiles whose logits stay in cache, whole register tiles but for the
/// last.
fn tiles(layout: &Layout, rows: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let most = (TILE_LOGITS / layout.columns()).clamp(TILE_ROWS_MIN, TILE_ROWS_MAX);
    let count = rows.len().div_ceil(most).max(1);
    let height = rows.len().div_ceil(count).next_multiple_of(12).max(12);
    rows.clone().step_by(height).map(move |from| from..(from + height).min(rows.end))
}

/// W' in panels of sixteen activations: [d / 16][column][16], zero beyond d.
pub fn transpose(block: Block) -> Vec<f32> {
    let mut turned = Vec::new();
    transpose_into(block, &mut turned);
    turned
}

/// As `transpose`, in memory that is there already.
pub fn transpose_into(block: Block, turned: &mut Vec<f32>) {
    let (width, panels) = (block.layout.width, block.layout.panels);
    turned.resize(width.div_ceil(LANES) * panels * LANES * LANES, 0.0);
    turn_panels(block.parameters, width, panels, turned);
}

/// Panels [panel][depth][16] turned into panels [depth / 16][panel, lane][16] of the transpose.
pub fn transpose_panels(panels: &[f32], depth: usize, count: usize) -> Vec<f32> {
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
