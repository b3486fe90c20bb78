//! Training: pretrain, then rounds of expert step and shared step (docs/method.md, section 4), from
//! wherever a checkpoint says the run stands.
//!
//! A step's state is complete whenever it returns, also when the run is told to stop in the middle
//! of it; so one place writes the last checkpoint of a stop, whatever was going on.

mod checkpoints;
mod data;
mod ending;
mod experts;
mod fit;
mod losses;
mod pretrain;
mod saved;
mod shared;
mod standing;
mod state;
mod watch;

use serde_json::{Value, json};

use crate::checkpoint::Loaded;
use crate::comm::Comm;
use crate::device::Device;
use crate::error::{Error, Exit, Result};
use crate::job::Job;
use crate::model::annotator::Annotator;
use crate::report::Report;

pub use checkpoints::{Checkpoints, MARGIN};
pub use data::Data;
pub use ending::{Keep, Tries};
use experts::ExpertStep;
pub use experts::Worker;
use pretrain::{Groups, Pretrain};
use saved::Saved;
use standing::{Best, Step};
use state::State;
pub use state::{host_of, plan, shape_of};
pub use watch::Heartbeat;

/// What a training run ends with.
pub struct Trained {
    /// The best model by validation where there is one, else the last.
    pub annotator: Annotator,
    /// Why it stopped.
    pub reason: String,
    /// False where it was told to stop and left a checkpoint to go on from.
    pub done: bool,
    /// Every start of the run: ranks, threads, host, time.
    pub sessions: Vec<Value>,
}

/// What the step under way has beside the model.
enum Learning {
    /// The step hasn't begun.
    Nothing,
    Pretrain(pretrain::Learning),
    Experts(Box<experts::Learning>),
    Shared(shared::Learning),
}

/// A run that stands where it begins or goes on.
pub struct Run<'a, D> {
    state: State<'a, D>,
    model: Annotator,
    learning: Learning,
    rows: Data,
}

/// Trains as `job` says on the processor, this rank's share, from the newest of `checkpoints` on if
/// there is one. Every rank calls it.
///
/// # Errors
/// Exit 3 where a processor doesn't have the instructions asked for; as `Run::begin` and
/// `Run::finish`.
pub fn train(
    comm: &Comm,
    job: &Job,
    data: Data,
    report: &mut Report,
    checkpoints: Option<Checkpoints>,
) -> Result<Trained> {
    let host = comm.agree(host_of(job))?;
    Run::begin(comm, job, data, host, report, checkpoints)?.finish()
}

impl<'a, D: Device> Run<'a, D> {
    /// Makes room for a run of `job` on `device` and takes up the newest of `checkpoints`, if there
    /// is one. Collective.
    ///
    /// # Errors
    /// Exit 6 where there are checkpoints but none can be used; exit 9 where memory doesn't
    /// suffice; common to all ranks.
    pub fn begin(
        comm: &'a Comm,
        job: &'a Job,
        data: Data,
        device: D,
        report: &'a mut Report,
        checkpoints: Option<Checkpoints>,
    ) -> Result<Run<'a, D>> {
        let rows = data.clone();
        let mut state = State::new(comm, job, data, device, report, checkpoints)?;
        let (model, learning) = match state.restore()? {
            Some((mut loaded, model, epoch_best)) => {
                let learning = Learning::restore(&state, &model, epoch_best, &mut loaded);
                log::info!("going on from checkpoint {}", loaded.number);
                (model, comm.agree(learning)?)
            }
            None => (state.initial(), Learning::Nothing),
        };
        Ok(Run { state, model, learning, rows })
    }

    /// Trains from there on. Collective.
    ///
    /// # Errors
    /// What reading rows gives; exit 5 where a run that is told to stop can't leave a checkpoint;
    /// exit 7 where the loss is no number.
    pub fn finish(self) -> Result<Trained> {
        self.finish_and_keep(Tries::default(), &mut |_, _| Ok(()))
    }

    /// The same, and keeps by `keep` what it has come to, also where it was told to stop. Where
    /// that fails at the end of a run it is tried again. Collective.
    ///
    /// # Errors
    /// As `finish`; what `keep` gives.
    pub fn finish_and_keep(self, tries: Tries, keep: &mut Keep) -> Result<Trained> {
        let Run { mut state, mut model, mut learning, rows } = self;
        let outcome = steps(&mut state, &mut model, &mut learning);
        let done = !outcome.as_ref().is_err_and(|error| error.is_stop());
        if done {
            outcome?;
        } else {
            state.save(&model, learning.saved(), true)?;
            state.standing.reason = "told to stop; the same command goes on".into();
        }
        state.report.timers.add("input wait", rows.wait_seconds());
        let (reason, sessions) = (state.standing.reason.clone(), state.sessions());
        let annotator = state.best.model.clone().unwrap_or_else(|| model.clone());
        let trained = Trained { annotator, reason, done, sessions };
        match done {
            true => ending::keep(&mut state, &model, &trained, tries, keep)?,
            false => keep(state.report, &trained)?,
        }
        Ok(trained)
    }
}

