//! Training: pretrain, then rounds of expert step and shared step (docs/method.md, section 4), from
//! wherever a checkpoint says the run stands.
//!
//! A step's state is complete whenever it returns, also when the run is told to stop in the middle
//! of it; so one place writes the last checkpoint of a stop, whatever was going on.

pub(crate) mod alone;
mod balance;
mod block_sums;
mod boundary;
mod checkpoint_model;
mod checkpoint_record;
mod checkpoints;
mod data;
mod ending;
mod experts;
mod finite;
mod first_error;
mod fit;
mod grid;
mod held_blocks;
mod initial_model;
mod pretrain;
mod rounds;
mod setting;
mod shared;
mod state;
mod stints;
mod validation;
mod watch;

use serde_json::{Value, json};

use crate::checkpoint::Loaded;
use crate::comm::Comm;
use crate::device::Device;
use crate::error::{Error, Exit, Result};
use crate::job::Job;
use crate::model::annotator::Annotator;
use crate::report::Report;
use crate::stint::Stint;

pub use balance::Speeds;
pub(crate) use checkpoint_model::{CheckpointModel, model_of_checkpoint, source_of_checkpoint};
use checkpoint_record::Resumable;
pub use checkpoints::Checkpoints;
pub(crate) use checkpoints::MARGIN;
pub use data::Data;
pub(crate) use data::{of_shards, recorded_now};
pub(crate) use ending::{Keep, Tries};
use experts::{ExpertStep, ExpertsCourse};
pub(crate) use fit::{LongerWindow, longer_window, memory_budget};
pub(crate) use grid::grid;
pub(crate) use pretrain::learner_count;
use pretrain::{Pretrain, PretrainCourse, RowGroups};
use rounds::Phase;
pub use setting::{Setting, host_of, plan, shape_of};
use shared::SharedCourse;
use state::State;
use stints::EXPERT_STEP;
use validation::Best;
pub(crate) use watch::Heartbeat;

/// What a training run ends with.
pub struct Trained {
    /// The best model by validation where there is one, else the last.
    pub annotator: Annotator,
    /// Why it stopped.
    pub reason: String,
    /// False where it was told to stop and left a checkpoint to go on from.
    pub done: bool,
    /// Every start of the run: ranks, threads, host, time.
    #[doc(hidden)]
    pub sessions: Vec<Value>,
}

/// The state of the step under way, beside the model.
enum Course<D: Device> {
    /// The step hasn't begun.
    Nothing,
    Pretrain(PretrainCourse<D>),
    Experts(Box<ExpertsCourse<D>>),
    Shared(SharedCourse<D>),
}

/// A run that is ready to begin, or to go on from a checkpoint.
pub struct Run<'a, D: Device> {
    state: State<'a, D>,
    model: Annotator,
    course: Course<D>,
}

/// Trains as `job` says on the processor, this rank's share, from the newest of `checkpoints` on if
/// there is one. Every rank calls it.
///
/// # Errors
/// Exit 3 where a processor doesn't have the instructions asked for; as `Setting::new`,
/// `Run::begin` and `Run::finish`.
pub fn train(
    comm: &Comm,
    job: &Job,
    data: Data,
    report: &mut Report,
    checkpoints: Option<Checkpoints>,
) -> Result<Trained> {
    let host = comm.agree(host_of(job))?;
    let setting = Setting::new(comm, job, data)?;
    Run::begin(setting, host, report, checkpoints)?.finish()
}

