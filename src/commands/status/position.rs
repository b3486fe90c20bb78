//! How far a run has come, by its events and its newest checkpoint.

use serde_json::Value;

use crate::job::Job;

/// A step of a run, in their order within a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Pretrain,
    Experts,
    Shared,
    Done,
}

impl Step {
    pub(super) fn name(self) -> &'static str {
        match self {
            Step::Pretrain => "pretrain",
            Step::Experts => "experts",
            Step::Shared => "shared",
            Step::Done => "done",
        }
    }

    /// What it is made of.
    pub(super) fn pieces(self) -> &'static str {
        match self {
            Step::Shared => "iterations",
            _ => "epochs",
        }
    }
}

/// The step under way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Position {
    pub(super) step: Step,
    /// 1, 2, ...; 0 while it pretrains.
    pub(super) round: usize,
    /// Epochs, or iterations, of it that are done.
    pub(super) done: usize,
}

/// Whether rounds have a shared step.
pub(super) fn has_shared_step(job: &Job) -> bool {
    let layers = !job.model.shared.is_empty() || !job.model.frames.is_empty();
    job.shared.iterations > 0 && layers
}

impl Position {
    /// Of a run that is finished.
    pub(super) fn done(job: &Job) -> Position {
        Position { step: Step::Done, round: job.rounds.count, done: 0 }
    }

    /// Where these events and the `standing` of a checkpoint leave a run: the further of both, as
    /// a step may end before its last epoch, which only the checkpoint says.
    pub(super) fn of(job: &Job, events: &[Value], standing: &Value) -> Position {
        let begun = match job.pretrain.epochs {
            0 => Position::begins(job, 1),
            _ => Position { step: Step::Pretrain, round: 0, done: 0 },
        };
        let by_events = events.last().and_then(|event| Position::after(job, event));
        let round = standing["round"].as_u64().unwrap_or(0) as usize;
        let step = match standing["step"].as_str() {
            Some("experts") => Some(Step::Experts),
            Some("shared") => Some(Step::Shared),
            Some("done") => Some(Step::Done),
            _ => None,
        };
        let by_checkpoint = step.map(|step| Position { step, round, done: 0 });
        // Done is behind all rounds.
        let order = |at: &Position| (at.step == Step::Done, at.round, at.step, at.done);
        let known = [Some(begun), by_events, by_checkpoint];
        known.into_iter().flatten().max_by_key(order).expect("where it begins")
    }

    fn begins(job: &Job, round: usize) -> Position {
        match round > job.rounds.count {
            true => Position::done(job),
            false => Position { step: Step::Experts, round, done: 0 },
        }
    }

    /// What comes after an event.
    fn after(job: &Job, event: &Value) -> Option<Position> {
        let number = |key: &str| event[key].as_u64().map(|number| number as usize);
        let round = number("round").unwrap_or(0);
        Some(match (event["step"].as_str()?, number("epoch"), number("iteration")) {
            ("pretrain", Some(done), _) if done < job.pretrain.epochs => {
                Position { step: Step::Pretrain, round: 0, done }
            }
            ("pretrain", ..) => Position::begins(job, 1),
            ("experts", Some(done), _) => Position { step: Step::Experts, round, done },
            ("experts", ..) if has_shared_step(job) => {
                Position { step: Step::Shared, round, done: 0 }
            }
            ("experts", ..) | ("shared", _, None) => Position::begins(job, round.saturating_add(1)),
            ("shared", _, Some(done)) => Position { step: Step::Shared, round, done },
            _ => return None,
        })
    }

    /// Epochs, or iterations, that its step has at most.
    pub(super) fn pieces(&self, job: &Job) -> usize {
        match self.step {
            Step::Pretrain => job.pretrain.epochs,
            Step::Experts => job.experts.epochs,
            Step::Shared => job.shared.iterations,
            Step::Done => 0,
        }
    }
}
