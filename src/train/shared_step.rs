//! Stage 2, the shared step (method.md, section 4): mixtures frozen, every class block visits every
//! rank's rows; only the shared layers' gradient is summed over ranks, then the same iRprop+ step
//! is taken on every rank.

use std::ops::Range;

use crate::comm::{Comm, OrderedSum};
use crate::error::Result;
use crate::flow::experts_travel::visit_blocks;
use crate::flow::home_rows::{HomeRows, ReadRows};
use crate::labels::Labels;
use crate::model::annotator::Annotator;
use crate::model::matrix::Matrix;
use crate::model::mixture::{Block, Kernel, Passing, transpose_into};
use crate::model::shared::Tape;
use crate::model::vector::LANES;
use crate::parallel::{Ahead, work_off};

/// The rows of one row block on their way through a full-batch pass.
struct BlockRows {
    tape: Tape,
    labels: Labels,
    /// dL/dv, summed over the class blocks that have visited.
    dv: Matrix,
    loss: f64,
}

/// Full-batch passes over this rank's rows.
pub struct SharedStep<'a> {
    pub comm: &'a Comm,
    pub rows: &'a HomeRows,
    /// Row blocks that go through at once, on the rank that has most: all ranks take as many waves.
    pub wave: usize,
}

impl SharedStep<'_> {
    /// The mean loss over all rows of all ranks and its gradient with respect to the shared layers.
    ///
    /// # Errors
    /// What reading rows gives.
    pub fn evaluate(
        &self,
        annotator: &Annotator,
        kernels: &mut [Kernel],
    ) -> Result<(f64, Vec<f32>)> {
        let runs = self.rows.block_runs();
        let longest = runs.iter().map(Range::len).max().expect("a run for each rank");
        let parameters = annotator.layers.parameters();
        let transposed = annotator.layers.transpose(&annotator.shared);
        let mut gradient = OrderedSum::new(self.comm, runs.clone(), parameters);
        let mut loss = OrderedSum::new(self.comm, runs, 1);
        let mut rows = self.rows.read_ahead(4 * kernels.len());
        let mut turned = Vec::new();
        for from in (0..longest).step_by(self.wave) {
            let blocks = self.rows.own.len().saturating_sub(from).min(self.wave);
            let mut wave = self.forward(annotator, kernels, &mut rows, blocks)?;
            visit_blocks(self.comm, &annotator.experts, |block, poll| {
                transpose_into(block, &mut turned);
                visit(block, &turned, &mut wave, kernels, poll);
            });
            wave.iter().for_each(|rows| loss.add(vec![rows.loss]));
            self.backward(annotator, &transposed, kernels, wave, &mut gradient);
        }
        self.rows.waited(rows.wait_seconds());
        let scale = 1.0 / self.rows.rows() as f64;
        let mut gradient = gradient.finish(self.comm);
        gradient.iter_mut().for_each(|slope| *slope *= scale as f32);
        Ok((loss.finish(self.comm)[0] * scale, gradient))
    }

    /// Activations of the rows of the next `blocks` row blocks.
    fn forward(
        &self,
        annotator: &Annotator,
        kernels: &mut [Kernel],
        rows: &mut Ahead<ReadRows>,
        blocks: usize,
    ) -> Result<Vec<BlockRows>> {
        let mut wave = Vec::with_capacity(blocks);
        while wave.len() < blocks {
            let turn = (4 * kernels.len()).min(blocks - wave.len());
            let read = rows.by_ref().take(turn).collect::<Result<Vec<_>>>()?;
            let mut places: Vec<Option<BlockRows>> = read.iter().map(|_| None).collect();
            let items = read.into_iter().zip(&mut places).collect();
            work_off(
                kernels,
                items,
                |kernel, ((features, labels), place): ((Matrix, _), &mut Option<_>)| {
                    let dv = Matrix::zeros(features.rows(), annotator.layers.outputs());
                    let tape = annotator.forward(kernel.gemm(), features);
                    *place = Some(BlockRows { tape, labels, dv, loss: 0.0 });
                },
                &mut || (),
            );
            wave.extend(places.into_iter().map(|place| place.expect("every item was done")));
        }
        Ok(wave)
    }

    /// Adds each row block's gradient of the shared layers as a leaf of the ordered sum.
    fn backward(
        &self,
        annotator: &Annotator,
        transposed: &[Vec<f32>],
        kernels: &mut [Kernel],
        wave: Vec<BlockRows>,
        gradient: &mut OrderedSum<f32>,
    ) {
        let mut wave = wave.into_iter();
        loop {
            let turn: Vec<BlockRows> = wave.by_ref().take(kernels.len()).collect();
            if turn.is_empty() {
                break;
            }
            let mut leaves: Vec<Vec<f32>> = turn.iter().map(|_| gradient.room()).collect();
            let items = turn.into_iter().zip(&mut leaves).collect();
            work_off(
                kernels,
                items,
                |kernel, (rows, leaf): (BlockRows, &mut Vec<f32>)| {
                    let (tape, dv) = (rows.tape, rows.dv);
                    annotator.layers.backward(kernel.gemm(), transposed, tape, dv, leaf);
                },
                &mut || (),
            );
            leaves.into_iter().for_each(|leaf| gradient.add(leaf));
        }
    }
}

/// One class block passes the rows of a wave: its part of dL/dv and of the loss is added to theirs.
fn visit(
    block: Block,
    transposed: &[f32],
    wave: &mut [BlockRows],
    kernels: &mut [Kernel],
    poll: &mut dyn FnMut(),
) {
    let work = |kernel: &mut Kernel, rows: &mut BlockRows| {
        let mut losses = vec![0.0; block.layout.groups.len() * LANES];
        let passing = Passing { activations: rows.tape.output(), labels: &rows.labels };
        let (all, dv) = (0..rows.labels.rows(), &mut rows.dv.data);
        kernel.activation_gradient(block, transposed, passing, all, dv, &mut losses);
        rows.loss += losses.iter().sum::<f64>();
    };
    work_off(kernels, wave.iter_mut().collect(), work, poll);
}