// Never inlined, so that what this crate has compiled for a device is what other crates call; else
// each of their programs would compile all of training again.
impl<'a, D: Device> Run<'a, D> {
    /// A run of `setting` on `device`, from the newest of `checkpoints` on, if there is one.
    /// Collective.
    ///
    /// # Errors
    /// Exit 6 where there are checkpoints but none can be used; what the device gives while it is
    /// measured (`run.balance`); common to all ranks.
    #[inline(never)]
    pub fn begin(
        setting: Setting<'a>,
        device: D,
        report: &'a mut Report,
        checkpoints: Option<Checkpoints>,
    ) -> Result<Run<'a, D>> {
        let comm = setting.comm;
        let learners = setting.learners.clone();
        let mut state = State::new(setting, device, report, checkpoints);
        if learners.are_some() {
            state.record_of_session("pretraining_ranks", json!(learners.count()));
        }
        state.balance(None)?;
        let (model, course) = match state.restore()? {
            Some((mut loaded, model, step_best, begun)) => {
                let course = Course::restore(&mut state, &model, (begun, step_best), &mut loaded);
                log::info!("going on from checkpoint {}", loaded.number);
                (model, comm.agree(course)?)
            }
            None => (state.setting.initial()?, Course::Nothing),
        };
        Ok(Run { state, model, course })
    }

    /// Trains from there on. Collective.
    ///
    /// # Errors
    /// What reading rows gives; exit 5 where a run that is told to stop can't leave a checkpoint;
    /// exit 7 where the loss is no number.
    #[inline(never)]
    pub fn finish(self) -> Result<Trained> {
        self.finish_and_keep(Tries::default(), &mut |_, _| Ok(()))
    }

    /// The same, and keeps by `keep` what it has come to, also where it was told to stop. Where
    /// that fails at the end of a run it is tried again. Collective.
    ///
    /// # Errors
    /// As `finish`; what `keep` gives.
    #[inline(never)]
    pub(crate) fn finish_and_keep(self, tries: Tries, keep: &mut Keep) -> Result<Trained> {
        let Run { mut state, mut model, mut course } = self;
        let outcome = steps(&mut state, &mut model, &mut course);
        let done = !outcome.as_ref().is_err_and(|error| error.is_stop());
        if done {
            outcome?;
        } else {
            state.save(&model, course.saved(&mut ()), true)?;
            state.end_within(state.standing.phase.name());
            state.standing.reason = "told to stop; the same command goes on".into();
        }
        let waited = state.setting.data.wait_seconds();
        state.report.timers.add("input wait", waited);
        let (reason, sessions) = (state.standing.reason.clone(), state.sessions());
        let annotator = state.best.model.clone().unwrap_or_else(|| model.clone());
        // Names are the data's: what is learned knows nothing of them.
        let annotator = Annotator { names: state.setting.data.names().cloned(), ..annotator };
        let trained = Trained { annotator, reason, done, sessions };
        match done {
            true => ending::keep(&mut state, &model, &trained, tries, keep)?,
            false => keep(state.report, &trained)?,
        }
        Ok(trained)
    }
}

impl<D: Device> Course<D> {
    /// The state of the step in which the run stands, read from the checkpoint `loaded`, if the
    /// step has `begun`.
    fn restore(
        state: &mut State<D>,
        model: &Annotator,
        (begun, step_best): (bool, Best),
        loaded: &mut Loaded,
    ) -> Result<Course<D>> {
        let (job, rows, experts) =
            (state.setting.job, state.setting.data.train.clone(), &model.experts);
        let counts = match state.standing.small(begun) {
            true => state.setting.small_experts(),
            false => state.setting.data.experts.to_vec(),
        };
        if experts.counts() != counts {
            return Err(loaded.common.refused("model: found the experts of another step"));
        }
        let device = &mut state.device;
        let course = match state.standing.phase {
            _ if !begun => Course::Nothing,
            Phase::Pretrain => {
                let learners = &state.setting.learners;
                let groups = RowGroups::new(learners, &job.pretrain, job.run.seed, &rows);
                Course::Pretrain(PretrainCourse::restore(
                    device,
                    &job.pretrain,
                    &groups,
                    model,
                    loaded,
                )?)
            }
            Phase::Experts => {
                let step = (&job.experts, rows.rows());
                let column = (state.setting.comm, state.setting.in_column(experts));
                let restored =
                    ExpertsCourse::restore(device, step, experts, column, step_best, loaded)?;
                Course::Experts(Box::new(restored))
            }
            Phase::Shared => {
                let parameters = model.shared.len();
                let restored = SharedCourse::restore(&job.shared, parameters, loaded)?;
                Course::Shared(restored)
            }
            Phase::Done => return Err(loaded.common.refused("found a step in a run that is done")),
        };
        loaded.common.end()?;
        Ok(course)
    }

    /// The step's state; `nothing` stands for one that hasn't begun.
    fn saved<'a>(&'a mut self, nothing: &'a mut ()) -> &'a mut dyn Resumable<D> {
        match self {
            Course::Nothing => nothing,
            Course::Pretrain(course) => course,
            Course::Experts(course) => &mut **course,
            Course::Shared(course) => course,
        }
    }
}

