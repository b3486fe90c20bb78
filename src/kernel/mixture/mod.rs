//! The mixtures of one class block: scores, and the gradient with respect to their weights, to the
//! activations, or both.
//!
//! Rows go through in tiles whose logits stay in cache; logits of all rows never exist. Stage 1
//! asks for `expert_gradient`, stage 2 for `activation_gradient`, pretraining for both of one
//! sweep. Where there are fewer blocks than threads, several threads, a team, share a block.

mod cut;
pub mod definition;
pub mod layout;
pub mod reference;
mod scores;
mod transpose;
mod visit;

use std::ops::Range;

use self::cut::{height, tiles};
use self::layout::Layout;
pub use self::transpose::{transpose, transpose_into, transpose_panels};
pub use self::visit::activation_gradient;
use crate::kernel::matrix::Matrix;
use crate::kernel::product::rectangles::{Part, cut, parts};
use crate::kernel::product::{Apart, Left, Output, Panels, Size, Start, Workspace};
use crate::kernel::sweep::{self, Tile};
use crate::kernel::vector::{Instructions, LANES, load, map2, store};
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

    /// dW += V' dZ (= from `Start::Zero`) of a rectangle, and db += column sums of dZ where it has
    /// biases.
    fn add_expert_gradient(
        &mut self,
        layout: &Layout,
        (activations, rows): (&Matrix, Range<usize>),
        slopes: &[f32],
        start: Start,
        mut part: Part,
    ) {
        let (columns, stride) = (layout.columns(), activations.stride());
        let panels = part.weights.len();
        let stretch = part.weights[0].len() / LANES;
        let size = Size { rows: stretch, depth: rows.len(), panels };
        let turned = &activations.run(rows)[part.from..];
        let turned = Left { data: turned, row: 1, column: stride };
        let own = Panels { data: &slopes[part.first * LANES..], row: columns, panel: LANES };
        let sums = &mut Apart { panels: &mut part.weights };
        match start {
            Start::Zero => self.gemm.multiply(size, turned, own, sums),
            Start::Output => self.gemm.accumulate(size, turned, own, sums),
        }
        let Some(biases) = part.biases else { return };
        for group in &layout.groups {
            let experts = group.first_panel + group.gates..group.end();
            for panel in experts.start.max(part.first)..experts.end.min(part.first + panels) {
                let at = (panel - part.first) * LANES;
                let add =
                    |sum, row: &[f32]| map2(sum, load(row, panel * LANES), |sum, dz| sum + dz);
                let sum = slopes.chunks_exact(columns).fold(load(biases, at), add);
                store(biases, at, sum);
            }
        }
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

    /// Gradients of the logits of a tile, whose rows the team divides. Adds their losses to
    /// `class_loss`, row after row.
    fn gradients<S: AsMut<Kernel> + Send>(
        &mut self,
        team: &mut Team<S>,
        block: Block,
        passing: Passing,
        rows: Range<usize>,
        class_loss: &mut [f64],
    ) -> &[f32] {
        let (layout, height) = (block.layout, height(rows.len(), team.threads()));
        let lanes = layout.groups.len() * LANES;
        let (logits, losses) = self.of(layout, rows.len());
        let parts = logits.chunks_mut(height * layout.columns());
        let parts = parts.zip(losses.chunks_mut(height * lanes)).zip(rows.clone().step_by(height));
        let sweep =
            |member: &mut S, ((logits, losses), from): ((&mut [f32], &mut [f32]), usize)| {
                let kernel = member.as_mut();
                let own = from..(from + height).min(rows.end);
                kernel.logits(block, passing, own.clone(), logits);
                let instructions = kernel.gemm.instructions();
                sweep::gradients(
                    instructions,
                    &mut kernel.tile(layout, passing, own, logits),
                    losses,
                );
            };
        team.for_each(parts, sweep);
        for losses in losses.chunks_exact(lanes) {
            let sums = class_loss.iter_mut().zip(losses);
            sums.for_each(|(sum, loss)| *sum += f64::from(*loss));
        }
        logits
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
    gradients(team, block, passing, rows, (Start::Output, gradient), None, class_loss);
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
    gradients(team, block, passing, rows, (Start::Zero, gradient), None, class_loss);
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
    gradients(team, block, passing, rows, (Start::Zero, gradient), Some(activations), class_loss);
}

/// A team divides the rows of a tile's sweep, then dW, and then the rows of dV.
fn gradients<S: AsMut<Kernel> + Send>(
    team: &mut Team<S>,
    block: Block,
    passing: Passing,
    rows: Range<usize>,
    (start, gradient): (Start, &mut [f32]),
    mut dv: Option<(&[f32], &mut [f32])>,
    class_loss: &mut [f64],
) {
    let layout = block.layout;
    check_losses(block, passing, &rows, class_loss);
    assert_eq!(gradient.len(), block.parameters.len(), "a gradient for each parameter");
    let (weights, biases) = gradient.split_at_mut(layout.biases());
    if start == Start::Zero {
        biases.fill(0.0);
    }
    if start == Start::Zero && rows.is_empty() {
        weights.fill(0.0);
    }
    let mut swept = std::mem::take(&mut team.own().as_mut().swept);
    let cut = cut(layout.width, layout.panels, team.threads());
    for tile in tiles(layout, rows.clone(), team.threads()) {
        let slopes = swept.gradients(team, block, passing, tile.clone(), class_loss);
        let start = if tile.start == rows.start { start } else { Start::Output };
        let add = |member: &mut S, part: Part| {
            let left = (passing.activations, tile.clone());
            member.as_mut().add_expert_gradient(layout, left, slopes, start, part);
        };
        team.for_each(parts((&mut *weights, &mut *biases), layout.width, cut), add);
        if let Some((transposed, dv)) = &mut dv {
            let dv = rows_of(dv, passing, tile.start - rows.start..tile.end - rows.start);
            let height = height(tile.len(), team.threads());
            let parts = slopes.chunks(height * layout.columns());
            let parts = parts.zip(dv.chunks_mut(height * passing.activations.stride()));
            let add = |member: &mut S, (slopes, dv): (&[f32], &mut [f32])| {
                member.as_mut().add_activation_gradient(layout, transposed, slopes, dv);
            };
            team.for_each(parts, add);
        }
    }
    team.own().as_mut().swept = swept;
}

/// Some rows of [rows][stride of d].
fn rows_of<'a>(numbers: &'a mut [f32], passing: Passing, rows: Range<usize>) -> &'a mut [f32] {
    let stride = passing.activations.stride();
    &mut numbers[rows.start * stride..rows.end * stride]
}
