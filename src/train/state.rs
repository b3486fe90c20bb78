//! What a training run holds besides the model: rows, threads, the report, the best model so far.

use serde_json::{Value, json};

use super::checkpoints::Checkpoints;
use super::data::Data;
use super::fit::{tell_of_idle_ranks, warn_of_memory};
use super::saved::{Expected, Restored, Saved, restore, with_contents};
use super::standing::{Best, Standing, Step};
use super::watch::{differing, digest};
use crate::checkpoint::Loaded;
use crate::clock::Clock;
use crate::comm::{Comm, same_on_all};
use crate::cost::memory::Plan;
use crate::data::Kind;
use crate::device::{Device, Host};
use crate::error::{Error, Exit, Result};
use crate::flow::own_rows::Room;
use crate::human;
use crate::inference::scores::{evaluate, evaluate_by_class};
use crate::job::Job;
use crate::model::annotator::{Annotator, Shape};
use crate::model::experts::{Experts, layouts};
use crate::model::initial;
use crate::progress::phase;
use crate::report::Report;
use crate::signals;

/// What the model of a job on these data is.
pub fn shape_of(job: &Job, data: &Data) -> Shape {
    let dataset = data.train.dataset();
    Shape {
        parts: dataset.parts().to_vec(),
        class_count: dataset.class_count(),
        normalize: job.data.normalize,
        standard: data.standard.as_deref().cloned(),
        frames: job.model.frames.clone(),
        pooling: (dataset.kind() == Kind::Frames).then_some(job.model.pooling),
        layers: job.model.shared.clone(),
        dummy: job.model.dummy,
        epsilon: job.model.epsilon,
        class_blocks: job.run.class_blocks,
    }
}

/// What a job on these data may take of memory, and how it keeps to that.
///
/// # Errors
/// Exit 9, common to all ranks: the byte budget can't be kept.
pub fn plan(comm: &Comm, job: &Job, data: &Data) -> Result<Plan> {
    let validation = data.validation.as_deref();
    let (shape, experts) = (shape_of(job, data), &data.experts);
    comm.agree(Plan::new(job, &shape, experts, comm.size(), &data.train, validation))
}

/// The processor with the threads and the vector instructions that the job names.
///
/// # Errors
/// Exit 3 where this processor doesn't have them.
pub fn host_of(job: &Job) -> Result<Host> {
    let name = &job.run.kernel;
    Host::named(name, job.run.threads, job.model.epsilon).map_err(|expected| {
        Error::new(Exit::Launch, format!("run.kernel: found {name:?}, {expected}"))
    })
}

pub struct State<'a, D> {
    pub comm: &'a Comm,
    pub job: &'a Job,
    pub data: Data,
    /// What this rank computes with.
    pub device: D,
    pub report: &'a mut Report,
    /// What the phases may take of memory.
    pub plan: Plan,
    pub standing: Standing,
    /// The best model by validation, or without validation rows the last one.
    pub best: Best,
    pub shape: Shape,
    checkpoints: Option<Checkpoints>,
}