/// All steps that are left.
fn steps<D: Device>(
    state: &mut State<D>,
    model: &mut Annotator,
    course: &mut Course<D>,
) -> Result<()> {
    loop {
        state.say_what_comes(!model.layers.places.is_empty());
        match state.standing.phase {
            Phase::Pretrain => {
                pretrain(state, model, course)?;
                state.begin_round(1);
            }
            Phase::Experts => {
                expert_step(state, model, course)?;
                match state.setting.job.shared.iterations > 0 && !model.layers.places.is_empty() {
                    true => state.standing.phase = Phase::Shared,
                    false => state.end_round(),
                }
            }
            Phase::Shared => {
                shared_step(state, model, course)?;
                state.end_round();
            }
            Phase::Done => return Ok(()),
        }
        *course = Course::Nothing;
        state.boundary_of_steps(model)?;
        if state.standing.phase != Phase::Done {
            state.balance(Some(model))?;
        }
    }
}

/// Everything learned jointly, with a small mixture, until validation stops improving.
fn pretrain<D: Device>(
    state: &mut State<D>,
    model: &mut Annotator,
    course: &mut Course<D>,
) -> Result<()> {
    let (comm, job, train) =
        (state.setting.comm, state.setting.job, state.setting.data.train.clone());
    if job.pretrain.epochs == 0 {
        return Ok(());
    }
    if let Course::Nothing = course {
        let new = PretrainCourse::new(&mut state.device, model);
        *course = Course::Pretrain(comm.agree(new)?);
    }
    let Course::Pretrain(course) = course else { panic!("another step's state") };
    let learners = state.setting.learners.clone();
    let groups = RowGroups::new(&learners, &job.pretrain, job.run.seed, &train);
    let pretrain = Pretrain { comm, learners, job: &job.pretrain, seed: job.run.seed, groups };
    pretrain.run(state, model, course)?;
    if let (Some(best), Some(_)) = (&state.best.model, &state.setting.data.validation) {
        *model = best.clone();
    }
    Ok(())
}

/// Stage 1: shared layers frozen; new large mixtures, trained where they are.
fn expert_step<D: Device>(
    state: &mut State<D>,
    model: &mut Annotator,
    course: &mut Course<D>,
) -> Result<()> {
    let (comm, job, train) =
        (state.setting.comm, state.setting.job, state.setting.data.train.clone());
    let round = state.standing.round;
    if let Course::Nothing = course {
        if job.experts.restart || round == 1 {
            model.experts = state.setting.new_experts(&state.setting.data.experts, round as u64);
            if round == 1 && job.pretrain.epochs == 0 {
                state.setting.put_initial_mixtures(&mut model.experts)?;
            }
        }
        let experts = &model.experts;
        let column = state.setting.in_column(experts);
        let new = ExpertsCourse::new(&mut state.device, &job.experts, experts, column);
        *course = Course::Experts(Box::new(comm.agree(new)?));
    }
    let Course::Experts(course) = course else { panic!("another step's state") };
    let name = state.step_name(EXPERT_STEP);
    let stint = Stint::begin(EXPERT_STEP, &name, course.length(&job.experts, train.rows()));
    let own = train.activations(model, &mut state.device);
    let own = comm.agree(own.map_err(|error| match error.exit {
        Exit::Numeric => Error::new(error.exit, format!("expert step, round {round}: {error}")),
        _ => error,
    }))?;
    let (runs, grid, seed) = (&train.row_runs()[..], &state.setting.grid.clone(), job.run.seed);
    let step = ExpertStep { comm, job: &job.experts, seed, round, own: &own, runs, grid, stint };
    step.run(state, model, course)?;
    train.waited(own.wait_seconds());
    // Validation needs the memory that the activations take.
    drop(own);
    if let Some(best) = &course.best.model {
        *model = best.clone();
    }
    state.validate(model, json!({ "step": "experts", "round": round }))?;
    Ok(())
}

/// Stage 2: mixtures frozen; the shared layers by full-batch steps.
fn shared_step<D: Device>(
    state: &mut State<D>,
    model: &mut Annotator,
    course: &mut Course<D>,
) -> Result<()> {
    if let Course::Nothing = course {
        *course = Course::Shared(SharedCourse::new(&state.setting.job.shared, &model.shared));
    }
    let Course::Shared(course) = course else { panic!("another step's state") };
    shared::run(state, model, course)?;
    let round = state.standing.round;
    state.validate(model, json!({ "step": "shared", "round": round }))?;
    Ok(())
}
