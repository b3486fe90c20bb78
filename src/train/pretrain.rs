//! Pretraining (method.md, section 4): everything is learned, jointly, by mini-batch Adam with a
//! small mixture.
//!
//! A mini-batch is a fixed number of groups of row blocks, each giving its share of rows; a rank
//! runs whole groups. Activations go to all ranks, each class block takes its step and gives its
//! part of dL/dv, which goes home (summed in order over class blocks), and the shared layers'
//! gradients are summed in order over groups.

use std::ops::Range;
use std::sync::Arc;

use super::groups::GroupRows;
use super::losses::{sums_over_blocks, total_over_blocks};
use crate::comm::{Comm, OrderedSum};
use crate::error::Result;
use crate::flow::home_rows::HomeRows;
use crate::job::PretrainJob;
use crate::labels::Labels;
use crate::model::annotator::Annotator;
use crate::model::features::Features;
use crate::model::layout::{Layout, Role};
use crate::model::matrix::Matrix;
use crate::model::mixture::{Block, Kernel, Passing, transpose};
use crate::model::vector::LANES;
use crate::optim::adam::Adam;
use crate::parallel::{Ahead, work_off};
use crate::partition::{Blocks, owned};

/// Rows of a mini-batch that a group should have at least: fewer make the products inefficient.
const GROUP_SHARE: usize = 32;
/// Groups at most, and so ranks that pretraining can use.
pub const GROUPS_MAX: usize = 64;

/// What pretraining works on.
pub struct Pretrain<'a> {
    pub comm: &'a Comm,
    pub job: &'a PretrainJob,
    pub seed: u64,
    pub rows: &'a HomeRows,
}

/// One variable of the mixtures, each of whose gradients is clipped by itself: all gates, all
/// experts, all biases.
const EXPERT_VARIABLES: usize = 3;

/// Is told of every epoch: its number, its mean training loss, the annotator, the threads' kernels.
type Told<'a> = &'a mut dyn FnMut(usize, f64, &Annotator, &mut [Kernel]) -> Result<bool>;

/// The learning state beside the annotator's weights.
struct Learning {
    shared: Vec<Adam>,
    experts: Vec<Adam>,
    /// Gradient of each own class block.
    gradients: Vec<Vec<f32>>,
    rows_seen: usize,
}

/// Rows of the mini-batch under way that this rank runs.
struct Batch {
    /// Rows of all groups.
    rows: usize,
    /// Where the rows of each rank lie among them.
    runs: Vec<Range<usize>>,
    /// Features and labels of each own group.
    groups: Vec<(Features, Labels)>,
}

/// Features and labels of each own group's share of a mini-batch.
type ReadGroups = Result<Vec<(Features, Labels)>>;

/// Rows that a group of `rows` gives to one of `steps` mini-batches.
fn share(rows: usize, step: usize, steps: usize) -> usize {
    (step + 1) * rows / steps - step * rows / steps
}

