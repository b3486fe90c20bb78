//! Boundaries between pieces of a step, where ranks agree whether to go on, to write a checkpoint
//! or to stop; and how a run comes back from one.

use serde_json::{Value, json};

use super::checkpoint_record::{ExpectedModels, Restored, Resumable, restore, with_contents};
use super::checkpoints::Checkpoints;
use super::rounds::Phase;
use super::state::State;
use super::validation::Best;
use super::watch::{BlockDigest, differing, differing_blocks, digest, word_of};
use crate::checkpoint::Loaded;
use crate::clock::Clock;
use crate::device::Device;
use crate::error::{Error, Exit, Result};
use crate::model::Layout;
use crate::model::annotator::Annotator;
use crate::progress::phase;
use crate::signals;
use crate::stint::{self, WORKED_BITS};

/// Bits of what a rank says at a boundary that stand before the time which it has worked.
const FLAGS: u32 = u32::BITS - WORKED_BITS;

impl<D: Device> State<'_, D> {
    /// The newest checkpoint that is whole, if there are any, with what it holds of the model; the
    /// state becomes what it was then.
    ///
    /// # Errors
    /// Exit 6: none is whole, or it is of other data; common to all ranks.
    pub(crate) fn restore(&mut self) -> Result<Option<(Loaded, Annotator, Best, bool)>> {
        let (comm, Some(checkpoints)) = (self.setting.comm, &mut self.checkpoints) else {
            return Ok(None);
        };
        let Some(mut loaded) = checkpoints.store.load(comm)? else {
            // An earlier start that wrote no checkpoint may have left events behind: they are
            // removed.
            comm.agree(self.report.resume(&[], self.standing.events_hash))?;
            return Ok(None);
        };
        comm.agree(checkpoints.follow(self.setting.job, &loaded))?;
        let (small, rounds) = (self.setting.small_experts(), self.setting.job.rounds.count);
        let experts = [&small[..], &self.setting.data.experts[..]];
        let owners = |layouts: &[Layout], small| self.setting.owners(layouts, small);
        let shape = &self.setting.shape;
        let expected = ExpectedModels { shape, experts, rounds, owners: &owners };
        let restored = comm.agree(restore(&mut loaded, &expected))?;
        let Restored { standing, model, best, step_best, begun } = restored;
        let events = self.report.resume(&loaded.events, standing.events_hash);
        comm.agree(events)?;
        (self.standing, self.best) = (standing, best);
        if self.standing.round > 0 {
            self.show_round();
        }
        Ok(Some((loaded, model, step_best, begun)))
    }

    /// To be called between two pieces of a step, with the `outcome` of work that may have failed
    /// on some rank, such as reading what comes next. Writes a checkpoint where one is due; the
    /// class blocks of this rank are in it, even where the device holds them. Collective.
    ///
    /// # Errors
    /// As `boundary_where`.
    pub(crate) fn boundary_after<T>(
        &mut self,
        outcome: Result<T>,
        model: &mut Annotator,
        course: &mut dyn Resumable<D>,
    ) -> Result<T> {
        self.boundary_where(Checkpoints::due, outcome, model, course)
    }

    /// To be called between two steps: writes a checkpoint where one is due. Collective.
    ///
    /// # Errors
    /// As `boundary_where`.
    pub(crate) fn boundary_of_steps(&mut self, model: &mut Annotator) -> Result<()> {
        self.boundary_where(|checkpoints| checkpoints.due_between_steps(), Ok(()), model, &mut ())
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
        course: &mut dyn Resumable<D>,
    ) -> Result<T> {
        signals::look_and_tell();
        let due = self.setting.comm.is_root() && self.checkpoints.as_mut().is_some_and(due);
        let (comm, threads) = (self.setting.comm, self.setting.comm.threads());
        let copies = match &outcome {
            Ok(_) => course.copies(&self.device, threads),
            Err(_) => Ok(Vec::new()),
        };
        let outcome = outcome.and_then(|done| copies.map(|copies| (done, copies)));
        let outcome = comm.unless_damaged(outcome);
        let failed = outcome.is_err();
        let replica = course.is_replica();
        let flags: [bool; FLAGS as usize] = [self.setting.comm.stop_asked(), due, failed, !replica];
        let flags = (0..).zip(flags).map(|(bit, flag)| u32::from(flag) << bit).sum::<u32>();
        let flags = flags | self.worked() << FLAGS;
        let digest = if replica { digest(threads, &model.shared) } else { 0 };
        let (outcome, copies) = match outcome {
            Ok((done, copies)) => (Ok(done), copies),
            Err(error) => (Err(error), Vec::new()),
        };
        let words = comm.all_gather(&[[flags, digest, word_of(&copies)]]);
        if words.iter().any(|word| word[0] & 4 == 4) {
            return comm.agree(outcome);
        }
        self.hear_of_work(words.iter().map(|word| word[0] >> FLAGS));
        let of_replica = |word: &[u32; 3]| (word[0] & 8 == 0).then_some(word[1]);
        let digests: Vec<Option<u32>> = words.iter().map(of_replica).collect();
        let found = differing(&digests, "shared layers", 0);
        let of_blocks: Vec<u32> = words.iter().map(|word| word[2]).collect();
        if let Some(text) = found.or_else(|| self.differing_copies(&of_blocks, &copies)) {
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
            comm.agree(shown)?;
            self.save(model, course, false)?;
            course.hide(&mut model.experts);
        }
        outcome
    }

    /// Milliseconds in which this rank didn't wait for others, as far as bits take them.
    fn worked(&self) -> u32 {
        let waited = self.setting.comm.traffic().wait_seconds;
        let worked = (self.report.elapsed().as_secs_f64() - waited).max(0.0) * 1e3;
        worked as u64 as u32 % (1 << WORKED_BITS)
    }

    /// Has the user told who works longest, of those that have a part in the step.
    fn hear_of_work(&self, worked: impl Iterator<Item = u32>) {
        let ranks = match self.standing.phase {
            Phase::Pretrain => self.setting.learners.count(),
            Phase::Experts => self.setting.grid.rows() * self.setting.grid.columns(),
            _ => self.setting.comm.size(),
        };
        stint::worked(worked.take(ranks));
    }

    /// What is wrong where ranks of a column of the grid have other weights of the class blocks
    /// that all of them have, by a word of each rank; this one's are `own`. Collective where words
    /// differ.
    fn differing_copies(&self, words: &[u32], own: &[BlockDigest]) -> Option<String> {
        let (rows, columns) = (self.setting.grid.rows(), self.setting.grid.columns());
        let mut of_columns = words.chunks(rows).take(columns);
        let odd = of_columns.position(|words| words.iter().any(|word| *word != words[0]))?;
        let first = odd * rows;
        let blocks = self.setting.comm.all_gather_any(own);
        let found = differing_blocks(&blocks[first..first + rows], first);
        // Words that nobody can explain are wrong, too.
        found
            .or_else(|| Some(format!("ranks {first} to {}: class blocks differ", first + rows - 1)))
    }

    /// Writes a checkpoint, if the run has any. Collective.
    ///
    /// # Errors
    /// Exit 7: the model's numbers aren't finite, so that the checkpoint before is the last good
    /// one; exit 5 where it can't be written and is the `last` one of a run that stops; for any
    /// other one that is a warning. Common to all ranks.
    pub(crate) fn save(
        &mut self,
        model: &Annotator,
        course: &mut dyn Resumable<D>,
        last: bool,
    ) -> Result<()> {
        if self.checkpoints.is_some() {
            self.check(&phase(), model, 0.0, None)?;
            let collected = course.collect(&mut self.device);
            self.setting.comm.agree(collected)?;
        }
        let seconds = self.report.elapsed().as_millis() as f64 / 1e3;
        self.record_of_session("seconds", json!(seconds));
        // Should this start be killed, nothing else says how many it has written.
        let count = self.checkpoints.as_ref().map_or(0, |checkpoints| checkpoints.count) + 1;
        self.record_of_session("checkpoints", json!(count));
        let (comm, Some(checkpoints)) = (self.setting.comm, &mut self.checkpoints) else {
            return Ok(());
        };
        self.standing.events_hash = self.report.events_hash();
        if let (Err(error), true) = (self.report.make_events_whole(), !last) {
            log::warn!("{}; the checkpoint has all events", error.text);
        }
        let (about, events) =
            (checkpoints.about(&self.standing, &self.setting), self.report.events());
        let (run, step) = ((&self.standing, &self.best), (model, &*course, &self.device));
        let outcome = checkpoints.write(comm, last, |store| {
            with_contents(comm, run, step, about.clone(), events, |contents| {
                store.save(comm, contents)
            })
        });
        self.report.timers.set("checkpoints", checkpoints.seconds);
        self.report.checkpoint_bytes = checkpoints.store.largest.get();
        outcome
    }

    /// Writes a checkpoint of a run that is done, once. Collective.
    ///
    /// # Errors
    /// Exit 5, common to all ranks.
    pub(crate) fn save_final(&mut self, model: &Annotator) -> Result<()> {
        let (comm, Some(checkpoints)) = (self.setting.comm, &self.checkpoints) else {
            return Ok(());
        };
        self.standing.events_hash = self.report.events_hash();
        let (about, events) =
            (checkpoints.about(&self.standing, &self.setting), self.report.events());
        let (run, step) =
            ((&self.standing, &self.best), (model, &() as &dyn Resumable<D>, &self.device));
        with_contents(comm, run, step, about, events, |contents| {
            checkpoints.store.save(comm, contents)
        })
    }

    /// The clock that the run decides by.
    pub(crate) fn clock(&self) -> Clock {
        self.checkpoints.as_ref().map_or_else(Clock::default, |own| own.clock.clone())
    }

    /// Says so of this start in its record.
    pub(crate) fn record_of_session(&mut self, key: &str, value: Value) {
        let sessions = self.checkpoints.iter_mut().map(|own| &mut own.sessions);
        if let Some(Value::Object(this)) = sessions.flat_map(|all| all.last_mut()).next() {
            this.insert(key.into(), value);
        }
    }

    /// The records of all starts of this run, of which this is the last.
    pub(crate) fn sessions(&self) -> Vec<Value> {
        let kept = self.checkpoints.as_ref().map(|checkpoints| &checkpoints.sessions);
        let mut sessions = kept.cloned().unwrap_or_default();
        if let (Some(last), false) = (sessions.last_mut(), self.balance.told.is_empty()) {
            last["balance"] = json!(self.balance.told);
        }
        sessions
    }
}