impl<'a, D: Device> State<'a, D> {
    /// # Errors
    /// Exit 4 where ranks have other data than others.
    pub fn new(
        comm: &'a Comm,
        job: &'a Job,
        data: Data,
        device: D,
        report: &'a mut Report,
        checkpoints: Option<Checkpoints>,
    ) -> Result<State<'a, D>> {
        same_on_all(comm, Exit::Input, "data", &data.described())?;
        let shape = shape_of(job, &data);
        let plan = plan(comm, job, &data)?;
        let place = if plan.scratch() { ", activations in a scratch file" } else { "" };
        log::info!("memory planned {}{place}", human::bytes(plan.peak as u64));
        warn_of_memory(comm, plan.peak as u64);
        tell_of_idle_ranks(comm, job, &data, &shape);
        let scratch = match job.run.scratch.as_str() {
            "" => std::env::temp_dir(),
            folder => folder.into(),
        };
        let room = Room { scores_max: plan.scores_max, scratch, ..Room::unlimited() };
        comm.agree(if plan.scratch() { room.check() } else { Ok(()) })?;
        data.keep_activations(&plan, &room);
        comm.use_threads(job.run.threads);
        let (standing, best) = (Standing::new(report.events_hash()), Best::default());
        Ok(State { comm, job, data, device, report, plan, standing, best, shape, checkpoints })
    }

    /// The newest checkpoint that is whole, if there are any, with what it holds of the model; the
    /// state becomes what it was then.
    ///
    /// # Errors
    /// Exit 6: none is whole, or it is of other data; common to all ranks.
    pub fn restore(&mut self) -> Result<Option<(Loaded, Annotator, Best)>> {
        let (comm, Some(checkpoints)) = (self.comm, &mut self.checkpoints) else { return Ok(None) };
        let Some(mut loaded) = checkpoints.store.load(comm)? else {
            // What a start has left that came to no checkpoint.
            comm.agree(self.report.resume(&[], self.standing.events_hash))?;
            return Ok(None);
        };
        comm.agree(checkpoints.follow(self.job, &loaded))?;
        let (small, rounds) = (self.small_experts(), self.job.rounds.count);
        let experts = [&small[..], &self.data.experts[..]];
        let expected = Expected { shape: &self.shape, experts, rounds };
        let restored = comm.agree(restore(comm, &mut loaded, &expected))?;
        let Restored { standing, model, best, epoch_best } = restored;
        let events = self.report.resume(&loaded.events, standing.events_hash);
        comm.agree(events)?;
        (self.standing, self.best) = (standing, best);
        if self.standing.round > 0 {
            self.report.phase(&format!("round {}/{}", self.standing.round, self.job.rounds.count));
        }
        Ok(Some((loaded, model, epoch_best)))
    }

    /// Between two pieces of a step, after work, such as reading what comes next, that may have
    /// failed on some rank: writes a checkpoint where one is due, with the own class blocks, which
    /// the device may hold. Collective.
    ///
    /// # Errors
    /// As `boundary_where`.
    pub fn boundary_after<T>(
        &mut self,
        outcome: Result<T>,
        model: &mut Annotator,
        course: &dyn Saved<D>,
    ) -> Result<T> {
        self.boundary_where(Checkpoints::due, outcome, model, course)
    }

    /// The same between two steps.
    ///
    /// # Errors
    /// As `boundary_where`.
    pub fn boundary_of_steps(&mut self, model: &mut Annotator) -> Result<()> {
        self.boundary_where(|checkpoints| checkpoints.due_between_steps(), Ok(()), model, &())
    }

    /// Writes a checkpoint where one is `due`, as rank 0 sees it, unless a rank has failed.
    /// Collective.
    ///
    /// # Errors
    /// What the `outcome` of a rank is; exit 75: the run is to stop here; exit 7: a rank's shared
    /// layers differ from those of the others; common to all ranks.
    fn boundary_where<T>(
        &mut self,
        due: impl FnOnce(&mut Checkpoints) -> bool,
        outcome: Result<T>,
        model: &mut Annotator,
        course: &dyn Saved<D>,
    ) -> Result<T> {
        signals::look_and_tell();
        let due = self.comm.is_root() && self.checkpoints.as_mut().is_some_and(due);
        let outcome = self.comm.unless_damaged(outcome);
        let failed = outcome.is_err();
        let flags = [self.comm.stop_asked(), due, failed];
        let flags = (0..).zip(flags).map(|(bit, flag)| u32::from(flag) << bit).sum::<u32>();
        let words = self.comm.all_gather(&[[flags, digest(&model.shared)]]);
        if words.iter().any(|word| word[0] & 4 == 4) {
            return self.comm.agree(outcome);
        }
        let digests: Vec<u32> = words.iter().map(|word| word[1]).collect();
        if let Some(text) = differing(&digests) {
            let error = Error::new(Exit::Numeric, format!("{text} in {}", phase()));
            let hint = "the memory or processor of one has a fault; the same command goes on from \
                        the last checkpoint";
            return Err(Error { agreed: true, ..error.hint(hint) });
        }
        if words.iter().any(|word| word[0] & 1 == 1) {
            return Err(Error { agreed: true, ..Error::stopped() });
        }
        if words[0][0] & 2 == 2 {
            let shown = course.show(&self.device, &mut model.experts);
            self.comm.agree(shown)?;
            self.save(model, course, false)?;
            course.hide(&mut model.experts);
        }
        outcome
    }

    /// Writes a checkpoint, if the run has any. Collective.
    ///
    /// # Errors
    /// Exit 7: the model's numbers aren't finite, so that the checkpoint before is the last good
    /// one; exit 5, if it is the `last` one of a run that stops: else what can't be written is only
    /// told; common to all ranks.
    pub fn save(&mut self, model: &Annotator, course: &dyn Saved<D>, last: bool) -> Result<()> {
        if self.checkpoints.is_some() {
            self.check(&phase(), model, 0.0, None)?;
        }
        let (comm, Some(checkpoints)) = (self.comm, &mut self.checkpoints) else { return Ok(()) };
        self.standing.events_hash = self.report.events_hash();
        if let (Err(error), true) = (self.report.make_events_whole(), !last) {
            log::warn!("{}; the checkpoint has all events", error.text);
        }
        let (about, events) = (checkpoints.about(&self.standing), self.report.events());
        let (run, step) = ((&self.standing, &self.best), (model, course, &self.device));
        let outcome = checkpoints.write(comm, last, |store| {
            with_contents(comm, run, step, about.clone(), events, |contents| {
                store.save(comm, contents)
            })
        });
        self.report.timers.set("checkpoints", checkpoints.seconds);
        outcome
    }

    /// Writes a checkpoint of a run that is done, once. Collective.
    ///
    /// # Errors
    /// Exit 5, common to all ranks.
    pub fn save_final(&mut self, model: &Annotator) -> Result<()> {
        let (comm, Some(checkpoints)) = (self.comm, &self.checkpoints) else { return Ok(()) };
        self.standing.events_hash = self.report.events_hash();
        let (about, events) = (checkpoints.about(&self.standing), self.report.events());
        let (run, step) =
            ((&self.standing, &self.best), (model, &() as &dyn Saved<D>, &self.device));
        with_contents(comm, run, step, about, events, |contents| {
            checkpoints.store.save(comm, contents)
        })
    }

    /// The clock that the run decides by.
    pub fn clock(&self) -> Clock {
        self.checkpoints.as_ref().map_or_else(Clock::default, |own| own.clock.clone())
    }

    /// What was written of the starts of this run.
    pub fn sessions(&self) -> Vec<Value> {
        self.checkpoints.as_ref().map_or(Vec::new(), |checkpoints| checkpoints.sessions.clone())
    }

    /// The model before any training.
    pub fn initial(&self) -> Annotator {
        let layers = self.shape.shared_layers();
        Annotator {
            shared: initial::shared(&layers, self.job.run.seed),
            experts: self.new_experts(&self.small_experts(), 0),
            layers,
            shape: self.shape.clone(),
        }
    }

    /// Experts of each class while pretraining.
    pub fn small_experts(&self) -> Vec<usize> {
        vec![self.job.pretrain.experts; self.shape.class_count]
    }

    /// Newly initialised mixtures with so many experts for each class.
    pub fn new_experts(&self, counts: &[usize], generation: u64) -> Experts {
        let width = self.shape.shared_layers().outputs();
        let layouts = layouts(counts, self.shape.dummy, width, self.shape.class_blocks);
        let owners = self.comm.deal(layouts.len());
        let mut experts = Experts::new(layouts, owners, self.job.run.seed, generation);
        if !self.data.biases.is_empty() {
            experts.set_biases(&self.data.biases);
        }
        experts
    }

    /// Goes to the expert step of a round, or ends the run where it was the last.
    pub fn begin_round(&mut self, round: usize) {
        let count = self.job.rounds.count;
        if round > count {
            self.end(format!("{count} rounds done"));
            return;
        }
        self.report.phase(&format!("round {round}/{count}"));
        let (standing, score_before) = (&mut self.standing, self.best.score);
        (standing.round, standing.step, standing.score_before) =
            (round, Step::Experts, score_before);
    }

    /// Goes to the next round, unless validation has stopped improving.
    pub fn end_round(&mut self) {
        let (standing, patience) = (&mut self.standing, self.job.rounds.patience);
        let better = self.best.score > standing.score_before;
        standing.rounds_without = if better { 0 } else { standing.rounds_without + 1 };
        if patience > 0 && standing.rounds_without >= patience {
            return self.end(format!("no better validation in {patience} rounds"));
        }
        self.begin_round(self.standing.round + 1);
    }

    fn end(&mut self, reason: String) {
        (self.standing.step, self.standing.reason) = (Step::Done, reason);
    }

    /// Reports an event, and keeps its loss, if it has one, as the last.
    pub fn tell(&mut self, event: Value) {
        self.report.event(&event);
        self.standing.last_loss = event["loss"].as_f64().unwrap_or(self.standing.last_loss);
    }

    /// Sees whether the model's numbers and the loss at `place` are finite. `odd` is what of this
    /// rank's share is not, if anything: a row block, say. Collective.
    ///
    /// # Errors
    /// Exit 7, common to all ranks, naming the first layer and class and what `odd` says first.
    pub fn check(
        &self,
        place: &str,
        model: &Annotator,
        loss: f64,
        odd: Option<String>,
    ) -> Result<()> {
        self.check_after(Ok(()), place, model, loss, odd)
    }

    /// The same after work that may have failed on this rank.
    ///
    /// # Errors
    /// What the `outcome` of a rank is; as `check`.
    pub fn check_after(
        &self,
        outcome: Result<()>,
        place: &str,
        model: &Annotator,
        loss: f64,
        odd: Option<String>,
    ) -> Result<()> {
        let whole = outcome.is_ok();
        let layer = || Some(format!("layer {}", model.layers.odd_layer(&model.shared)?));
        let class = || Some(format!("class {}", whole.then(|| model.experts.odd_class())??));
        let own = [layer(), class(), odd].map(Option::unwrap_or_default);
        let numbers = loss.is_finite() && own.iter().all(String::is_empty);
        let odd = || Err(Error::new(Exit::Numeric, String::new()));
        let Err(error) =
            self.comm.agree(outcome.and_then(|()| if numbers { Ok(()) } else { odd() }))
        else {
            return Ok(());
        };
        if error.exit != Exit::Numeric {
            return Err(error);
        }
        // Of each kind what the lowest rank has: it owns the first classes and row blocks.
        let first = own.iter().filter_map(|text| {
            let texts = self.comm.all_gather_any(text.as_bytes());
            let first = texts.into_iter().find(|text| !text.is_empty())?;
            Some(String::from_utf8_lossy(&first).into_owned())
        });
        let first: Vec<String> = first.collect();
        let what = if first.is_empty() { "loss".into() } else { first.join(", ") };
        Err(Error { agreed: true, ..not_finite(place, &what, loss) })
    }

    /// Offers the model to the run's best one; see `offer`.
    ///
    /// # Errors
    /// As `offer`.
    pub fn validate(&mut self, annotator: &Annotator, event: Value) -> Result<bool> {
        let mut best = std::mem::take(&mut self.best);
        let outcome = self.offer(annotator, &mut best, event);
        self.best = best;
        outcome
    }

    /// Evaluates the model on the validation rows, tells of it and keeps it in `best` if it is
    /// better; without validation rows the last one counts as the best. Returns whether it was
    /// better.
    ///
    /// # Errors
    /// What reading rows gives; exit 75 when told to stop; common to all ranks.
    pub fn offer(
        &mut self,
        annotator: &Annotator,
        best: &mut Best,
        mut event: Value,
    ) -> Result<bool> {
        let Some(rows) = self.data.validation.clone() else {
            self.tell(event);
            let score = -self.standing.last_loss;
            let better = score > best.score;
            best.keep(annotator, score);
            return Ok(better);
        };
        let metrics = evaluate(self.comm, annotator, &rows, &mut self.device)?;
        event["validation"] = json!(metrics);
        self.tell(event);
        let better = metrics.gap_at_20 > best.score;
        if better {
            best.keep(annotator, metrics.gap_at_20);
        }
        Ok(better)
    }

    /// Evaluates the model on the validation rows, of which there are some, and tells of it.
    /// Returns the loss of each class summed over them.
    ///
    /// # Errors
    /// What reading rows gives; exit 75 when told to stop; common to all ranks.
    pub fn offer_classes(&mut self, annotator: &Annotator, mut event: Value) -> Result<Vec<f64>> {
        let rows = self.data.validation.clone().expect("the job was checked for it");
        let (metrics, losses) = evaluate_by_class(self.comm, annotator, &rows, &mut self.device)?;
        event["validation"] = json!(metrics);
        self.tell(event);
        Ok(losses)
    }
}

/// The error that `what` isn't finite at `place`.
pub fn not_finite(place: &str, what: &str, loss: f64) -> Error {
    let text = format!("{place}: {what}: found NaN or infinity (loss {loss})");
    let hint = "a smaller learning rate; the last checkpoint is from before";
    Error::new(Exit::Numeric, text).hint(hint)
}
