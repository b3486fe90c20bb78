//! Stage 2, the shared step (docs/method.md, section 4.3): mixtures frozen, every class block
//! visits every rank's rows; only the shared layers' gradient is summed over ranks, then the same
//! iRprop+ step (or Adam's, to compare with) is taken on every rank.

use std::io;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::saved::Saved;
use super::state::State;
use crate::checkpoint::Loaded;
use crate::comm::OrderedSum;
use crate::data::Reader;
use crate::error::Result;
use crate::flow::experts_travel::visit_blocks;
use crate::flow::home_rows::{HomeRows, RowsAhead, read_rows};
use crate::job::SharedJob;
use crate::kernel::matrix::Matrix;
use crate::kernel::mixture::{Block, Kernel, Passing, transpose_into};
use crate::kernel::vector::LANES;
use crate::labels::Labels;
use crate::model::annotator::Annotator;
use crate::model::features::Features;
use crate::model::shared::Tape;
use crate::optim::adam::Adam;
use crate::optim::irprop::{Irprop, Steps};
use crate::optim::{SharedSolver, Step};
use crate::packed::put;
use crate::team::Team;

/// What an error calls it.
pub const SHARED_GRADIENT: &str = "gradient of the shared layers";

/// Where a shared step stands. The weights that it has reached are the model's.
pub struct Learning {
    /// Iterations taken.
    iteration: usize,
    optimizer: Optimizer,
}

#[derive(Serialize, Deserialize)]
enum Optimizer {
    Irprop(Irprop),
    Adam(Adam),
}

impl Learning {
    pub fn new(job: &SharedJob, parameters: usize) -> Learning {
        let optimizer = match job.solver {
            SharedSolver::Adam => Optimizer::Adam(Adam::new(parameters)),
            SharedSolver::Irprop => Optimizer::Irprop(Irprop::new(parameters, steps_of(job))),
        };
        Learning { iteration: 0, optimizer }
    }

    /// What a checkpoint holds.
    ///
    /// # Errors
    /// Exit 6: it holds something else.
    pub fn restore(job: &SharedJob, parameters: usize, loaded: &mut Loaded) -> Result<Learning> {
        let (iteration, optimizer): (usize, Optimizer) = loaded.common.take()?;
        let fault = match (&optimizer, job.solver) {
            _ if iteration > job.iterations => Some(format!("found iteration {iteration}")),
            (Optimizer::Irprop(irprop), SharedSolver::Irprop) => {
                irprop.fault(parameters, steps_of(job))
            }
            (Optimizer::Adam(adam), SharedSolver::Adam) => adam.fault(parameters),
            _ => Some("found the state of another solver".into()),
        };
        match fault {
            None => Ok(Learning { iteration, optimizer }),
            Some(what) => Err(loaded.common.refused(format!("shared step: {what}"))),
        }
    }
}

fn steps_of(job: &SharedJob) -> Steps {
    Steps { initial: job.step_initial, min: job.step_min, max: job.step_max }
}

impl Saved for Learning {
    fn put_common(&self, to: &mut dyn io::Write) -> io::Result<()> {
        put(to, &(self.iteration, &self.optimizer))
    }
}

/// Iterations from where `learning` stands to the last one.
///
/// # Errors
/// What reading rows gives; exit 75 when told to stop, with `model` and `learning` between two
/// iterations.
pub fn run(state: &mut State, model: &mut Annotator, learning: &mut Learning) -> Result<()> {
    let rows = state.data.train.clone();
    while learning.iteration < state.job.shared.iterations {
        let round = state.standing.round;
        let pass = Pass { state, rows: &rows, annotator: model };
        let place = format!("shared step, round {round}, iteration {}", learning.iteration + 1);
        let (loss, gradient) = pass.evaluate(&place)?;
        match &mut learning.optimizer {
            Optimizer::Irprop(irprop) => irprop.step(&mut model.shared, &gradient, loss),
            Optimizer::Adam(adam) => {
                let rate = state.job.shared.learning_rate;
                let instructions = state.kernels[0].gemm().instructions();
                let step = Step { learning_rate: rate, scale: 1.0, l2: 0.0, decayed: 0 };
                let team = &mut Team::new(&mut state.kernels);
                adam.step(team, instructions, &mut model.shared, &gradient, step);
            }
        }
        learning.iteration += 1;
        let iteration = learning.iteration;
        let event =
            json!({ "step": "shared", "round": round, "iteration": iteration, "loss": loss });
        state.tell(event);
        state.boundary(model, learning)?;
    }
    Ok(())
}

