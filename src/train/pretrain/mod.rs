//! Pretraining (docs/method.md, section 4.1): everything is learned, jointly, by mini-batch Adam
//! with a small mixture.
//!
//! A mini-batch is a fixed number of groups of row blocks, each giving its share of rows; a rank
//! runs whole groups. Activations go to all ranks, each class block takes its step and gives its
//! part of dL/dv, which goes home (summed in order over class blocks), and the shared layers'
//! gradients are summed in order over groups. What dropout leaves out of an activation it leaves
//! out of that activation's gradient.

mod clipping;
mod mini_batches;
mod odd_rows;
mod restore;

use std::io;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;

use self::clipping::{EXPERT_VARIABLES, scale_by_variable, square, squares_by_variable};
use self::mini_batches::Batch;
pub use self::mini_batches::Groups;
use self::odd_rows::{Stepped, odd_group};
use super::losses::{sums_over_blocks, total_over_blocks};
use super::saved::Saved;
use super::shared::SHARED_GRADIENT;
use super::state::{State, not_finite};
use crate::comm::{Comm, OrderedSum};
use crate::device::{Device, Dropout};
use crate::error::Result;
use crate::job::PretrainJob;
use crate::kernel::finite::all_finite;
use crate::kernel::matrix::Matrix;
use crate::kernel::mixture::layout::Layout;
use crate::kernel::mixture::{
    Block, Kernel, Passing, both_gradients, fresh_expert_gradient, transpose,
};
use crate::kernel::vector::LANES;
use crate::labels::Labels;
use crate::model::annotator::Annotator;
use crate::model::features::Features;
use crate::model::shared::Tape;
use crate::optim::Step;
use crate::optim::adam::Adam;
use crate::packed::put;
use crate::team::Team;

/// What pretraining works on.
pub struct Pretrain<'a> {
    pub comm: &'a Comm,
    pub job: &'a PretrainJob,
    pub seed: u64,
    pub groups: Groups<'a>,
}

/// Where pretraining stands, and what it learns with besides the annotator's weights.
pub struct Learning {
    position: Position,
    shared: Vec<Adam>,
    experts: Vec<Adam>,
    /// Gradient of each own class block.
    gradients: Vec<Vec<f32>>,
}

/// The mini-batch that comes next.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Position {
    epoch: usize,
    step: usize,
    /// Summed over the rows of the epoch so far.
    loss: f64,
    /// Of all epochs.
    rows_seen: usize,
    /// Epochs without a better validation.
    without: usize,
    done: bool,
}

impl Learning {
    pub fn new(annotator: &Annotator) -> Learning {
        let variables = variables_of(annotator);
        let shared = variables.map(|variable| Adam::new(variable.len())).collect();
        let blocks = annotator.experts.parameters.iter();
        let experts = blocks.map(|block| Adam::new(block.len())).collect();
        Learning::with(annotator, Position::default(), shared, experts)
    }

    fn with(
        annotator: &Annotator,
        position: Position,
        shared: Vec<Adam>,
        experts: Vec<Adam>,
    ) -> Learning {
        let blocks = annotator.experts.parameters.iter();
        let gradients = blocks.map(|block| vec![0.0; block.len()]).collect();
        Learning { position, shared, experts, gradients }
    }
}

impl Saved for Learning {
    fn put_common(&self, to: &mut dyn io::Write) -> io::Result<()> {
        put(to, &(&self.position, &self.shared))
    }

    fn has_blocks(&self) -> bool {
        true
    }

    fn put_block(&self, index: usize, to: &mut dyn io::Write) -> io::Result<()> {
        put(to, &self.experts[index])
    }
}

/// Where the variables of the shared layers lie: each layer's weights and its biases.
fn variables_of(annotator: &Annotator) -> impl Iterator<Item = Range<usize>> + '_ {
    annotator.layers.places.iter().flat_map(|place| [place.weights(), place.biases()])
}

