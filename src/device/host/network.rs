//! The shared layers on the host: a thread takes pieces of rows to the video network, then whole
//! row blocks through it, and back.

use std::cell::OnceCell;

use crate::device::{FrameReader, FramesAgain, Leaves, Piece};
use crate::error::Result;
use crate::kernel::mixture::Kernel;
use crate::labels::Labels;
use crate::model::Matrix;
use crate::model::annotator::Annotator;
use crate::model::features::Features;
use crate::model::shared::Tape;
use crate::team::Team;

/// Pieces of rows that a thread is given at once on the way to a wave.
const PIECES: usize = 4;

/// The model's weights, and their transposes once they are needed for the way back.
pub struct Network<'a> {
    model: &'a Annotator,
    transposed: OnceCell<Vec<Vec<f32>>>,
}

/// A wave: row blocks, or groups of a mini-batch, in order.
#[derive(Default)]
pub struct Wave {
    pub(super) blocks: Vec<BlockRows>,
    /// Memory for a visitor's transposed weights.
    pub(super) turned: Vec<f32>,
}

/// The rows of one row block or group.
pub(super) struct BlockRows {
    tape: Tape,
    pub(crate) labels: Labels,
    /// dL/dv [rows][d], summed over the class blocks that have visited; empty before the first.
    slopes: Matrix,
    pub(crate) loss: f64,
    /// Pieces that the rows were read in.
    pieces: usize,
}

impl BlockRows {
    /// v, and dL/dv so far.
    pub(crate) fn sides(&mut self) -> (&Matrix, &mut Matrix) {
        let v = self.tape.output();
        if self.slopes.rows() != v.rows() {
            self.slopes = Matrix::zeros(v.rows(), v.width());
        }
        (v, &mut self.slopes)
    }
}

impl Wave {
    pub(crate) fn outputs(&self, to: &mut Vec<f32>) {
        self.blocks.iter().for_each(|rows| to.extend_from_slice(&rows.tape.output().data));
    }

    /// v and labels of each row block or group.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&Matrix, &Labels)> {
        self.blocks.iter().map(|rows| (rows.tape.output(), &rows.labels))
    }

    pub(crate) fn give_slopes(&mut self, slopes: &[f32]) {
        let mut rest = slopes;
        for rows in &mut self.blocks {
            let own = &mut rows.sides().1.data;
            let (here, after) = rest.split_at(own.len());
            own.copy_from_slice(here);
            rest = after;
        }
        assert!(rest.is_empty(), "slopes of other rows");
    }

    pub(crate) fn losses(&self) -> Vec<f64> {
        self.blocks.iter().map(|rows| rows.loss).collect()
    }
}

impl<'a> Network<'a> {
    pub(crate) fn new(model: &'a Annotator) -> Network<'a> {
        Network { model, transposed: OnceCell::new() }
    }

    pub(crate) fn activations(
        &self,
        mut team: Team<Kernel>,
        pieces: &mut dyn Iterator<Item = Result<(Features, Labels)>>,
        take: &mut dyn FnMut(Matrix, Labels) -> Result<()>,
    ) -> Result<()> {
        let model = self.model;
        loop {
            let turn = pieces.take(team.threads()).collect::<Result<Vec<_>>>()?;
            if turn.is_empty() {
                return Ok(());
            }
            let made = team.map(turn, |kernel, (features, labels)| {
                (model.forward(kernel.gemm(), features).into_output(), labels)
            });
            made.into_iter().try_for_each(|(activations, labels)| take(activations, labels))?;
        }
    }

    pub(crate) fn forward(
        &self,
        mut team: Team<Kernel>,
        pieces: &mut dyn Iterator<Item = Result<Piece>>,
    ) -> Result<Wave> {
        let (model, mut wave) = (self.model, Wave::default());
        let nothing = || (Matrix::zeros(0, model.layers.pooled()), Labels::new(), 0);
        let mut open = nothing();
        loop {
            let turn = pieces.take(PIECES * team.threads()).collect::<Result<Vec<_>>>()?;
            if turn.is_empty() {
                return Ok(wave);
            }
            let inputs = team.map(turn, |kernel, Piece { features, labels, last }| {
                (model.input(kernel.gemm(), features), labels, last)
            });
            let mut whole = Vec::new();
            for (input, labels, last) in inputs {
                open.0.append(input);
                open.1.extend(&labels);
                open.2 += 1;
                if last {
                    whole.push(std::mem::replace(&mut open, nothing()));
                }
            }
            wave.blocks.extend(team.map(whole, |kernel, (input, labels, pieces)| {
                let tape = model.layers.forward(kernel.gemm(), &model.shared, input);
                BlockRows { tape, labels, slopes: Matrix::default(), loss: 0.0, pieces }
            }));
        }
    }

    pub(crate) fn backward(
        &self,
        kernels: &mut [Kernel],
        wave: Wave,
        frames: &dyn FramesAgain,
        leaves: &mut dyn Leaves,
    ) -> Result<()> {
        let layers = &self.model.layers;
        let transposed = self.transposed.get_or_init(|| layers.transpose(&self.model.shared));
        let mut workers: Vec<KernelAndFrames> = kernels
            .iter_mut()
            .map(|kernel| KernelAndFrames { kernel, frames: frames.reader() })
            .collect();
        let mut blocks = wave.blocks.into_iter().enumerate();
        loop {
            let turn: Vec<_> = blocks.by_ref().take(workers.len()).collect();
            if turn.is_empty() {
                return Ok(());
            }
            let items = turn.into_iter().map(|own| leaves.room().map(|leaf| (own, leaf)));
            let items = items.collect::<Result<Vec<_>>>()?;
            let made = Team::new(&mut workers).map(items, |worker, ((index, rows), mut leaf)| {
                worker.backward(self.model, transposed, index, rows, &mut leaf).map(|()| leaf)
            });
            for leaf in made {
                leaves.add(leaf?);
            }
        }
    }
}

/// What one thread needs on the way back through the network.
struct KernelAndFrames<'a> {
    kernel: &'a mut Kernel,
    frames: FrameReader<'a>,
}

impl KernelAndFrames<'_> {
    /// Writes the gradient of the shared layers over the rows of block `index`.
    fn backward(
        &mut self,
        model: &Annotator,
        transposed: &[Vec<f32>],
        index: usize,
        mut rows: BlockRows,
        gradient: &mut [f32],
    ) -> Result<()> {
        let gemm = self.kernel.gemm();
        rows.sides();
        let dx = model.layers.backward(gemm, transposed, rows.tape, rows.slopes, gradient);
        if model.layers.frame_network().is_empty() {
            return Ok(());
        }
        let mut at = 0;
        for piece in 0..rows.pieces {
            let features = (self.frames)(index, piece)?;
            if let Features::Frames(frames) = &*features {
                model.frame_gradient(gemm, transposed, frames, &dx, at, gradient);
            }
            at += features.rows();
        }
        Ok(())
    }
}
