//! One mini-batch of pretraining. Where this rank's device fails it goes on with zeros until ranks
//! agree after the mini-batch, so that others aren't left in the middle of an exchange.

use std::borrow::Cow;
use std::ops::Range;

use super::mini_batches::Batch;
use super::odd_rows::{Stepped, odd_group};
use super::{Pretrain, PretrainCourse, variables_of};
use crate::comm::{Cargo, Comm, OrderedSum};
use crate::device::host_arithmetic::{all_finite, square};
use crate::device::{
    Arrived, Device, Dropout, FrameReader, FramesAgain, JointStep, Leaves, Piece, VARIABLES,
};
use crate::error::Result;
use crate::labels::Labels;
use crate::model::annotator::Annotator;
use crate::model::features::Features;
use crate::model::stride_of;
use crate::optim::Step;
use crate::train::block_sums::{sums_over_blocks, total_over_blocks};
use crate::train::first_error::FirstError;
use crate::train::shared::SHARED_GRADIENT;

impl Pretrain<'_> {
    /// One joint step of the ranks that learn, `comm`. Where the shared layers' gradient isn't
    /// finite they stay as they are.
    pub(super) fn step<D: Device>(
        &self,
        comm: &Comm,
        device: &mut D,
        annotator: &mut Annotator,
        course: &mut PretrainCourse<D>,
        batch: Batch,
    ) -> Stepped {
        let (mut first_error, width) = (FirstError::none(), annotator.layers.outputs());
        let network = device.network(annotator);
        let wave = first_error.keep(device.forward(&network, &mut pieces(&batch.groups)));
        let mut mine = Vec::new();
        if let Some(wave) = &wave {
            first_error.keep(device.outputs(wave, &mut mine));
        }
        mine.resize(own_rows(comm, &batch).len() * stride_of(width), 0.0);
        let mut odd = self.odd_activations(&batch, stride_of(width), &mine);
        let rows_seen = course.position.rows_seen;
        let dropout = self.dropout(rows_seen);
        self.leave_out(dropout, own_rows(comm, &batch), stride_of(width), &mut mine);
        let rows = first_error.keep(gather(comm, device, &batch, width, mine));
        let (loss, dv) =
            self.pass_blocks(device, annotator, course, &batch, rows, &mut first_error);
        let mut finite = loss.is_finite();

        let rate = self.learning_rate(rows_seen);
        course.position.rows_seen += batch.rows;
        let gradient = dv.map(|mut dv| {
            self.leave_out(dropout, own_rows(comm, &batch), stride_of(width), &mut dv);
            let length = annotator.layers.parameters();
            let runs = self.groups.owners.of_first(comm.size()).runs();
            let mut sum = OrderedSum::new(comm, SHARED_GRADIENT, runs, length);
            if let Some(mut wave) = wave {
                let (frames, leaves) = (FramesOf(&batch.groups), &mut SumLeaves(&mut sum));
                let given = device.give_slopes(&mut wave, &dv);
                let passed = given.and_then(|()| device.backward(&network, wave, &frames, leaves));
                first_error.keep(passed);
            }
            sum.leave_out();
            let gradient = sum.finish(comm);
            finite &= all_finite(&gradient);
            if !finite && odd.is_none() {
                let own =
                    first_error.keep(odd_group(device, &network, &batch, length, &dv)).flatten();
                odd = own.map(|own| format!("gradient of {}", self.groups.row_blocks_of(own)));
            }
            gradient
        });
        drop(network);
        if let (Some(gradient), true) = (gradient, finite) {
            first_error
                .keep(self.shared_update(device, annotator, course, &gradient, rate, batch.rows));
        }
        self.expert_update(device, annotator, course, rate, batch.rows, &mut first_error);
        Stepped { loss, finite, odd, outcome: first_error.outcome() }
    }

    /// What is left out of the mini-batch that comes after so many rows.
    fn dropout(&self, rows_seen: usize) -> Option<Dropout> {
        Dropout::of(self.job.dropout, self.seed, 1 << 47 | rows_seen as u64)
    }

    /// Leaves out of this rank's rows of the mini-batch, `stride` numbers each.
    fn leave_out(
        &self,
        dropout: Option<Dropout>,
        own: Range<usize>,
        stride: usize,
        mine: &mut [f32],
    ) {
        let Some(dropout) = dropout else { return };
        let rows = own.zip(mine.chunks_mut(stride));
        rows.for_each(|(row, numbers)| dropout.apply(row, numbers));
    }

    /// The first of this rank's groups whose activations, `stride` numbers a row, aren't finite.
    fn odd_activations(&self, batch: &Batch, stride: usize, mine: &[f32]) -> Option<String> {
        let mut rest = mine;
        let odd = batch.groups.iter().position(|(features, _)| {
            let (here, after) = rest.split_at(features.rows() * stride);
            rest = after;
            !all_finite(here)
        });
        odd.map(|own| format!("activations of {}", self.groups.row_blocks_of(own)))
    }

    /// The mini-batch passes all class blocks: their gradients stay here, dL/dv of this rank's rows
    /// comes home (where there are shared layers), and the loss is returned.
    fn pass_blocks<D: Device>(
        &self,
        device: &mut D,
        annotator: &Annotator,
        course: &mut PretrainCourse<D>,
        batch: &Batch,
        rows: Option<D::Rows>,
        first_error: &mut FirstError,
    ) -> (f64, Option<Vec<f32>>) {
        let comm = self.learners.comm().expect("a rank that learns");
        let owners = &annotator.experts.owners.of_first(comm.size());
        let stride = stride_of(annotator.layers.outputs());
        let mut dv = (!annotator.layers.places.is_empty()).then(|| {
            let length = batch.rows * stride;
            OrderedSum::new(comm, "gradient of activations", owners.runs(), length)
        });
        let losses = rows.and_then(|rows| {
            let mut leaves = dv.as_mut().map(SumLeaves);
            let slopes = leaves.as_mut().map(|leaves| leaves as &mut dyn Leaves);
            first_error.keep(device.gradients(&mut course.blocks, &rows, slopes))
        });
        let dv = dv.map(|mut sum| {
            sum.leave_out();
            let slices = batch.runs.iter().map(|run| run.start * stride..run.end * stride);
            sum.finish_scattered(comm, &slices.collect::<Vec<_>>())
        });
        let losses = losses.map(|blocks| blocks.iter().map(|own| own.iter().sum()).collect());
        let losses = losses.unwrap_or_else(|| vec![0.0; owners.own().len()]);
        (total_over_blocks(comm, owners, losses), dv)
    }

    fn shared_update<D: Device>(
        &self,
        device: &mut D,
        annotator: &mut Annotator,
        course: &mut PretrainCourse<D>,
        gradient: &[f32],
        rate: f32,
        rows: usize,
    ) -> Result<()> {
        let variables: Vec<_> = variables_of(annotator).collect();
        for (variable, adam) in variables.into_iter().zip(&mut course.shared) {
            let gradient = &gradient[variable.clone()];
            let scale = self.clipped(square(gradient), rows);
            let weights = &mut annotator.shared[variable];
            let step = Step { learning_rate: rate, scale, l2: 0.0, decayed: 0 };
            device.step_shared(weights, adam, gradient, step)?;
        }
        Ok(())
    }

    fn expert_update<D: Device>(
        &self,
        device: &mut D,
        annotator: &Annotator,
        course: &mut PretrainCourse<D>,
        rate: f32,
        rows: usize,
        first_error: &mut FirstError,
    ) {
        let comm = self.learners.comm().expect("a rank that learns");
        let owners = &annotator.experts.owners.of_first(comm.size());
        let squares = first_error.keep(device.squares(&course.blocks));
        let squares = squares.unwrap_or_else(|| vec![[0.0; VARIABLES]; owners.own().len()]);
        let squares = squares.into_iter().map(Vec::from).collect();
        let squares = sums_over_blocks(comm, owners, squares, VARIABLES);
        let scales = std::array::from_fn(|variable| self.clipped(squares[variable], rows));
        let step = JointStep { learning_rate: rate, l2: self.job.l2, scales };
        first_error.keep(device.step(&mut course.blocks, &step));
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

/// This rank's rows of the mini-batch.
fn own_rows(comm: &Comm, batch: &Batch) -> Range<usize> {
    batch.runs[comm.rank()].clone()
}

/// Brings everyone's activations, less what is left out, and labels to the device, in the order
/// of groups. `mine` are this rank's.
fn gather<D: Device>(
    comm: &Comm,
    device: &mut D,
    batch: &Batch,
    width: usize,
    mine: Vec<f32>,
) -> Result<D::Rows> {
    let stride = stride_of(width);
    let counts: Vec<usize> = batch.runs.iter().map(|run| run.len() * stride).collect();
    let numbers = comm.all_gather_v("activations of a mini-batch", mine, &counts);
    let mut words = Vec::new();
    for (_, labels) in &batch.groups {
        for row in 0..labels.rows() {
            words.push(labels.row(row).len() as u32);
            words.extend_from_slice(labels.row(row));
        }
    }
    comm.carries(Cargo::Labels { numbers: &counts, stride });
    let words = comm.all_gather_any(&words).concat();
    let (mut labels, mut at) = (Labels::new(), 0);
    while at < words.len() {
        let end = at + 1 + words[at] as usize;
        labels.push(&words[at + 1..end]);
        at = end;
    }
    let put = &mut |to: &mut [f32], to_labels: &mut Labels| {
        to.copy_from_slice(&numbers);
        *to_labels = std::mem::take(&mut labels);
    };
    device.bring(Arrived { first: 0, rows: batch.rows, width, put }, None)
}

/// The groups on their way into the network.
fn pieces(groups: &[(Features, Labels)]) -> impl Iterator<Item = Result<Piece>> + '_ {
    groups.iter().map(|(features, _)| {
        Ok(Piece { features: features.clone(), labels: Labels::new(), last: true })
    })
}

/// The frames of a mini-batch's groups, which are still in memory.
pub(super) struct FramesOf<'a>(pub(crate) &'a [(Features, Labels)]);

impl FramesAgain for FramesOf<'_> {
    fn reader(&self) -> FrameReader<'_> {
        Box::new(|group, _| Ok(Cow::Borrowed(&self.0[group].0)))
    }
}

/// Leaves of an ordered sum.
struct SumLeaves<'a>(&'a mut OrderedSum<f32>);

impl Leaves for SumLeaves<'_> {
    fn room(&mut self) -> Result<Vec<f32>> {
        Ok(self.0.room())
    }

    fn next(&self) -> usize {
        self.0.next()
    }

    fn add_sum(&mut self, leaves: usize, sum: Vec<f32>) {
        self.0.add_sum(leaves, sum);
    }
}
