//! Stage 1, the expert step (docs/method.md, section 4.2): shared layers frozen, activations travel
//! past the class blocks, which stay with their owner rank and learn. No gradient crosses ranks,
//! unless several rows of ranks have the same blocks (`column`).

mod column;
mod column_passes;
mod course;
mod early_stopping;
mod held;
mod restore;
mod window_waits;

use std::ops::Range;

use serde_json::json;

pub(crate) use self::column::InColumn;
pub(crate) use self::course::ExpertsCourse;
use self::course::{NextWindow, OwnBlocks, StepUnderWay};
use self::held::{ByBatches, ByPasses, Held};
use self::window_waits::WindowWaits;
use super::block_sums::total_over_blocks;
use super::first_error::FirstError;
use super::held_blocks::hide;
use super::state::State;
use crate::comm::Comm;
use crate::device::{Device, Dropout, Learn, Negatives, Pace};
use crate::error::{Error, Result};
use crate::flow::own_rows::OwnRows;
use crate::flow::windows::{Order, Travel};
use crate::job::ExpertsJob;
use crate::model::annotator::Annotator;
use crate::partition::Grid;
use crate::rng::{Permutation, Purpose};
use crate::stint::Stint;

/// What an expert step works on.
pub(crate) struct ExpertStep<'a> {
    pub(crate) comm: &'a Comm,
    pub(crate) job: &'a ExpertsJob,
    pub(crate) seed: u64,
    /// Round 1, 2, ...: part of what the order of rows is drawn from.
    pub(crate) round: usize,
    /// This rank's rows.
    pub(crate) own: &'a OwnRows,
    /// The rows of each rank.
    pub(crate) runs: &'a [Range<usize>],
    /// Which ranks take which of them.
    pub(crate) grid: &'a Grid,
    /// The step as a user sees it.
    pub(crate) stint: Stint,
}