impl Learning {
    /// What `loaded` holds of the step that `state` stands in.
    fn restore<D: Device>(
        state: &State<D>,
        model: &Annotator,
        epoch_best: Best,
        loaded: &mut Loaded,
    ) -> Result<Learning> {
        let begun = loaded.common.take()?;
        let (job, rows, experts) = (state.job, &state.data.train, &model.experts);
        let counts = match state.standing.small(begun) {
            true => state.small_experts(),
            false => state.data.experts.to_vec(),
        };
        if experts.counts() != counts {
            return Err(loaded.common.refused("model: found the experts of another step"));
        }
        let learning = match state.standing.step {
            _ if !begun => Learning::Nothing,
            Step::Pretrain => {
                let groups = Groups::new(state.comm, &job.pretrain, job.run.seed, rows);
                let restored = pretrain::Learning::restore(&job.pretrain, &groups, model, loaded)?;
                Learning::Pretrain(restored)
            }
            Step::Experts => {
                let step = (&job.experts, rows.rows());
                let restored = experts::Learning::restore(step, experts, epoch_best, loaded)?;
                Learning::Experts(Box::new(restored))
            }
            Step::Shared => {
                let parameters = model.shared.len();
                let restored = shared::Learning::restore(&job.shared, parameters, loaded)?;
                Learning::Shared(restored)
            }
            Step::Done => return Err(loaded.common.refused("found a step in a run that is done")),
        };
        loaded.common.end()?;
        Ok(learning)
    }

    fn saved(&self) -> &dyn Saved {
        match self {
            Learning::Nothing => &(),
            Learning::Pretrain(learning) => learning,
            Learning::Experts(learning) => &**learning,
            Learning::Shared(learning) => learning,
        }
    }
}

/// All steps that are left.
fn steps<D: Device>(
    state: &mut State<D>,
    model: &mut Annotator,
    learning: &mut Learning,
) -> Result<()> {
    loop {
        match state.standing.step {
            Step::Pretrain => {
                pretrain(state, model, learning)?;
                state.begin_round(1);
            }
            Step::Experts => {
                expert_step(state, model, learning)?;
                match state.job.shared.iterations > 0 && !model.layers.places.is_empty() {
                    true => state.standing.step = Step::Shared,
                    false => state.end_round(),
                }
            }
            Step::Shared => {
                shared_step(state, model, learning)?;
                state.end_round();
            }
            Step::Done => return Ok(()),
        }
        *learning = Learning::Nothing;
        state.boundary_of_steps(model)?;
    }
}

/// Everything learned jointly, with a small mixture, until validation stops improving.
fn pretrain<D: Device>(
    state: &mut State<D>,
    model: &mut Annotator,
    learning: &mut Learning,
) -> Result<()> {
    let (comm, job, train) = (state.comm, state.job, state.data.train.clone());
    if job.pretrain.epochs == 0 {
        return Ok(());
    }
    if let Learning::Nothing = learning {
        *learning = Learning::Pretrain(pretrain::Learning::new(model));
    }
    let Learning::Pretrain(learning) = learning else { panic!("another step's state") };
    let groups = Groups::new(comm, &job.pretrain, job.run.seed, &train);
    let pretrain = Pretrain { comm, job: &job.pretrain, seed: job.run.seed, groups };
    pretrain.run(state, model, learning)?;
    if let (Some(best), Some(_)) = (&state.best.model, &state.data.validation) {
        *model = best.clone();
    }
    Ok(())
}

/// Stage 1: shared layers frozen; new large mixtures, trained where they are.
fn expert_step<D: Device>(
    state: &mut State<D>,
    model: &mut Annotator,
    learning: &mut Learning,
) -> Result<()> {
    let (comm, job, train) = (state.comm, state.job, state.data.train.clone());
    let round = state.standing.round;
    if let Learning::Nothing = learning {
        if job.experts.restart || round == 1 {
            model.experts = state.new_experts(&state.data.experts, round as u64);
        }
        let experts = &model.experts;
        let new = experts::Learning::new(&job.experts, experts);
        *learning = Learning::Experts(Box::new(new));
    }
    let Learning::Experts(learning) = learning else { panic!("another step's state") };
    let own = train.activations(model, &mut state.device);
    let own = comm.agree(own.map_err(|error| match error.exit {
        Exit::Numeric => Error::new(error.exit, format!("expert step, round {round}: {error}")),
        _ => error,
    }))?;
    let runs = train.row_runs();
    let step =
        ExpertStep { comm, job: &job.experts, seed: job.run.seed, round, own: &own, runs: &runs };
    step.run(state, model, learning)?;
    train.waited(own.wait_seconds());
    // Validation needs the room that they take.
    drop(own);
    if let Some(best) = &learning.best.model {
        *model = best.clone();
    }
    state.validate(model, json!({ "step": "experts", "round": round }))?;
    Ok(())
}

/// Stage 2: mixtures frozen; the shared layers by full-batch iRprop+.
fn shared_step<D: Device>(
    state: &mut State<D>,
    model: &mut Annotator,
    learning: &mut Learning,
) -> Result<()> {
    if let Learning::Nothing = learning {
        let new = shared::Learning::new(&state.job.shared, model.shared.len());
        *learning = Learning::Shared(new);
    }
    let Learning::Shared(learning) = learning else { panic!("another step's state") };
    shared::run(state, model, learning)?;
    let round = state.standing.round;
    state.validate(model, json!({ "step": "shared", "round": round }))?;
    Ok(())
}
