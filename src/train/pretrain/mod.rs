//! Pretraining (docs/method.md, section 4.1): everything is learned, jointly, by mini-batch Adam
//! with a small mixture.
//!
//! A mini-batch is a fixed number of groups of row blocks, each giving its share of rows; a rank
//! runs whole groups. Activations go to all ranks, each class block takes its step and gives its
//! part of dL/dv, which goes home (summed in order over class blocks), and the shared layers'
//! gradients are summed in order over groups. What dropout leaves out of an activation it leaves
//! out of that activation's gradient.
//!
//! All of that is among the ranks that learn (`ranks.rs`). The others are in the exchanges of all
//! ranks alone: agreements, boundaries, an epoch's end.

mod mini_batches;
mod odd_rows;
mod ranks;
mod restore;
mod step;

use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::json;

use self::mini_batches::Batch;
pub(crate) use self::mini_batches::RowGroups;
use self::odd_rows::Stepped;
pub(crate) use self::ranks::{Learners, learner_count, learners_of};
use super::finite::{check_among, not_finite};
use super::held_blocks::{hide, hold, show};
use super::shared::SHARED_GRADIENT;
use super::state::State;
use super::stints::PRETRAINING;
use crate::comm::Comm;
use crate::device::{Device, Joint};
use crate::error::{Error, Result};
use crate::job::PretrainJob;
use crate::model::annotator::Annotator;
use crate::optim::MiniBatch;
use crate::optim::adam::Adam;
use crate::stint::{Length, Stint};

/// What pretraining works on.
pub(crate) struct Pretrain<'a> {
    /// All ranks.
    pub(crate) comm: &'a Comm,
    pub(crate) learners: Learners<'a>,
    pub(crate) job: &'a PretrainJob,
    pub(crate) seed: u64,
    pub(crate) groups: RowGroups<'a>,
}

/// Where pretraining stands, and what it learns with besides the annotator's weights.
pub(crate) struct PretrainCourse<D: Device> {
    position: NextMiniBatch,
    /// Adam's state of each variable of the shared layers.
    shared: Vec<Adam>,
    blocks: D::Blocks<Joint>,
    /// Whether this rank's shared layers are those of now, or it waits for them.
    learns: bool,
}

/// The mini-batch that comes next.
#[derive(Clone, Default, Serialize, Deserialize)]
struct NextMiniBatch {
    epoch: usize,
    step: usize,
    /// Loss, summed over the rows of the epoch so far.
    loss: f64,
    /// Rows of all mini-batches so far, over all epochs.
    rows_seen: usize,
    /// Epochs without a better validation.
    without: usize,
    done: bool,
}

impl<D: Device> PretrainCourse<D> {
    /// Before the first mini-batch.
    ///
    /// # Errors
    /// The device is lost or full.
    pub(crate) fn new(device: &mut D, annotator: &Annotator) -> Result<PretrainCourse<D>> {
        let variables = variables_of(annotator);
        let shared = variables.map(|variable| MiniBatch::new(variable.len())).collect();
        let states = annotator.experts.own_layouts().iter().map(Joint::new).collect();
        let blocks = hold(device, &annotator.experts, states)?;
        Ok(PretrainCourse { position: NextMiniBatch::default(), shared, blocks, learns: true })
    }
}

/// Where the variables of the shared layers lie: each layer's weights and its biases.
fn variables_of(annotator: &Annotator) -> impl Iterator<Item = Range<usize>> + '_ {
    annotator.layers.places.iter().flat_map(|place| [place.weights(), place.biases()])
}

