//! Validation: events with metrics, and the best model so far.

use serde_json::{Value, json};

use super::state::State;
use crate::comm::Comm;
use crate::device::Device;
use crate::error::Result;
use crate::inference::class_table::ByClass;
use crate::inference::scores::{evaluate, evaluate_by_class, evaluate_with_classes};
use crate::metrics::Metrics;
use crate::model::annotator::Annotator;
use crate::report::{LastValidation, REPORTED_TIMER, ValidatedClass};

/// From which score on a class counts as predicted in what the run directory keeps of classes.
const THRESHOLD: f32 = 0.5;

/// The best model of those that were offered.
pub(crate) struct Best {
    pub(crate) model: Option<Annotator>,
    /// Its GAP@20 on the validation rows, or without such rows its training loss below zero.
    pub(crate) score: f64,
}

impl Default for Best {
    fn default() -> Best {
        Best { model: None, score: f64::NEG_INFINITY }
    }
}

impl Best {
    /// Takes this model as the best.
    pub(crate) fn keep(&mut self, annotator: &Annotator, score: f64) {
        (self.model, self.score) = (Some(annotator.clone()), score);
    }

    /// Takes this model where its GAP@20 is the best so far; whether it is.
    fn take(&mut self, annotator: &Annotator, metrics: &Metrics) -> bool {
        let better = metrics.gap_at_20 > self.score;
        if better {
            self.keep(annotator, metrics.gap_at_20);
        }
        better
    }
}

impl<D: Device> State<'_, D> {
    /// Reports an event, and keeps its loss, if it has one, as the last.
    pub(crate) fn tell(&mut self, event: Value) {
        self.add_waits(&event["step"]);
        self.report.event(&event);
        self.standing.last_loss = event["loss"].as_f64().unwrap_or(self.standing.last_loss);
    }

    /// What this rank has waited since the event before, for others and for rows, is of the step of
    /// this one.
    fn add_waits(&mut self, step: &Value) {
        let step = step.as_str().unwrap_or("other");
        let (waited, timers) = (self.setting.comm.traffic().wait_seconds, &mut self.report.timers);
        timers.add_rest(step, "communication wait", waited);
        timers.add_rest(step, "input wait", self.setting.data.wait_seconds());
    }

    /// Counts the time since the last event for the step in which the run is told to stop.
    pub(crate) fn end_within(&mut self, step: &str) {
        self.add_waits(&step.into());
        self.report.add_since_last(step);
    }

    /// Validates, and counts the time.
    fn timed<T>(&mut self, validate: impl FnOnce(&Comm, &mut D) -> Result<T>) -> Result<T> {
        let started = self.clock().now();
        let found = validate(self.setting.comm, &mut self.device)?;
        let took = self.clock().since(started);
        self.report.timers.add("validation", took.as_secs_f64());
        Ok(found)
    }

    /// Reports an event with what validation says of the model, which decides nothing: the hash of
    /// all events is as if nobody had looked.
    ///
    /// # Errors
    /// What reading rows gives; exit 75 when told to stop; common to all ranks.
    pub(crate) fn report_on(&mut self, annotator: &Annotator, event: Value) -> Result<()> {
        let Some(rows) = self.setting.data.validation.clone() else {
            self.tell(event);
            return Ok(());
        };
        let started = self.clock().now();
        let metrics = self.timed(|comm, device| evaluate(comm, annotator, &rows, device))?;
        let took = self.clock().since(started);
        self.report.timers.add(REPORTED_TIMER, took.as_secs_f64());
        self.add_waits(&event["step"]);
        self.report.event_beside(&event, json!({ "validation": metrics }));
        self.standing.last_loss = event["loss"].as_f64().unwrap_or(self.standing.last_loss);
        Ok(())
    }

    /// Offers the model to the run's best one, as `offer` does, and leaves what stands behind the
    /// metrics, class by class, in the run directory.
    ///
    /// # Errors
    /// As `offer`.
    pub(crate) fn validate(&mut self, annotator: &Annotator, mut event: Value) -> Result<bool> {
        let Some(rows) = self.setting.data.validation.clone() else {
            return Ok(self.without_validation(annotator, event));
        };
        let (metrics, found) = self.timed(|comm, device| {
            evaluate_with_classes(comm, annotator, &rows, device, THRESHOLD)
        })?;
        event["validation"] = json!(metrics);
        self.tell(event.clone());
        self.keep_classes(event, rows.rows(), found);
        Ok(self.best.take(annotator, &metrics))
    }

    /// Leaves what a validation has found of classes; `event` has its metrics.
    fn keep_classes(&mut self, event: Value, rows: usize, found: ByClass) {
        if !self.setting.comm.is_root() {
            return;
        }
        let names = self.setting.data.names();
        self.report.validated(|| {
            let classes = found.figures.iter().enumerate().map(|(class, figures)| {
                ValidatedClass::new(names.map_or("", |names| names.of(class)), figures)
            });
            LastValidation {
                event,
                videos: rows as u64,
                threshold: THRESHOLD,
                curve: found.curve,
                calibration: found.calibration,
                classes: classes.collect(),
            }
        });
    }

    /// Tells of a model where there are no validation rows: the last one counts as the best.
    fn without_validation(&mut self, annotator: &Annotator, event: Value) -> bool {
        let mut best = std::mem::take(&mut self.best);
        let better = self.take_last(annotator, &mut best, event);
        self.best = best;
        better
    }

    fn take_last(&mut self, annotator: &Annotator, best: &mut Best, event: Value) -> bool {
        self.tell(event);
        let score = -self.standing.last_loss;
        let better = score > best.score;
        best.keep(annotator, score);
        better
    }

    /// Evaluates the model on the validation rows, tells of it and keeps it in `best` if it is
    /// better; without validation rows the last one counts as the best. Returns whether it was
    /// better.
    ///
    /// # Errors
    /// What reading rows gives; exit 75 when told to stop; common to all ranks.
    pub(crate) fn offer(
        &mut self,
        annotator: &Annotator,
        best: &mut Best,
        mut event: Value,
    ) -> Result<bool> {
        let Some(rows) = self.setting.data.validation.clone() else {
            return Ok(self.take_last(annotator, best, event));
        };
        let metrics = self.timed(|comm, device| evaluate(comm, annotator, &rows, device))?;
        event["validation"] = json!(metrics);
        self.tell(event);
        Ok(best.take(annotator, &metrics))
    }

    /// Evaluates the model on the validation rows, of which there are some, and tells of it.
    /// Returns the loss of each class summed over them.
    ///
    /// # Errors
    /// What reading rows gives; exit 75 when told to stop; common to all ranks.
    pub(crate) fn offer_classes(
        &mut self,
        annotator: &Annotator,
        mut event: Value,
    ) -> Result<Vec<f64>> {
        let rows = self.setting.data.validation.clone().expect("the job was checked for it");
        let (metrics, losses) =
            self.timed(|comm, device| evaluate_by_class(comm, annotator, &rows, device))?;
        event["validation"] = json!(metrics);
        self.tell(event);
        Ok(losses)
    }
}
