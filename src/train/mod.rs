//! Training: prolog, pretrain, rounds of expert step and shared step, epilog (method.md, section
//! 4).

mod expert_step;
mod groups;
mod losses;
pub mod memory;
mod pretrain;
mod shared_step;
mod state;

use serde_json::json;

use crate::comm::Comm;
use crate::error::Result;
use crate::job::Job;
use crate::optim::irprop::{Irprop, Steps};
use crate::report::Report;

use expert_step::ExpertStep;
use pretrain::Pretrain;
use shared_step::SharedStep;
use state::{Best, State};
pub use state::{Data, instructions, kernels, plan, shape_of};

use crate::model::annotator::Annotator;

/// What a training run ends with.
pub struct Trained {
    /// The best model by validation where there is one, else the last.
    pub annotator: Annotator,
    /// Why it stopped.
    pub reason: String,
}

/// Trains as `job` says, on this rank's share. Every rank calls it.
///
/// # Errors
/// What reading rows gives; exit 7 where the loss is no number.
pub fn train(comm: &Comm, job: &Job, data: Data, report: &mut Report) -> Result<Trained> {
    let rows = data.clone();
    let mut state = State::new(comm, job, data, report)?;
    let mut best = Best::new(state.initial());

    if job.pretrain.epochs > 0 {
        pretrain(&mut state, &mut best)?;
    }
    let mut reason = format!("{} rounds done", job.rounds.count);
    for round in 1..=job.rounds.count {
        let before = best.score;
        state.report.phase(&format!("round {round}/{}", job.rounds.count));
        expert_step(&mut state, &mut best, round)?;
        if job.shared.iterations > 0 && !best.last.layers.places.is_empty() {
            shared_step(&mut state, &mut best, round)?;
        }
        best.rounds_without += 1;
        if best.score > before {
            best.rounds_without = 0;
        }
        if job.rounds.patience > 0 && best.rounds_without >= job.rounds.patience {
            reason = format!("no better validation in {} rounds", job.rounds.patience);
            break;
        }
    }
    state.report.timers.add("input wait", rows.wait_seconds());
    Ok(Trained { annotator: best.into_annotator(), reason })
}

/// Everything learned jointly, with a small mixture, until validation stops improving.
fn pretrain(state: &mut State, best: &mut Best) -> Result<()> {
    let (comm, job, train) = (state.comm, state.job, state.data.train.clone());
    let step = Pretrain { comm, job: &job.pretrain, seed: job.run.seed, rows: &train };
    let mut annotator = best.take_last();
    let mut kernels = std::mem::take(&mut state.kernels);
    let mut without = 0;
    step.run(&mut annotator, &mut kernels, &mut |epoch, loss, annotator, kernels| {
        let event = json!({ "step": "pretrain", "epoch": epoch + 1, "loss": loss });
        let better = state.validate(annotator, kernels, best, event)?;
        without = if better { 0 } else { without + 1 };
        Ok(job.pretrain.patience == 0 || without < job.pretrain.patience)
    })?;
    state.kernels = kernels;
    let kept = best.kept().filter(|_| state.data.validation.is_some());
    best.last = kept.cloned().unwrap_or(annotator);
    Ok(())
}

/// Stage 1: shared layers frozen; new large mixtures, trained where they are.
fn expert_step(state: &mut State, best: &mut Best, round: usize) -> Result<()> {
    let (comm, job, train) = (state.comm, state.job, state.data.train.clone());
    if job.experts.restart || round == 1 {
        best.last.experts = state.new_experts(&state.data.experts, round as u64);
    }
    let mut kernels = std::mem::take(&mut state.kernels);
    let own = train.activations(&best.last, &mut kernels)?;
    let runs = train.row_runs();
    let step =
        ExpertStep { comm, job: &job.experts, seed: job.run.seed, round, own: &own, runs: &runs };
    let mut annotator = best.take_last();
    let mut epochs = Best::new(annotator.hollow());
    let (mut without, mut outcome) = (0, Ok(()));
    step.run(&mut annotator.experts, &mut kernels, &mut |epoch, loss, experts, kernels| {
        let event = json!({ "step": "experts", "round": round, "epoch": epoch + 1, "loss": loss });
        if job.experts.patience == 0 {
            outcome = state.tell(event, loss);
            return outcome.is_ok();
        }
        let now = Annotator { experts: experts.clone(), ..epochs.last.clone() };
        match state.validate(&now, kernels, &mut epochs, event) {
            Ok(better) => without = if better { 0 } else { without + 1 },
            Err(error) => outcome = Err(error),
        }
        outcome.is_ok() && without < job.experts.patience
    })?;
    outcome?;
    train.waited(own.wait_seconds());
    // Validation needs the room that they take.
    drop(own);
    let kept = epochs.kept().filter(|_| job.experts.patience > 0);
    best.last = kept.cloned().unwrap_or(annotator);
    drop(epochs);
    let event = json!({ "step": "experts", "round": round });
    state.validate(&best.last.clone(), &mut kernels, best, event)?;
    state.kernels = kernels;
    Ok(())
}

/// Stage 2: mixtures frozen; the shared layers by full-batch iRprop+.
fn shared_step(state: &mut State, best: &mut Best, round: usize) -> Result<()> {
    let (comm, job, train) = (state.comm, state.job, state.data.train.clone());
    let mut kernels = std::mem::take(&mut state.kernels);
    let mut annotator = best.last.clone();
    let step = SharedStep { comm, rows: &train, wave: state.plan.wave };
    let steps = Steps {
        initial: job.shared.step_initial,
        min: job.shared.step_min,
        max: job.shared.step_max,
    };
    let mut irprop = Irprop::new(annotator.shared.len(), steps);
    for iteration in 1..=job.shared.iterations {
        let (loss, gradient) = step.evaluate(&annotator, &mut kernels)?;
        irprop.step(&mut annotator.shared, &gradient, loss);
        let event =
            json!({ "step": "shared", "round": round, "iteration": iteration, "loss": loss });
        state.tell(event, loss)?;
    }
    let event = json!({ "step": "shared", "round": round });
    state.validate(&annotator, &mut kernels, best, event)?;
    best.last = annotator;
    state.kernels = kernels;
    Ok(())
}
