//! Stage 2, the shared step (method.md, section 4): mixtures frozen, every class block visits every
//! rank's rows; only the shared layers' gradient is summed over ranks, then the same iRprop+ step
//! is taken on every rank.

use std::ops::Range;

use crate::comm::{Comm, OrderedSum};
use crate::data::Reader;
use crate::error::Result;
use crate::flow::experts_travel::visit_blocks;
use crate::flow::home_rows::{HomeRows, ReadRows, read_rows};
use crate::labels::Labels;
use crate::model::annotator::Annotator;
use crate::model::features::Features;
use crate::model::gemm::Workspace;
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
            let first = self.rows.own.start + from;
            let blocks = first..first + blocks;
            let mut wave = self.forward(annotator, kernels, &mut rows, blocks)?;
            visit_blocks(self.comm, &annotator.experts, |block, poll| {
                transpose_into(block, &mut turned);
                visit(block, &turned, &mut wave, kernels, poll);
            });
            wave.iter().for_each(|rows| loss.add(vec![rows.loss]));
            let first = self.rows.own.start + from;
            self.backward(annotator, &transposed, kernels, (first, wave), &mut gradient)?;
        }
        self.rows.waited(rows.wait_seconds());
        let scale = 1.0 / self.rows.rows() as f64;
        let mut gradient = gradient.finish(self.comm);
        gradient.iter_mut().for_each(|slope| *slope *= scale as f32);
        Ok((loss.finish(self.comm)[0] * scale, gradient))
    }

    /// Activations of the rows of `blocks`, which come next.
    fn forward(
        &self,
        annotator: &Annotator,
        kernels: &mut [Kernel],
        rows: &mut Ahead<ReadRows>,
        blocks: Range<usize>,
    ) -> Result<Vec<BlockRows>> {
        let empty = || (Matrix::zeros(0, annotator.layers.pooled()), Labels::new());
        let mut inputs: Vec<(Matrix, Labels)> = blocks.clone().map(|_| empty()).collect();
        let mut pieces = (0..blocks.len()).flat_map(|index| {
            self.rows.pieces(blocks.start + index).into_iter().map(move |_| index)
        });
        loop {
            let turn: Vec<usize> = pieces.by_ref().take(4 * kernels.len()).collect();
            if turn.is_empty() {
                break;
            }
            let read = rows.by_ref().take(turn.len()).collect::<Result<Vec<_>>>()?;
            let (features, labels): (Vec<Features>, Vec<Labels>) = read.into_iter().unzip();
            let mut places = vec![Matrix::default(); turn.len()];
            work_off(
                kernels,
                features.into_iter().zip(&mut places).collect(),
                |kernel, (features, place)| *place = annotator.input(kernel.gemm(), features),
                &mut || (),
            );
            for ((index, piece), labels) in turn.into_iter().zip(places).zip(labels) {
                inputs[index].0.append(piece);
                inputs[index].1.extend(&labels);
            }
        }
        let mut wave: Vec<Option<BlockRows>> = inputs.iter().map(|_| None).collect();
        work_off(
            kernels,
            inputs.into_iter().zip(&mut wave).collect(),
            |kernel, ((input, labels), place): ((Matrix, _), &mut Option<_>)| {
                let dv = Matrix::zeros(input.rows(), annotator.layers.outputs());
                let tape = annotator.layers.forward(kernel.gemm(), &annotator.shared, input);
                *place = Some(BlockRows { tape, labels, dv, loss: 0.0 });
            },
            &mut || (),
        );
        Ok(wave.into_iter().map(|place| place.expect("every item was done")).collect())
    }

    /// Adds each row block's gradient of the shared layers as a leaf of the ordered sum. The wave
    /// is that of the blocks from `first` on. Frames are read once more, by the thread that needs
    /// them.
    ///
    /// # Errors
    /// What reading frames gives.
    fn backward(
        &self,
        annotator: &Annotator,
        transposed: &[Vec<f32>],
        kernels: &mut [Kernel],
        (first, wave): (usize, Vec<BlockRows>),
        gradient: &mut OrderedSum<f32>,
    ) -> Result<()> {
        let dataset = self.rows.dataset();
        let on_frames = !annotator.layers.frame_network().is_empty();
        let pieces = |block: usize| if on_frames { self.rows.pieces(block) } else { Vec::new() };
        let mut wave = wave.into_iter().zip(first..).map(|(rows, block)| (rows, pieces(block)));
        loop {
            let turn: Vec<_> = wave.by_ref().take(kernels.len()).collect();
            if turn.is_empty() {
                return Ok(());
            }
            let mut leaves: Vec<_> = turn.iter().map(|_| (gradient.room(), Ok(()))).collect();
            work_off(
                kernels,
                turn.into_iter().zip(&mut leaves).collect(),
                |kernel, ((rows, pieces), (leaf, outcome)): ((BlockRows, Vec<_>), &mut (_, _))| {
                    let (gemm, leaf): (_, &mut Vec<f32>) = (kernel.gemm(), leaf);
                    let dx = annotator.layers.backward(gemm, transposed, rows.tape, rows.dv, leaf);
                    if on_frames {
                        let way = FrameWay { annotator, transposed, dx: &dx };
                        *outcome = way.back(gemm, &mut dataset.reader(), pieces, leaf);
                    }
                },
                &mut || (),
            );
            for (leaf, outcome) in leaves {
                outcome?;
                gradient.add(leaf);
            }
        }
    }
}

/// The way of a row block's frames back through the frame network.
struct FrameWay<'a> {
    annotator: &'a Annotator,
    transposed: &'a [Vec<f32>],
    /// dL/d of what each row was pooled to.
    dx: &'a Matrix,
}

impl FrameWay<'_> {
    /// Writes the frame network's part of `leaf`, piece after piece of the block.
    fn back(
        &self,
        gemm: &mut Workspace,
        reader: &mut Reader,
        pieces: Vec<Range<usize>>,
        leaf: &mut [f32],
    ) -> Result<()> {
        let from = pieces.first().map_or(0, |piece| piece.start);
        for piece in pieces {
            let at = piece.start - from;
            if let (Features::Frames(frames), _) = read_rows(reader, piece)? {
                let turned = self.transposed;
                self.annotator.frame_gradient(gemm, turned, &frames, self.dx, at, at == 0, leaf);
            }
        }
        Ok(())
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