impl ExpertStep<'_> {
    /// Trains the mixtures of `model` from where `course` stands to the end of the step.
    ///
    /// # Errors
    /// What reading back activations, the device and validating give; exit 75 when told to stop,
    /// with `model` and `course` where they can go on.
    pub(crate) fn run<D: Device>(
        &self,
        state: &mut State<D>,
        model: &mut Annotator,
        course: &mut ExpertsCourse<D>,
    ) -> Result<()> {
        let ExpertsCourse { position, blocks, best } = course;
        match blocks {
            OwnBlocks::MiniBatch(held) => {
                let mut going = StepUnderWay { position, held, best };
                self.go(state, model, &mut going, ExpertStep::epoch)?;
            }
            OwnBlocks::Column(held) => {
                let mut going = StepUnderWay { position, held: &mut **held, best };
                self.go(state, model, &mut going, ExpertStep::epoch)?;
            }
            OwnBlocks::FullBatch(held) => {
                let mut going = StepUnderWay { position, held, best };
                self.go(state, model, &mut going, ExpertStep::pass)?;
            }
            OwnBlocks::ColumnPasses(held) => {
                let mut going = StepUnderWay { position, held: &mut **held, best };
                self.go(state, model, &mut going, ExpertStep::pass)?;
            }
            OwnBlocks::Done => {}
        }
        course.blocks = OwnBlocks::Done;
        Ok(())
    }

    /// Runs one epoch, or pass, after the other until the step is done. Meanwhile only the device
    /// has this rank's class blocks.
    fn go<D: Device, H: Held<D>>(
        &self,
        state: &mut State<D>,
        model: &mut Annotator,
        going: &mut StepUnderWay<H>,
        piece: impl Fn(&Self, &mut State<D>, &mut Annotator, &mut StepUnderWay<H>) -> Result<()>,
    ) -> Result<()> {
        hide(&mut model.experts);
        let mut outcome = Ok(());
        while outcome.is_ok() && !going.position.done {
            outcome = piece(self, state, model, going);
        }
        let shown = going.held.show(&state.device, &mut model.experts);
        // After any other error some ranks may call nothing more, so no collective may follow.
        if outcome.as_ref().err().is_none_or(Error::is_stop) {
            self.comm.agree(shown)?;
        }
        outcome
    }

    /// What an error calls an epoch.
    fn place(&self, epoch: usize) -> String {
        format!("expert step, round {}, epoch {}", self.round, epoch + 1)
    }

    fn total_rows(&self) -> usize {
        self.runs.last().expect("a run for each rank").end
    }

    fn travel(&self, order: Order, dropout: Option<Dropout>) -> Travel<'_> {
        let ExpertStep { comm, job, own, runs, grid, .. } = *self;
        let (batch, window) = (job.batch, job.window_rows());
        Travel { comm, own, runs, order, grid, batch, window, dropout }
    }

    /// Number of rows that have passed before an epoch begins.
    fn first(&self, epoch: usize) -> u64 {
        ((self.round * self.job.epochs + epoch) * self.total_rows()) as u64
    }

    /// What is left out of the rows of an epoch.
    fn dropout(&self, epoch: usize) -> Option<Dropout> {
        Dropout::of(self.job.dropout, self.seed, self.first(epoch))
    }

    /// Which rows class blocks without a label of theirs learn from in an epoch.
    fn negatives(&self, epoch: usize, class_count: usize) -> Option<Negatives> {
        let (share, seed, first) = (self.job.negatives, self.seed, self.first(epoch));
        (share < 1.0).then_some(Negatives { share, seed, first, class_count })
    }

    /// Every row once, in mini-batches.
    fn epoch<D: Device, H: ByBatches<D>>(
        &self,
        state: &mut State<D>,
        model: &mut Annotator,
        going: &mut StepUnderWay<H>,
    ) -> Result<()> {
        let (epoch, rows) = (going.position.epoch, self.total_rows());
        let stream = (self.round << 20 | epoch) as u64;
        let order = Permutation::new(self.seed, Purpose::RowOrder, stream, rows);
        let travel = self.travel(Order::Shuffled(order), self.dropout(epoch));
        let mut windows = self.comm.agree(travel.windows(going.position.rows))?;
        let ExpertsJob { batch, row_slices: slices, learning_rate, l2, .. } = *self.job;
        let negatives = self.negatives(epoch, model.shape.class_count);
        let how = Learn { batch, slices, learning_rate, l2, negatives };
        let mut waits = WindowWaits::begin(self.comm);
        loop {
            let (held, from) = (&mut *going.held, going.position.rows);
            let positions = from..rows.min(from + self.job.window_rows());
            let passed = windows.pass(&mut state.device, |device, rows, pace| {
                held.learn(device, rows, positions.clone(), &how, pace)
            });
            // All ranks come to the last window at once.
            let Some(passed) = passed.transpose() else { break };
            // The position is set before a stop returns, since blocks may have been left behind in
            // this window.
            going.position.rows = state.boundary_after(passed, model, going)?;
            waits.passed(self.comm);
            self.stint.reach(going.position.passed(rows));
        }
        waits.end(self.comm, &mut state.report.timers);
        let loss = self.checked_loss(state, model, going)?;
        // The average is what is validated, and what the step leaves at its end.
        let swapped = going.held.swap_averages(&mut state.device);
        let shown = swapped.and_then(|()| going.held.show(&state.device, &mut model.experts));
        let go_on = self.comm.agree(shown);
        let go_on = go_on.and_then(|()| self.tell(loss / rows as f64, state, model, going));
        hide(&mut model.experts);
        let (device, held, mut first_error) =
            (&mut state.device, &mut going.held, FirstError::none());
        let go_on = match go_on {
            Ok(go_on) => go_on,
            Err(error) => {
                // After any other error some ranks may call nothing more.
                if error.is_stop() {
                    first_error.keep(held.swap_averages(device));
                }
                return Err(error);
            }
        };
        first_error.keep(held.end_epoch(device, self.job.tolerance));
        let left = first_error.keep(held.left(device)).unwrap_or(0);
        self.next(going.position, go_on, left);
        first_error.keep(match going.position.done {
            true => held.put_back(device, &mut model.experts, true),
            false => held.swap_averages(device),
        });
        self.comm.agree(first_error.outcome())
    }

    /// Every row past every class block, whose classes then take a step of their searches.
    fn pass<D: Device, H: ByPasses<D>>(
        &self,
        state: &mut State<D>,
        model: &mut Annotator,
        going: &mut StepUnderWay<H>,
    ) -> Result<()> {
        if going.position.rows == 0 {
            self.search(state, going)?;
            going.position.rows = self.total_rows();
        }
        let loss = self.checked_loss(state, model, going)?;
        let go_on = self.tell(loss, state, model, going)?;
        hide(&mut model.experts);
        let (device, held, mut first_error) =
            (&mut state.device, &mut going.held, FirstError::none());
        let left = first_error.keep(held.left(device)).unwrap_or(0);
        self.next(going.position, go_on, left);
        if going.position.done {
            first_error.keep(held.settle(device));
            first_error.keep(held.put_back(device, &mut model.experts, true));
        }
        state.boundary_after(first_error.outcome(), model, going)
    }

    /// The pass itself. Where it is stopped in the middle, nothing of it is kept.
    fn search<D: Device, H: ByPasses<D>>(
        &self,
        state: &mut State<D>,
        going: &mut StepUnderWay<H>,
    ) -> Result<()> {
        let (device, held) = (&mut state.device, &mut *going.held);
        let travel = self.travel(Order::Natural, None);
        let mut windows = self.comm.agree(travel.windows(0))?;
        let all = (self.total_rows(), self.job.row_slices);
        let before = going.position.passed(all.0);
        let mut waits = WindowWaits::begin(self.comm);
        loop {
            let visit = |device: &mut D, rows: &D::Rows, pace: &mut Pace| {
                held.evaluate(device, rows, all, pace)
            };
            let Some(passed) = windows.pass(device, visit).transpose() else { break };
            let outcome = passed.and_then(|passed| {
                self.stint.reach(before + passed as u64);
                self.comm.unless_stopped()
            });
            if let Err(error) = self.comm.agree(outcome) {
                held.forget(device)?;
                return Err(error);
            }
            waits.passed(self.comm);
        }
        waits.end(self.comm, &mut state.report.timers);
        self.comm.agree(held.advance(device, self.total_rows(), self.job))
    }

    /// The loss over all class blocks, once it and the model are known to be finite. The model has
    /// this rank's class blocks meanwhile.
    fn checked_loss<D: Device, H: Held<D>>(
        &self,
        state: &mut State<D>,
        model: &mut Annotator,
        going: &mut StepUnderWay<H>,
    ) -> Result<f64> {
        let mut first_error = FirstError::none();
        let losses = first_error.keep(going.held.class_losses(&mut state.device));
        let losses =
            losses.map(|blocks| blocks.iter().map(|classes| classes.iter().sum()).collect());
        let losses = losses.unwrap_or_else(|| vec![0.0; model.experts.own().len()]);
        let loss = total_over_blocks(self.comm, &model.experts.owners, losses);
        first_error.keep(going.held.show(&state.device, &mut model.experts));
        let place = self.place(going.position.epoch);
        state.check_after(first_error.outcome(), &place, model, loss, None)?;
        Ok(loss)
    }

    /// Goes to the next epoch or pass, or ends the step: where `go_on` is false, or no rank has a
    /// class block left that learns.
    fn next(&self, position: &mut NextWindow, go_on: bool, left: usize) {
        let anyone = self.comm.max(left as u64) > 0;
        (position.epoch, position.rows) = (position.epoch + 1, 0);
        position.done = !go_on || !anyone || position.epoch == self.job.epochs;
    }

    /// Tells of an epoch, or of a pass; returns whether to go on, as far as validation says. The
    /// model is shown.
    fn tell<D: Device, H: Held<D>>(
        &self,
        loss: f64,
        state: &mut State<D>,
        model: &mut Annotator,
        going: &mut StepUnderWay<H>,
    ) -> Result<bool> {
        let epoch = going.position.epoch + 1;
        let event = json!({ "step": "experts", "round": self.round, "epoch": epoch, "loss": loss });
        if self.job.class_patience > 0 {
            let held = &mut going.held;
            let put_back = held.put_back(&mut state.device, &mut model.experts, false);
            let shown = put_back.and_then(|()| held.show(&state.device, &mut model.experts));
            self.comm.agree(shown)?;
            let losses = state.offer_classes(model, event)?;
            let stopped = held.take_losses(&mut state.device, &mut model.experts, &losses);
            self.comm.agree(stopped)?;
            return Ok(true);
        }
        if self.job.patience == 0 {
            let every = self.job.validate_every;
            match every > 0 && epoch.is_multiple_of(every) {
                true => state.report_on(model, event)?,
                false => state.tell(event),
            }
            return Ok(true);
        }
        let better = state.offer(model, going.best, event)?;
        let position = &mut going.position;
        position.without = if better { 0 } else { position.without + 1 };
        Ok(position.without < self.job.patience)
    }
}
