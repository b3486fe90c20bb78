//! The mixtures of one class block: scores, and the gradient with respect to their weights, to the
//! activations, or both.
//!
//! Rows go through in tiles whose logits stay in cache; logits of all rows never exist. Stage 1
//! asks for `expert_gradient`, stage 2 for `activation_gradient`, pretraining for both of one
//! sweep. Where there are fewer blocks than threads, several threads, a team, share a block.

mod cut;
pub mod definition;
mod gradients;
pub mod layout;
pub mod reference;
mod scores;
mod transpose;
mod visit;

use std::ops::Range;

use self::gradients::one_gradient;
pub use self::gradients::sliced_expert_gradient;
use self::layout::Layout;
pub use self::transpose::{transpose, transpose_into, transpose_panels};
pub use self::visit::activation_gradient;
use crate::kernel::matrix::Matrix;
use crate::kernel::product::{Left, Output, Panels, Size, Start, Workspace};
use crate::kernel::sweep::Tile;
use crate::kernel::vector::{Instructions, LANES};
use crate::labels::Labels;
use crate::team::Team;

/// One thread's room for the work on tiles, made once.
pub struct Kernel {
    gemm: Workspace,
    swept: Swept,
    epsilon: f32,
}

/// What a sweep leaves of a tile.
#[derive(Default)]
struct Swept {
    /// [rows][columns]: logits, then their gradients.
    logits: Vec<f32>,
    /// [rows][groups][16]
    losses: Vec<f32>,
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
    /// `[rows][d]`
    pub activations: &'a Matrix,
    pub labels: &'a Labels,
    /// What each row's loss and gradients count, `[rows]`; empty where all count 1.
    pub weights: &'a [f32],
}

/// What all work with a block and activations relies on.
fn check_block(Block { layout, parameters }: Block, activations: &Matrix, rows: &Range<usize>) {
    assert!(layout.fits(parameters), "parameters of the layout");
    assert!(layout.panels > 0 && layout.width > 0, "classes and activations");
    assert_eq!(activations.width(), layout.width, "width of the activations");
    assert!(rows.end <= activations.rows() || rows.is_empty(), "activations of each row");
}

/// What a pass of `rows` past a block relies on.
fn check(block: Block, Passing { activations, labels, weights }: Passing, rows: &Range<usize>) {
    check_block(block, activations, rows);
    assert!(rows.end <= labels.rows() || rows.is_empty(), "labels of each row");
    assert!(weights.is_empty() || weights.len() >= rows.end, "a weight for each row");
}

/// As `check`, and that there is room for the classes' losses.
fn check_losses(block: Block, passing: Passing, rows: &Range<usize>, class_loss: &[f64]) {
    check(block, passing, rows);
    assert_eq!(class_loss.len(), block.layout.groups.len() * LANES, "a loss for each lane");
}

impl Kernel {
    /// `epsilon` is the loss's eps.
    pub fn new(instructions: Instructions, epsilon: f32) -> Kernel {
        Kernel { gemm: Workspace::new(instructions), swept: Swept::default(), epsilon }
    }

    /// The instructions it runs on, and the product kernel that the shared layers use too.
    pub fn gemm(&mut self) -> &mut Workspace {
        &mut self.gemm
    }

    /// Z = V W + b of `rows`.
    fn logits(&mut self, block: Block, passing: Passing, rows: Range<usize>, logits: &mut [f32]) {
        let layout = block.layout;
        let (columns, stride) = (layout.columns(), passing.activations.stride());
        let (weights, biases) = block.parameters.split_at(layout.biases());
        logits.chunks_exact_mut(columns).for_each(|row| row.copy_from_slice(biases));
        self.gemm.accumulate(
            Size { rows: rows.len(), depth: layout.width, panels: layout.panels },
            Left { data: passing.activations.run(rows), row: stride, column: 1 },
            Panels { data: weights, row: LANES, panel: layout.width * LANES },
            &mut Output { data: logits, row: columns, panel: LANES },
        );
    }

    fn tile<'a>(
        &self,
        layout: &'a Layout,
        passing: Passing<'a>,
        rows: Range<usize>,
        logits: &'a mut [f32],
    ) -> Tile<'a> {
        let Passing { labels, weights, .. } = passing;
        Tile { layout, logits, labels, weights, rows, epsilon: self.epsilon }
    }

    /// dV += dZ W' of the rows that `slopes` has.
    fn add_activation_gradient(
        &mut self,
        layout: &Layout,
        transposed: &[f32],
        slopes: &[f32],
        dv: &mut [f32],
    ) {
        let columns = layout.columns();
        let panels = layout.width.div_ceil(LANES);
        self.gemm.accumulate(
            Size { rows: slopes.len() / columns, depth: columns, panels },
            Left { data: slopes, row: columns, column: 1 },
            Panels { data: transposed, row: LANES, panel: columns * LANES },
            &mut Output { data: dv, row: panels * LANES, panel: LANES },
        );
    }
}

impl AsMut<Kernel> for Kernel {
    fn as_mut(&mut self) -> &mut Kernel {
        self
    }
}

impl AsMut<Workspace> for Kernel {
    fn as_mut(&mut self) -> &mut Workspace {
        &mut self.gemm
    }
}

impl Swept {
    /// Room for `rows` rows: logits and losses.
    fn of(&mut self, layout: &Layout, rows: usize) -> (&mut [f32], &mut [f32]) {
        let (logits, losses) = (rows * layout.columns(), rows * layout.groups.len() * LANES);
        self.logits.resize(self.logits.len().max(logits), 0.0);
        self.losses.resize(self.losses.len().max(losses), 0.0);
        (&mut self.logits[..logits], &mut self.losses[..losses])
    }
}

/// Adds the gradient of the loss, summed over `rows`, to `gradient` (the parameters' layout; the
/// biases of gates, which aren't learned, get none) and the losses to `class_loss`. The bits don't
/// depend on how many threads the team has.
pub fn expert_gradient<S: AsMut<Kernel> + Send>(
    team: &mut Team<S>,
    block: Block,
    passing: Passing,
    rows: Range<usize>,
    gradient: &mut [f32],
    class_loss: &mut [f64],
) {
    one_gradient(team, block, passing, rows, (Start::Output, gradient), None, class_loss);
}

/// As `expert_gradient`, but `gradient` need not be zero before: it becomes that of `rows`.
pub fn fresh_expert_gradient<S: AsMut<Kernel> + Send>(
    team: &mut Team<S>,
    block: Block,
    passing: Passing,
    rows: Range<usize>,
    gradient: &mut [f32],
    class_loss: &mut [f64],
) {
    one_gradient(team, block, passing, rows, (Start::Zero, gradient), None, class_loss);
}

/// Both gradients of one sweep: as `fresh_expert_gradient`, and `activation_gradient`,
/// whose `transposed` and `dv` are given together.
pub fn both_gradients<S: AsMut<Kernel> + Send>(
    team: &mut Team<S>,
    block: Block,
    passing: Passing,
    rows: Range<usize>,
    gradient: &mut [f32],
    activations: (&[f32], &mut [f32]),
    class_loss: &mut [f64],
) {
    let start = (Start::Zero, gradient);
    one_gradient(team, block, passing, rows, start, Some(activations), class_loss);
}

/// Some rows of [rows][stride of d].
fn rows_of<'a>(numbers: &'a mut [f32], passing: Passing, rows: Range<usize>) -> &'a mut [f32] {
    let stride = passing.activations.stride();
    &mut numbers[rows.start * stride..rows.end * stride]
}