impl Pretrain<'_> {
    /// Trains `annotator` from where `course` stands until validation stops improving. Meanwhile
    /// the device alone has the own class blocks.
    ///
    /// # Errors
    /// What reading rows, the device and validating give; exit 75 when told to stop, with
    /// `annotator` and `course` between two mini-batches.
    pub(crate) fn run<D: Device>(
        &self,
        state: &mut State<D>,
        annotator: &mut Annotator,
        course: &mut PretrainCourse<D>,
    ) -> Result<()> {
        course.learns = self.learners.comm().is_some();
        hide(&mut annotator.experts);
        let stint = self.stint(&course.position);
        let mut outcome = Ok(());
        while outcome.is_ok() && !course.position.done {
            outcome = self.epoch(state, annotator, course, &stint);
        }
        let shown = show(&state.device, &course.blocks, &mut annotator.experts);
        // After any other error some ranks may call nothing more, so no collective may follow.
        if outcome.as_ref().err().is_none_or(Error::is_stop) {
            self.comm.agree(shown)?;
        }
        outcome
    }

    /// What is left, as a user sees it.
    fn stint(&self, next: &NextMiniBatch) -> Stint {
        let (epochs, rows) = (self.job.epochs as u64, self.groups.rows.rows() as u64);
        let whole = epochs * self.groups.steps() as u64;
        let (parts, amount) = ((epochs, "epoch"), (epochs * rows, "rows"));
        let length = Length { whole, before: self.passed(next), parts, amount };
        Stint::begin(PRETRAINING, "pretraining", length)
    }

    /// Mini-batches before this one, of all epochs.
    fn passed(&self, next: &NextMiniBatch) -> u64 {
        (next.epoch * self.groups.steps() + next.step) as u64
    }

    /// The mini-batches that are left of an epoch.
    fn epoch<D: Device>(
        &self,
        state: &mut State<D>,
        annotator: &mut Annotator,
        course: &mut PretrainCourse<D>,
        stint: &Stint,
    ) -> Result<()> {
        let NextMiniBatch { epoch, step: first, .. } = course.position;
        let mut batches = self.groups.batches(epoch, first..self.groups.steps());
        let mut next = self.comm.agree(batches.next().transpose())?;
        while let Some(batch) = next {
            let stepped = match self.learners.comm() {
                Some(comm) => self.step(comm, &mut state.device, annotator, course, batch),
                None => wait(course, &batch),
            };
            let Stepped { loss, finite, odd, outcome } = stepped;
            let step = course.position.step + 1;
            let place = || format!("pretrain, epoch {}, mini-batch {step}", epoch + 1);
            // Infinite activations can give a finite loss; only their rank knows of them.
            let finite = match odd {
                odd if !finite => {
                    let shown = show(&state.device, &course.blocks, &mut annotator.experts);
                    // Those that wait don't know of it before the boundary.
                    let comm = self.learners.comm().expect("a rank that learns");
                    check_among(comm, outcome.and(shown), &place(), annotator, loss, odd)
                        .and_then(|()| Err(not_finite(&place(), SHARED_GRADIENT, loss)))
                }
                Some(odd) => outcome.and(Err(not_finite(&place(), &odd, loss))),
                None => outcome,
            };
            course.position.loss += loss;
            course.position.step += 1;
            stint.reach(self.passed(&course.position));
            let read = finite.and_then(|()| batches.next().transpose());
            next = state.boundary_after(read, annotator, course)?;
        }
        drop(batches);
        self.tell_those_that_wait(annotator, course);
        let total = self.groups.rows.rows();
        let loss = course.position.loss / total as f64;
        let shown = show(&state.device, &course.blocks, &mut annotator.experts);
        let place = format!("pretrain, epoch {}", epoch + 1);
        state.check_after(shown, &place, annotator, loss, None)?;
        let event = json!({ "step": "pretrain", "epoch": epoch + 1, "loss": loss });
        let better = state.validate(annotator, event)?;
        hide(&mut annotator.experts);
        let position = &mut course.position;
        position.without = if better { 0 } else { position.without + 1 };
        position.done = epoch + 1 == self.job.epochs
            || self.job.patience > 0 && position.without >= self.job.patience;
        (position.epoch, position.step, position.loss) = (epoch + 1, 0, 0.0);
        Ok(())
    }

    /// What an epoch has come to goes to the ranks that don't learn: the shared layers, and the
    /// loss. Collective.
    fn tell_those_that_wait<D: Device>(
        &self,
        annotator: &mut Annotator,
        course: &mut PretrainCourse<D>,
    ) {
        if self.learners.are_some() {
            self.comm.broadcast(0, &mut annotator.shared);
            let mut loss = [course.position.loss];
            self.comm.broadcast(0, &mut loss);
            course.position.loss = loss[0];
        }
    }
}

/// A mini-batch of others: it is counted.
fn wait<D: Device>(course: &mut PretrainCourse<D>, batch: &Batch) -> Stepped {
    course.position.rows_seen += batch.rows;
    Stepped { loss: 0.0, finite: true, odd: None, outcome: Ok(()) }
}