/// The rows of one row block on their way through a full-batch pass.
struct BlockRows {
    tape: Tape,
    labels: Labels,
    /// dL/dv, summed over the class blocks that have visited.
    dv: Matrix,
    loss: f64,
}

/// A full-batch pass over this rank's rows.
struct Pass<'a, 'b> {
    state: &'a mut State<'b>,
    rows: &'a HomeRows,
    annotator: &'a Annotator,
}

impl Pass<'_, '_> {
    /// The mean loss over all rows of all ranks and its gradient with respect to the shared layers.
    ///
    /// # Errors
    /// What reading rows gives; exit 75 when told to stop; exit 7 where the loss is no number;
    /// common to all ranks.
    fn evaluate(mut self, place: &str) -> Result<(f64, Vec<f32>)> {
        let (comm, annotator, rows) = (self.state.comm, self.annotator, self.rows);
        let runs = rows.block_runs();
        let longest = runs.iter().map(Range::len).max().expect("a run for each rank");
        let transposed = annotator.layers.transpose(&annotator.shared);
        let length = annotator.layers.parameters();
        let mut gradient = OrderedSum::new(comm, SHARED_GRADIENT, runs.clone(), length);
        let mut loss = OrderedSum::new(comm, "loss", runs, 1);
        let mut ahead = rows.read_ahead(4 * self.state.kernels.len());
        let (mut turned, mut odd) = (Vec::new(), None);
        // All ranks take as many waves as the one that has most blocks.
        let wave = self.state.plan.wave;
        for from in (0..longest).step_by(wave) {
            let first = rows.own().start + from;
            let blocks = first..first + rows.own().len().saturating_sub(from).min(wave);
            let forward = self.forward(&mut ahead, blocks.clone());
            let mut wave = comm.agree(forward)?;
            visit_blocks(comm, &annotator.experts, |block, poll| {
                if !comm.stop_asked() {
                    transpose_into(block, &mut turned);
                    visit(block, &turned, &mut wave, &mut self.state.kernels, poll);
                }
            });
            for (block, rows) in blocks.clone().zip(&wave) {
                loss.add(vec![rows.loss]);
                odd = odd.or((!rows.loss.is_finite()).then(|| format!("row block {block}")));
            }
            let backward = self.backward(&transposed, blocks.zip(wave), &mut gradient);
            comm.agree(backward.and_then(|()| comm.unless_stopped()))?;
        }
        rows.waited(ahead.wait_seconds());
        let scale = 1.0 / rows.rows() as f64;
        let mut gradient = gradient.finish(comm);
        gradient.iter_mut().for_each(|slope| *slope *= scale as f32);
        let loss = loss.finish(comm)[0] * scale;
        self.state.check(place, annotator, loss, odd)?;
        Ok((loss, gradient))
    }

