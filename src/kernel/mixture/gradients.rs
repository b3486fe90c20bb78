//! The gradient of a class block's weights, over rows as they are or over slices of them: each
//! slice is a chain of its own, and the chains are added along the tree (`tree.rs`).
//!
//! A team divides the rows of a tile's sweep, then dW into rectangles, and then the rows of dV.
//! Who has a rectangle makes it of all slices of the tile, one after the other, and adds them: what
//! it adds is still in its cache, and threads begin once for all of them.

use std::ops::Range;

use super::cut::{SliceTile, height, tiles};
use super::layout::Layout;
use super::{Block, Kernel, Passing, Swept, check, rows_of};
use crate::kernel::add::add;
use crate::kernel::matrix::Matrix;
use crate::kernel::product::rectangles::{Cut, Part, cut, parts};
use crate::kernel::product::{Apart, Left, Panels, Size, Start};
use crate::kernel::sweep;
use crate::kernel::vector::{LANES, load, map2, store};
use crate::team::Team;
use crate::tree::Summing;

/// Numbers of a rectangle at most, where rectangles are added: 512 KiB.
const RECTANGLE: usize = 1 << 17;

/// What chains begin with, an order's vectors, and the transposed block with dV, where that is
/// wanted.
type Wanted<'a> = (Start, Vec<&'a mut [f32]>, Option<(&'a [f32], &'a mut [f32])>);

/// The gradient of the loss over each of `slices`, as `fresh_expert_gradient`, added in this
/// `order`, which has a leaf for each: `vectors`, each as long as the parameters, hold then what
/// the order leaves, and anything else. Adds losses to `[slices][groups][16]`.
///
/// Rows of slices follow each other, without gaps. `go_on` is asked before and after each sweep of
/// the tiles into which they are cut, whose work is bounded; where it says no, nothing of what
/// vectors and losses hold counts, and the answer is no.
pub fn sliced_expert_gradient<S: AsMut<Kernel> + Send>(
    team: &mut Team<S>,
    block: Block,
    passing: Passing,
    (slices, order): (&[Range<usize>], &Summing),
    vectors: &mut [Vec<f32>],
    class_loss: &mut [f64],
    go_on: impl FnMut() -> bool,
) -> bool {
    assert!(vectors.len() >= order.vectors(), "the order's vectors");
    let vectors = vectors.iter_mut().map(|vector| &mut vector[..]).collect();
    let into = (Start::Zero, vectors, None);
    gradients(team, block, passing, (slices, order), into, class_loss, go_on)
}

/// Of one run of rows.
pub(super) fn one_gradient<S: AsMut<Kernel> + Send>(
    team: &mut Team<S>,
    block: Block,
    passing: Passing,
    rows: Range<usize>,
    (start, gradient): (Start, &mut [f32]),
    dv: Option<(&[f32], &mut [f32])>,
    class_loss: &mut [f64],
) {
    let of = (&[rows][..], &Summing::of_all(1));
    gradients(team, block, passing, of, (start, vec![gradient], dv), class_loss, || true);
}

/// Of slices, into the order's vectors, and dV of all their rows where it is wanted.
fn gradients<S: AsMut<Kernel> + Send>(
    team: &mut Team<S>,
    block: Block,
    passing: Passing,
    (slices, order): (&[Range<usize>], &Summing),
    (start, mut vectors, mut dv): Wanted,
    class_loss: &mut [f64],
    mut go_on: impl FnMut() -> bool,
) -> bool {
    let layout = block.layout;
    check_slices(block, passing, slices, class_loss);
    assert_eq!(order.leaves(), slices.len(), "a slice for each leaf");
    let fits = |vector: &&mut [f32]| vector.len() == block.parameters.len();
    assert!(vectors.iter().all(fits), "a gradient for each parameter");
    let mut cut = cut(layout.width, layout.panels, team.threads());
    if order.vectors() > 1 {
        cut = cut.within(RECTANGLE);
    }
    let lanes = layout.groups.len() * LANES;
    for tile in tiles(layout, slices, team.threads()) {
        if !go_on() {
            return false;
        }
        let mut swept = std::mem::take(&mut team.own().as_mut().swept);
        let (slopes, losses) = swept.gradients(team, block, passing, tile.rows.clone());
        for (slice, rows) in tile.parts(slices) {
            let rows = rows.start - tile.rows.start..rows.end - tile.rows.start;
            let sums = &mut class_loss[slice * lanes..][..lanes];
            for losses in losses[rows.start * lanes..rows.end * lanes].chunks_exact(lanes) {
                sums.iter_mut().zip(losses).for_each(|(sum, loss)| *sum += f64::from(*loss));
            }
        }
        if !go_on() {
            team.own().as_mut().swept = swept;
            return false;
        }
        let start = if tile.begins { start } else { Start::Output };
        let add = |member: &mut S, mut parts: Vec<Part>| {
            let (kernel, of) = (member.as_mut(), (passing.activations, slopes));
            for (slice, rows) in tile.parts(slices) {
                let part = &mut parts[order.vector(slice)];
                kernel.add_expert_gradient(layout, of, (rows, tile.rows.start), start, part);
                let adds = if tile.ends { order.adds(slice) } else { &[] };
                adds.iter().for_each(|pair| kernel.add_parts(&mut parts, *pair));
            }
        };
        team.for_each(rectangles(layout, &mut vectors, cut), add);
        if let Some((transposed, dv)) = &mut dv {
            let from = slices[0].start;
            let dv = rows_of(dv, passing, tile.rows.start - from..tile.rows.end - from);
            add_activation_gradient(team, (block, passing), transposed, slopes, dv);
        }
        team.own().as_mut().swept = swept;
    }
    true
}