impl Pretrain<'_> {
    /// Trains `annotator` from where `learning` stands until validation stops improving.
    ///
    /// # Errors
    /// What reading rows and validating gives; exit 75 when told to stop, with `annotator` and
    /// `learning` between two mini-batches.
    pub fn run<D: Device>(
        &self,
        state: &mut State<D>,
        annotator: &mut Annotator,
        learning: &mut Learning,
    ) -> Result<()> {
        let steps = self.groups.steps();
        while !learning.position.done {
            let Position { epoch, step: first, .. } = learning.position;
            let mut batches = self.groups.batches(epoch, first..steps);
            let mut next = self.comm.agree(batches.next().transpose())?;
            while let Some(batch) = next {
                let Stepped { loss, finite, odd } =
                    self.step(annotator, state.device.kernels(), learning, batch);
                let step = learning.position.step + 1;
                let place = || format!("pretrain, epoch {}, mini-batch {step}", epoch + 1);
                // Infinite activations can give a finite loss; only their rank knows of them.
                let finite = match odd {
                    odd if !finite => state
                        .check(&place(), annotator, loss, odd)
                        .and_then(|()| Err(not_finite(&place(), SHARED_GRADIENT, loss))),
                    Some(odd) => Err(not_finite(&place(), &odd, loss)),
                    None => Ok(()),
                };
                learning.position.loss += loss;
                learning.position.step += 1;
                let read = finite.and_then(|()| batches.next().transpose());
                next = state.boundary_after(read, annotator, learning)?;
            }
            drop(batches);
            let total = self.groups.rows.rows();
            let loss = learning.position.loss / total as f64;
            state.check(&format!("pretrain, epoch {}", epoch + 1), annotator, loss, None)?;
            let event = json!({ "step": "pretrain", "epoch": epoch + 1, "loss": loss });
            let better = state.validate(annotator, event)?;
            let position = &mut learning.position;
            position.without = if better { 0 } else { position.without + 1 };
            position.done = epoch + 1 == self.job.epochs
                || self.job.patience > 0 && position.without >= self.job.patience;
            (position.epoch, position.step, position.loss) = (epoch + 1, 0, 0.0);
        }
        Ok(())
    }

    /// One joint step. Where the shared layers' gradient isn't finite they stay as they are.
    fn step(
        &self,
        annotator: &mut Annotator,
        kernels: &mut [Kernel],
        learning: &mut Learning,
        batch: Batch,
    ) -> Stepped {
        let tapes = Team::new(kernels).map(&batch.groups, |kernel, (features, _)| {
            annotator.forward(kernel.gemm(), features.clone())
        });
        let instructions = kernels[0].gemm().instructions();
        let odd = tapes.iter().position(|tape| !all_finite(instructions, &tape.output().data));
        let mut odd = odd.map(|own| format!("activations of {}", self.groups.row_blocks_of(own)));
        let dropout = self.dropout(learning.position.rows_seen);
        let (activations, labels) = self.gather(annotator, &batch, &tapes, dropout);
        let passing = Passing { activations: &activations, labels: &labels, weights: &[] };
        let (loss, dv) = self.pass_blocks(annotator, kernels, learning, &batch, passing);
        let mut finite = loss.is_finite();

        let decay = self.learning_rate(learning.position.rows_seen);
        learning.position.rows_seen += batch.rows;
        if let Some(mut dv) = dv {
            self.leave_out(dropout, &batch, activations.stride(), &mut dv);
            let gradient = self.shared_gradient(annotator, kernels, tapes, &batch, &dv);
            finite &= all_finite(instructions, &gradient);
            if finite {
                self.shared_update(annotator, kernels, learning, &gradient, decay, batch.rows);
            } else if odd.is_none() {
                let own = odd_group(annotator, &mut kernels[0], &batch, &dv);
                odd = own.map(|own| format!("gradient of {}", self.groups.row_blocks_of(own)));
            }
        }
        self.expert_update(annotator, kernels, learning, decay, batch.rows);
        Stepped { loss, finite, odd }
    }

    /// What is left out of the mini-batch that comes after so many rows.
    fn dropout(&self, rows_seen: usize) -> Option<Dropout> {
        Dropout::of(self.job.dropout, self.seed, 1 << 47 | rows_seen as u64)
    }

    /// Leaves out of this rank's rows of the mini-batch, `stride` numbers each.
    fn leave_out(&self, dropout: Option<Dropout>, batch: &Batch, stride: usize, mine: &mut [f32]) {
        let Some(dropout) = dropout else { return };
        let own = batch.runs[self.comm.rank()].clone();
        own.zip(mine.chunks_mut(stride)).for_each(|(row, numbers)| dropout.apply(row, numbers));
    }

    /// Everyone's activations, less what is left out, and labels, in the order of groups.
    fn gather(
        &self,
        annotator: &Annotator,
        batch: &Batch,
        tapes: &[Tape],
        dropout: Option<Dropout>,
    ) -> (Matrix, Labels) {
        let mut activations = Matrix::zeros(0, annotator.layers.outputs());
        let stride = activations.stride();
        let mut mine: Vec<f32> =
            tapes.iter().flat_map(|tape| tape.output().data.iter().copied()).collect();
        self.leave_out(dropout, batch, stride, &mut mine);
        let counts: Vec<usize> = batch.runs.iter().map(|run| run.len() * stride).collect();
        activations.data = self.comm.all_gather_v("activations of a mini-batch", mine, &counts);
        activations.resize(batch.rows);
        let mut words = Vec::new();
        for (_, labels) in &batch.groups {
            for row in 0..labels.rows() {
                words.push(labels.row(row).len() as u32);
                words.extend_from_slice(labels.row(row));
            }
        }
        let words = self.comm.all_gather_any(&words).concat();
        let (mut labels, mut at) = (Labels::new(), 0);
        while at < words.len() {
            let end = at + 1 + words[at] as usize;
            labels.push(&words[at + 1..end]);
            at = end;
        }
        (activations, labels)
    }

    /// The mini-batch passes all class blocks: their gradients stay here, dL/dv of this rank's rows
    /// comes home (where there are shared layers), and the loss is returned.
    fn pass_blocks(
        &self,
        annotator: &Annotator,
        kernels: &mut [Kernel],
        learning: &mut Learning,
        batch: &Batch,
        passing: Passing,
    ) -> (f64, Option<Vec<f32>>) {
        let experts = &annotator.experts;
        let length = passing.activations.data.len();
        let runs = experts.owners.runs();
        let wanted = !annotator.layers.places.is_empty();
        let mut dv_sum = OrderedSum::new(self.comm, "gradient of activations", runs, length);
        let mut losses = vec![0.0; experts.own().len()];
        let blocks: Vec<usize> = experts.own().collect();
        for turn in blocks.chunks(kernels.len()) {
            let first = turn[0] - experts.own().start;
            let mut parts: Vec<Vec<f32>> = match wanted {
                true => turn.iter().map(|_| dv_sum.room()).collect(),
                false => vec![Vec::new(); turn.len()],
            };
            let gradients = &mut learning.gradients[first..first + turn.len()];
            let places = parts.iter_mut().zip(gradients).zip(&mut losses[first..]);
            let work = |team: &mut Team<Kernel>,
                        (block, ((dv, gradient), loss)): (&usize, Places)| {
                *loss = gradients_of(team, experts.block(*block), passing, gradient, dv);
            };
            Team::new(kernels).together(turn.iter().zip(places).collect(), work);
            if wanted {
                parts.into_iter().for_each(|part| dv_sum.add(part));
            }
        }
        let stride = passing.activations.stride();
        let slices: Vec<Range<usize>> =
            batch.runs.iter().map(|run| run.start * stride..run.end * stride).collect();
        let dv = wanted.then(|| dv_sum.finish_scattered(self.comm, &slices));
        (total_over_blocks(self.comm, &experts.owners, losses), dv)
    }

    /// Gradient of the shared layers, summed over the mini-batch, on every rank.
    fn shared_gradient(
        &self,
        annotator: &Annotator,
        kernels: &mut [Kernel],
        tapes: Vec<Tape>,
        batch: &Batch,
        dv: &[f32],
    ) -> Vec<f32> {
        let runs = self.groups.owners.runs();
        let length = annotator.layers.parameters();
        let mut sum = OrderedSum::new(self.comm, SHARED_GRADIENT, runs, length);
        let transposed = annotator.layers.transpose(&annotator.shared);
        let on_frames = !annotator.layers.frame_network().is_empty();
        let mut rest = dv;
        let mut waiting = tapes.into_iter().zip(&batch.groups).map(|(tape, (features, _))| {
            let mut part = Matrix::zeros(features.rows(), annotator.layers.outputs());
            let (here, after) = rest.split_at(part.data.len());
            part.data.copy_from_slice(here);
            rest = after;
            (tape, part, features)
        });
        loop {
            let turn: Vec<_> = waiting.by_ref().take(kernels.len()).collect();
            if turn.is_empty() {
                break;
            }
            let items: Vec<_> = turn.into_iter().map(|own| (own, sum.room())).collect();
            let leaves =
                Team::new(kernels).map(items, |kernel, ((tape, dv, features), mut leaf)| {
                    let gemm = kernel.gemm();
                    let dx = annotator.layers.backward(gemm, &transposed, tape, dv, &mut leaf);
                    if let (Features::Frames(frames), true) = (features, on_frames) {
                        annotator.frame_gradient(gemm, &transposed, frames, &dx, 0, &mut leaf);
                    }
                    leaf
                });
            leaves.into_iter().for_each(|leaf| sum.add(leaf));
        }
        sum.finish(self.comm)
    }

    fn shared_update(
        &self,
        annotator: &mut Annotator,
        kernels: &mut [Kernel],
        learning: &mut Learning,
        gradient: &[f32],
        rate: f32,
        rows: usize,
    ) {
        let instructions = kernels[0].gemm().instructions();
        let variables: Vec<_> = variables_of(annotator).collect();
        for (variable, adam) in variables.into_iter().zip(&mut learning.shared) {
            let gradient = &gradient[variable.clone()];
            let scale = self.clipped(square(gradient), rows);
            let weights = &mut annotator.shared[variable];
            let step = Step { learning_rate: rate, scale, l2: 0.0, decayed: 0 };
            adam.step(&mut Team::new(kernels), instructions, weights, gradient, step);
        }
    }

    fn expert_update(
        &self,
        annotator: &mut Annotator,
        kernels: &mut [Kernel],
        learning: &mut Learning,
        rate: f32,
        rows: usize,
    ) {
        let experts = &mut annotator.experts;
        let layouts = &experts.layouts[experts.own()];
        let squares = layouts
            .iter()
            .zip(&learning.gradients)
            .map(|(layout, gradient)| squares_by_variable(layout, gradient))
            .collect();
        let squares = sums_over_blocks(self.comm, &experts.owners, squares, EXPERT_VARIABLES);
        let scales = [0, 1, 2].map(|variable| self.clipped(squares[variable], rows));
        let l2 = self.job.l2;
        let items = layouts
            .iter()
            .zip(&mut experts.parameters)
            .zip(learning.gradients.iter_mut().zip(&mut learning.experts));
        Team::new(kernels).for_each(
            items,
            |kernel, ((layout, parameters), (gradient, adam)): ((&Layout, &mut Arc<Vec<f32>>), _)| {
                let parameters = Arc::make_mut(parameters);
                let (gradient, adam): (&mut Vec<f32>, &mut Adam) = (gradient, adam);
                scale_by_variable(layout, gradient, scales);
                let instructions = kernel.gemm().instructions();
                let decayed = layout.biases();
                let step = Step { learning_rate: rate, scale: 1.0, l2, decayed };
                let team = &mut Team::alone(kernel);
                adam.step(team, instructions, parameters, gradient, step);
            },
        );
    }

    /// 1 / rows, less where the mean gradient's norm would exceed the limit.
    fn clipped(&self, square: f64, rows: usize) -> f32 {
        let mean = 1.0 / rows as f64;
        let (norm, limit) = (square.sqrt() * mean, f64::from(self.job.clip_norm));
        let clip = if limit > 0.0 && norm > limit { limit / norm } else { 1.0 };
        (mean * clip) as f32
    }

    /// The learning rate after so many rows: a staircase.
    fn learning_rate(&self, rows_seen: usize) -> f32 {
        let stairs = rows_seen / self.job.decay_rows.max(1);
        (0..stairs).fold(self.job.learning_rate, |rate, _| rate * self.job.decay)
    }
}

/// Where the gradients and the loss of a class block go.
type Places<'a> = ((&'a mut Vec<f32>, &'a mut Vec<f32>), &'a mut f64);

/// Both gradients of one class block over the whole mini-batch, written anew; dL/dv only where `dv`
/// has room. Returns the loss.
fn gradients_of(
    team: &mut Team<Kernel>,
    block: Block,
    passing: Passing,
    gradient: &mut [f32],
    dv: &mut [f32],
) -> f64 {
    let rows = 0..passing.labels.rows();
    let mut losses = vec![0.0; block.layout.groups.len() * LANES];
    if dv.is_empty() {
        fresh_expert_gradient(team, block, passing, rows, gradient, &mut losses);
    } else {
        dv.fill(0.0);
        let turned = transpose(block);
        both_gradients(team, block, passing, rows, gradient, (&turned, dv), &mut losses);
    }
    losses.iter().sum()
}