    /// Activations of the rows of `blocks`, which come next.
    fn forward(&mut self, rows: &mut RowsAhead, blocks: Range<usize>) -> Result<Vec<BlockRows>> {
        let (comm, annotator, kernels) = (self.state.comm, self.annotator, &mut self.state.kernels);
        let mut wave = Vec::with_capacity(blocks.len());
        // Whether a piece is the last one of its block.
        let mut pieces = blocks.flat_map(|block| {
            let count = self.rows.pieces(block).len();
            (1..=count).map(move |piece| piece == count)
        });
        let nothing = || (Matrix::zeros(0, annotator.layers.pooled()), Labels::new());
        let mut open = nothing();
        loop {
            let turn: Vec<bool> = pieces.by_ref().take(4 * kernels.len()).collect();
            if turn.is_empty() {
                return Ok(wave);
            }
            comm.unless_stopped()?;
            let read = rows.by_ref().take(turn.len()).collect::<Result<Vec<_>>>()?;
            let (features, labels): (Vec<Features>, Vec<Labels>) = read.into_iter().unzip();
            let mut team = Team::new(kernels);
            let inputs =
                team.map(features, |kernel, features| annotator.input(kernel.gemm(), features));
            let mut whole = Vec::new();
            for ((last, input), labels) in turn.into_iter().zip(inputs).zip(labels) {
                open.0.append(input);
                open.1.extend(&labels);
                if last {
                    whole.push(std::mem::replace(&mut open, nothing()));
                }
            }
            wave.extend(team.map(whole, |kernel, (input, labels)| {
                let dv = Matrix::zeros(input.rows(), annotator.layers.outputs());
                let tape = annotator.layers.forward(kernel.gemm(), &annotator.shared, input);
                BlockRows { tape, labels, dv, loss: 0.0 }
            }));
        }
    }

    /// Adds each row block's gradient of the shared layers as a leaf of the ordered sum. Frames are
    /// read once more, by the thread that needs them.
    ///
    /// # Errors
    /// What reading frames gives; exit 75 when told to stop.
    fn backward(
        &mut self,
        transposed: &[Vec<f32>],
        mut wave: impl Iterator<Item = (usize, BlockRows)>,
        gradient: &mut OrderedSum<f32>,
    ) -> Result<()> {
        let kernels = self.state.kernels.iter_mut();
        let mut workers: Vec<Worker> =
            kernels.map(|kernel| Worker { kernel, reader: self.rows.dataset().reader() }).collect();
        loop {
            let turn: Vec<_> = wave.by_ref().take(workers.len()).collect();
            if turn.is_empty() {
                return Ok(());
            }
            self.state.comm.unless_stopped()?;
            let annotator = self.annotator;
            let items = turn
                .into_iter()
                .map(|(block, own)| (own, self.rows.pieces(block), gradient.room()))
                .collect::<Vec<_>>();
            let leaves = Team::new(&mut workers).map(items, |worker, (own, pieces, mut leaf)| {
                worker.backward(annotator, transposed, own, pieces, &mut leaf).map(|()| leaf)
            });
            for leaf in leaves {
                gradient.add(leaf?);
            }
        }
    }
}

/// What a thread needs on the way back.
struct Worker<'a> {
    kernel: &'a mut Kernel,
    reader: Reader,
}

impl Worker<'_> {
    /// Writes the gradient of the shared layers over the rows of a block, read in `pieces`.
    fn backward(
        &mut self,
        annotator: &Annotator,
        transposed: &[Vec<f32>],
        rows: BlockRows,
        pieces: Vec<Range<usize>>,
        gradient: &mut [f32],
    ) -> Result<()> {
        let gemm = self.kernel.gemm();
        let dx = annotator.layers.backward(gemm, transposed, rows.tape, rows.dv, gradient);
        if annotator.layers.frame_network().is_empty() {
            return Ok(());
        }
        let mut at = 0;
        for piece in pieces {
            let rows = piece.len();
            if let (Features::Frames(frames), _) = read_rows(&mut self.reader, piece)? {
                annotator.frame_gradient(gemm, transposed, &frames, &dx, at, gradient);
            }
            at += rows;
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
        let activations = rows.tape.output();
        let passing = Passing { activations, labels: &rows.labels, weights: &[] };
        let (all, dv) = (0..rows.labels.rows(), &mut rows.dv.data);
        kernel.activation_gradient(block, transposed, passing, all, dv, &mut losses);
        rows.loss += losses.iter().sum::<f64>();
    };
    Team::new(kernels).polling(poll).for_each(wave, work);
}