impl Pretrain<'_> {
    /// Trains `annotator`. `told` is called after every epoch with its number, its mean training
    /// loss and the annotator; it returns false to stop.
    ///
    /// # Errors
    /// What reading rows gives.
    pub fn run(&self, annotator: &mut Annotator, kernels: &mut [Kernel], told: Told) -> Result<()> {
        let mut learning = Learning {
            shared: annotator
                .layers
                .places
                .iter()
                .flat_map(|place| [place.weights().len(), place.biases().len()])
                .map(Adam::new)
                .collect(),
            experts: annotator
                .experts
                .parameters
                .iter()
                .map(|block| Adam::new(block.len()))
                .collect(),
            gradients: annotator
                .experts
                .parameters
                .iter()
                .map(|block| vec![0.0; block.len()])
                .collect(),
            rows_seen: 0,
        };
        let count = (self.job.batch / GROUP_SHARE).clamp(1, GROUPS_MAX);
        let groups = Blocks::even(self.rows.blocks.len(), count);
        let total = self.rows.rows();
        let steps = total.div_ceil(self.job.batch);
        for epoch in 0..self.job.epochs {
            let mut batches = self.read_ahead(&groups, steps, epoch);
            let mut loss = 0.0;
            for step in 0..steps {
                let runs = self.runs(&groups, step, steps);
                let rows = runs.last().expect("a run for each rank").end;
                let own = batches.next().expect("a batch a step")?;
                let batch = Batch { rows, runs, groups: own };
                loss += self.step(annotator, kernels, &mut learning, &groups, batch);
            }
            self.rows.waited(batches.wait_seconds());
            if !told(epoch, loss / total as f64, annotator, kernels)? {
                break;
            }
        }
        Ok(())
    }

    /// The rows of a group, of all rows.
    fn rows_of(&self, groups: &Blocks, group: usize) -> Range<usize> {
        self.rows.blocks.run(groups.block(group))
    }

    /// Where the rows of each rank lie among those of a step's mini-batch.
    fn runs(&self, groups: &Blocks, step: usize, steps: usize) -> Vec<Range<usize>> {
        let size = self.comm.size();
        let share = |group: usize| share(self.rows_of(groups, group).len(), step, steps);
        let mut at = 0;
        (0..size)
            .map(|rank| {
                let from = at;
                at += owned(groups.len(), size, rank).map(share).sum::<usize>();
                from..at
            })
            .collect()
    }

    /// What this rank's groups give to the mini-batches of an epoch, while a thread reads the next.
    fn read_ahead(&self, groups: &Blocks, steps: usize, epoch: usize) -> Ahead<ReadGroups> {
        let dataset = self.rows.dataset();
        let own = owned(groups.len(), self.comm.size(), self.comm.rank());
        let mut sources: Vec<(usize, GroupRows)> = own
            .map(|group| {
                let rows = self.rows_of(groups, group);
                let frames = self.job.frames;
                (rows.len(), GroupRows::new(dataset, rows, self.seed, frames, epoch, group))
            })
            .collect();
        let (mut reader, mut step) = (dataset.reader(), 0..steps);
        Ahead::new(1, move || {
            let step = step.next()?;
            let next = |(rows, source): &mut (usize, GroupRows)| {
                source.next(&mut reader, share(*rows, step, steps))
            };
            Some(sources.iter_mut().map(next).collect())
        })
    }

    /// One joint step; returns the loss before it, summed over the mini-batch.
    fn step(
        &self,
        annotator: &mut Annotator,
        kernels: &mut [Kernel],
        learning: &mut Learning,
        groups: &Blocks,
        batch: Batch,
    ) -> f64 {
        let mut tapes: Vec<_> = batch.groups.iter().map(|_| None).collect();
        let items = batch.groups.iter().zip(&mut tapes).collect();
        work_off(
            kernels,
            items,
            |kernel, ((features, _), tape): (&(Features, Labels), &mut Option<_>)| {
                *tape = Some(annotator.forward(kernel.gemm(), features.clone()));
            },
            &mut || (),
        );
        let tapes: Vec<_> = tapes.into_iter().map(|tape| tape.expect("done")).collect();
        let (activations, labels) = self.gather(annotator, &batch, &tapes);
        let passing = Passing { activations: &activations, labels: &labels };
        let (loss, dv) = self.pass_blocks(annotator, kernels, learning, &batch, passing);

        let decay = self.learning_rate(learning.rows_seen);
        learning.rows_seen += batch.rows;
        if let Some(dv) = dv {
            let gradient = self.shared_gradient(annotator, kernels, groups, tapes, &batch, &dv);
            self.shared_update(annotator, kernels, learning, &gradient, decay, batch.rows);
        }
        self.expert_update(annotator, kernels, learning, decay, batch.rows);
        loss
    }

    /// Everyone's activations and labels, in the order of groups.
    fn gather(
        &self,
        annotator: &Annotator,
        batch: &Batch,
        tapes: &[crate::model::shared::Tape],
    ) -> (Matrix, Labels) {
        let mut activations = Matrix::zeros(batch.rows, annotator.layers.outputs());
        let stride = activations.stride();
        let mine: Vec<f32> =
            tapes.iter().flat_map(|tape| tape.output().data.iter().copied()).collect();
        let counts: Vec<usize> = batch.runs.iter().map(|run| run.len() * stride).collect();
        self.comm.all_gather_v(&mine, &counts, &mut activations.data);
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
        let (experts, size) = (&annotator.experts, self.comm.size());
        let count = experts.layouts.len();
        let length = passing.activations.data.len();
        let runs = (0..size).map(|rank| owned(count, size, rank)).collect();
        let wanted = !annotator.layers.places.is_empty();
        let mut dv_sum = OrderedSum::new(self.comm, runs, length);
        let mut losses = vec![0.0; experts.own.len()];
        let blocks: Vec<usize> = experts.own.clone().collect();
        for turn in blocks.chunks(kernels.len()) {
            let first = turn[0] - experts.own.start;
            let mut parts: Vec<Vec<f32>> = match wanted {
                true => turn.iter().map(|_| dv_sum.room()).collect(),
                false => vec![Vec::new(); turn.len()],
            };
            let gradients = &mut learning.gradients[first..first + turn.len()];
            let places = parts.iter_mut().zip(gradients).zip(&mut losses[first..]);
            work_off(
                kernels,
                turn.iter().zip(places).collect(),
                |kernel, (block, ((dv, gradient), loss))| {
                    *loss = gradients_of(kernel, experts.block(*block), passing, gradient, dv);
                },
                &mut || (),
            );
            if wanted {
                parts.into_iter().for_each(|part| dv_sum.add(part));
            }
        }
        let stride = passing.activations.stride();
        let slices: Vec<Range<usize>> =
            batch.runs.iter().map(|run| run.start * stride..run.end * stride).collect();
        let dv = wanted.then(|| dv_sum.finish_scattered(self.comm, &slices));
        (total_over_blocks(self.comm, count, losses), dv)
    }

    /// Gradient of the shared layers, summed over the mini-batch, on every rank.
    fn shared_gradient(
        &self,
        annotator: &Annotator,
        kernels: &mut [Kernel],
        groups: &Blocks,
        tapes: Vec<crate::model::shared::Tape>,
        batch: &Batch,
        dv: &[f32],
    ) -> Vec<f32> {
        let size = self.comm.size();
        let runs = (0..size).map(|rank| owned(groups.len(), size, rank)).collect();
        let mut sum = OrderedSum::new(self.comm, runs, annotator.layers.parameters());
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
            let mut leaves: Vec<Vec<f32>> = turn.iter().map(|_| sum.room()).collect();
            work_off(
                kernels,
                turn.into_iter().zip(&mut leaves).collect(),
                |kernel, ((tape, dv, features), leaf)| {
                    let gemm = kernel.gemm();
                    let dx = annotator.layers.backward(gemm, &transposed, tape, dv, leaf);
                    if let (Features::Frames(frames), true) = (features, on_frames) {
                        annotator.frame_gradient(gemm, &transposed, frames, &dx, 0, true, leaf);
                    }
                },
                &mut || (),
            );
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
        let variables =
            annotator.layers.places.iter().flat_map(|place| [place.weights(), place.biases()]);
        for (variable, adam) in variables.zip(&mut learning.shared) {
            let gradient = &gradient[variable.clone()];
            let scale = self.clipped(square(gradient), rows);
            let weights = &mut annotator.shared[variable];
            adam.step(instructions, weights, gradient, rate, scale, (0.0, 0));
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
        let layouts = &experts.layouts[experts.own.clone()];
        let squares = layouts
            .iter()
            .zip(&learning.gradients)
            .map(|(layout, gradient)| squares_by_variable(layout, gradient))
            .collect();
        let squares = sums_over_blocks(self.comm, experts.layouts.len(), squares, EXPERT_VARIABLES);
        let scales = [0, 1, 2].map(|variable| self.clipped(squares[variable], rows));
        let l2 = self.job.l2;
        let items = layouts
            .iter()
            .zip(&mut experts.parameters)
            .zip(learning.gradients.iter_mut().zip(&mut learning.experts))
            .collect();
        work_off(
            kernels,
            items,
            |kernel, ((layout, parameters), (gradient, adam)): ((&Layout, &mut Arc<Vec<f32>>), _)| {
                let parameters = Arc::make_mut(parameters);
                let (gradient, adam): (&mut Vec<f32>, &mut Adam) = (gradient, adam);
                scale_by_variable(layout, gradient, scales);
                let instructions = kernel.gemm().instructions();
                adam.step(instructions, parameters, gradient, rate, 1.0, (l2, layout.biases()));
            },
            &mut || (),
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

/// Both gradients of one class block over the whole mini-batch, written anew; dL/dv only where `dv`
/// has room. Returns the loss.
fn gradients_of(
    kernel: &mut Kernel,
    block: Block,
    passing: Passing,
    gradient: &mut [f32],
    dv: &mut [f32],
) -> f64 {
    let rows = 0..passing.labels.rows();
    let mut losses = vec![0.0; block.layout.groups.len() * LANES];
    if dv.is_empty() {
        kernel.fresh_expert_gradient(block, passing, rows, gradient, &mut losses);
    } else {
        gradient.fill(0.0);
        dv.fill(0.0);
        let turned = transpose(block);
        kernel.both_gradients(block, &turned, passing, rows, gradient, dv, &mut losses);
    }
    losses.iter().sum()
}

fn square(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value) * f64::from(*value)).sum()
}

/// The variable of each panel of a block: 0 gates, 1 experts. (Biases are variable 2.)
fn variables(layout: &Layout) -> impl Iterator<Item = usize> + '_ {
    layout.groups.iter().flat_map(|group| layout.roles(group)).map(|role| match role {
        Role::Dummy | Role::Gate(_) => 0,
        Role::Expert(_) => 1,
    })
}

fn squares_by_variable(layout: &Layout, gradient: &[f32]) -> Vec<f64> {
    let (weights, biases) = gradient.split_at(layout.biases());
    let mut squares = vec![0.0, 0.0, square(biases)];
    let panels = weights.chunks_exact(layout.width * LANES);
    panels.zip(variables(layout)).for_each(|(panel, variable)| squares[variable] += square(panel));
    squares
}

fn scale_by_variable(layout: &Layout, gradient: &mut [f32], scales: [f32; EXPERT_VARIABLES]) {
    let (weights, biases) = gradient.split_at_mut(layout.biases());
    let panels = weights.chunks_exact_mut(layout.width * LANES);
    for (panel, variable) in panels.zip(variables(layout)) {
        panel.iter_mut().for_each(|slope| *slope *= scales[variable]);
    }
    biases.iter_mut().for_each(|slope| *slope *= scales[2]);
}