/// What a pass of slices relies on.
fn check_slices(block: Block, passing: Passing, slices: &[Range<usize>], class_loss: &[f64]) {
    let lanes = block.layout.groups.len() * LANES;
    assert_eq!(class_loss.len(), slices.len() * lanes, "a loss for each lane of each slice");
    for (index, slice) in slices.iter().enumerate() {
        assert!(slice.start <= slice.end, "rows of a slice in order");
        assert!(index == 0 || slices[index - 1].end == slice.start, "no gap between slices");
        check(block, passing, slice);
    }
}

impl SliceTile {
    /// The rows that it has of each of its slices.
    fn parts<'a>(
        &'a self,
        slices: &'a [Range<usize>],
    ) -> impl Iterator<Item = (usize, Range<usize>)> + 'a {
        self.slices.clone().map(|slice| {
            let Range { start, end } = slices[slice];
            let within = |row: usize| row.clamp(self.rows.start, self.rows.end);
            (slice, within(start)..within(end))
        })
    }
}

/// The rectangles of all `vectors`: of each of them the same, one after the other.
fn rectangles<'a>(layout: &Layout, vectors: &'a mut [&mut [f32]], cut: Cut) -> Vec<Vec<Part<'a>>> {
    let mut rectangles: Vec<Vec<Part>> = Vec::new();
    for vector in vectors {
        let own = parts(vector.split_at_mut(layout.biases()), layout.width, cut);
        rectangles.resize_with(own.len(), Vec::new);
        rectangles.iter_mut().zip(own).for_each(|(all, part)| all.push(part));
    }
    rectangles
}

fn add_activation_gradient<S: AsMut<Kernel> + Send>(
    team: &mut Team<S>,
    (block, passing): (Block, Passing),
    transposed: &[f32],
    slopes: &[f32],
    dv: &mut [f32],
) {
    let layout = block.layout;
    let height = height(slopes.len() / layout.columns(), team.threads()).max(1);
    let parts = slopes.chunks(height * layout.columns());
    let parts = parts.zip(dv.chunks_mut(height * passing.activations.stride()));
    team.for_each(parts, |member: &mut S, (slopes, dv): (&[f32], &mut [f32])| {
        member.as_mut().add_activation_gradient(layout, transposed, slopes, dv);
    });
}

impl Swept {
    /// Gradients of the logits of a tile and its losses, `[rows][columns]` and
    /// `[rows][groups][16]`; the team divides the rows.
    fn gradients<S: AsMut<Kernel> + Send>(
        &mut self,
        team: &mut Team<S>,
        block: Block,
        passing: Passing,
        rows: Range<usize>,
    ) -> (&[f32], &[f32]) {
        let (layout, height) = (block.layout, height(rows.len(), team.threads()).max(1));
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
        (logits, losses)
    }
}

impl Kernel {
    /// dW += V' dZ (= from `Start::Zero`) of a rectangle, and db += column sums of dZ where it has
    /// biases, over `rows` whose dZ are `slopes` from row `first` on.
    fn add_expert_gradient(
        &mut self,
        layout: &Layout,
        (activations, slopes): (&Matrix, &[f32]),
        (rows, first): (Range<usize>, usize),
        start: Start,
        part: &mut Part,
    ) {
        let (columns, stride, panels) =
            (layout.columns(), activations.stride(), part.weights.len());
        if start == Start::Zero {
            part.biases.iter_mut().for_each(|biases| biases.fill(0.0));
        }
        if rows.is_empty() {
            if start == Start::Zero {
                part.weights.iter_mut().for_each(|panel| panel.fill(0.0));
            }
            return;
        }
        let slopes = &slopes[(rows.start - first) * columns..(rows.end - first) * columns];
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
        let Some(biases) = &mut part.biases else { return };
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

    /// Adds a rectangle to another one.
    fn add_parts(&self, parts: &mut [Part], (left, right): (usize, usize)) {
        let instructions = self.gemm.instructions();
        let [left, right] = parts.get_disjoint_mut([left, right]).expect("two vectors");
        let panels = left.weights.iter_mut().zip(&right.weights);
        panels.for_each(|(left, right)| add(instructions, left, right));
        if let (Some(left), Some(right)) = (&mut left.biases, &right.biases) {
            add(instructions, left, right);
        }
    }
}
