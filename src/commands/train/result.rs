//! What a run leaves when it ends: its model, its events, its record.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::super::program;
use super::Args;
use super::advice::Measured;
use super::end_report::{self, Began, with_what_they_recorded};
use crate::artifact;
use crate::comm::{Comm, library_version};
use crate::commands::allocator::Counted;
use crate::disk::Disk;
use crate::error::{Exit, Result};
use crate::human::hex;
use crate::job::{Job, MEASURED};
use crate::launch;
use crate::model::annotator::Annotator;
use crate::model::experts::layouts;
use crate::optim::Solver;
use crate::report::{
    Kept, MODEL, Machine, Report, RunDirectory, RunRecord, Timer, events_of, host, table,
};
use crate::system::own_peak;
use crate::tell;
use crate::train::Trained;

/// What all ranks compute with.
#[derive(Clone, Copy)]
pub(crate) struct ComputedBy<'a> {
    /// Instructions of the processor's kernels.
    pub(crate) kernel: &'a str,
    /// A line about their devices.
    pub(crate) devices: &'a str,
    /// Whether these are processors alone.
    pub(crate) on_host: bool,
}

/// A run that is to leave something behind.
pub(crate) struct Ending<'a> {
    comm: &'a Comm,
    disk: &'a Disk,
    args: &'a Args,
    /// On rank 0.
    directory: Option<&'a RunDirectory>,
    job: &'a Job,
    computed_by: ComputedBy<'a>,
    threads: usize,
    began: Began<'a>,
    /// The model's content hash, once it is known.
    model_hash: Option<String>,
    /// That of the model which a start before may have put in place.
    pub(crate) named_before: String,
    /// The rows and contents of the shards that the job names.
    data: Value,
    /// The table of timers and the line that the run ends with.
    pub(crate) lines: Vec<String>,
}

impl<'a> Ending<'a> {
    pub(crate) fn new(
        (comm, disk, args): (&'a Comm, &'a Disk, &'a Args),
        directory: Option<&'a RunDirectory>,
        (job, computed_by, threads): (&'a Job, ComputedBy<'a>, usize),
        (began, data): (Began<'a>, Value),
    ) -> Ending<'a> {
        let (model_hash, named_before, lines) = (None, String::new(), Vec::new());
        Ending {
            comm,
            disk,
            args,
            directory,
            job,
            computed_by,
            threads,
            began,
            model_hash,
            named_before,
            data,
            lines,
        }
    }

    /// Puts all of it in place; what is there already stays. Every rank calls it.
    ///
    /// # Errors
    /// Exit 5, common to all ranks; then it can be called again.
    pub(crate) fn keep(&mut self, report: &mut Report, trained: &Trained) -> Result<()> {
        let comm = self.comm;
        let held = self.directory.map_or(Ok(()), |directory| directory.held().check());
        comm.agree(held)?;
        comm.agree(report.make_events_whole())?;
        let model_hash = match trained.done {
            true => self.keep_model(&trained.annotator)?,
            // The record goes on naming it.
            false => self.named_before.clone(),
        };
        report.timers.set("communication wait", comm.traffic().wait_seconds);
        let timers = gathered(comm, report);
        let cores = comm.all_gather(&[launch::bound_to().map(|cores| cores as u64)]);
        let result = Sha256::digest(format!("{} {model_hash}", hex(&report.events_hash())));
        let memory = self.memory();
        let traffic = comm.traffic();
        let events = String::from_utf8_lossy(report.events());
        let events = events_of(&events);
        let kept = Kept::of(&events, &self.job.experts);
        let (told, sessions) = self.told((report, trained), (&timers, cores, memory), &events);
        let told_so = self.args.stop_exit_code && !trained.done;
        let record = RunRecord {
            format: "reelscale-run",
            creator: concat!("reelscale ", env!("CARGO_PKG_VERSION")),
            job: self.job,
            machine: Machine::here(launch::cores()),
            ranks: comm.size(),
            threads_per_rank: self.threads,
            versions: versions(self.computed_by),
            started_unix_seconds: unix_seconds(self.began.started),
            pid: std::process::id(),
            seconds: report.elapsed().as_secs_f64(),
            timers: timers.iter().map(|(name, ranks, _)| (name.clone(), ranks.clone())).collect(),
            messages: comm.all_gather(&[traffic.messages]),
            bytes_sent: comm.all_gather(&[traffic.bytes_sent]),
            result_hash: if trained.done { hex(&result) } else { String::new() },
            model_hash,
            kept,
            report: told,
            data: self.data.clone(),
            reason: trained.reason.clone(),
            finished: trained.done,
            sessions,
            exit: if told_so { Exit::Stopped as u8 } else { 0 },
            log_lines_dropped: log_lines_dropped(comm),
        };
        let written = self.directory.map_or(Ok(()), |directory| directory.record(&record));
        comm.agree(written)?;
        self.lines = table(&timers).lines().map(String::from).collect();
        self.lines.extend(end_report::lines(&record.report));
        self.lines.extend(record.kept.iter().map(|kept| kept.sentence(trained.done)));
        if trained.done {
            self.lines.push(format!("{}; result {}", record.reason, record.result_hash));
        }
        Ok(())
    }

    /// The report of all starts, and what each of them has recorded, this one at last.
    fn told(
        &self,
        (report, trained): (&Report, &Trained),
        (timers, cores, memory): (&[Timer], Vec<[u64; 2]>, Value),
        events: &[Value],
    ) -> (Value, Vec<Value>) {
        let (job, began, annotator) = (self.job, &self.began, &trained.annotator);
        let mut sessions = with_what_they_recorded(&trained.sessions, &began.earlier);
        let seconds = report.elapsed().as_secs_f64();
        let last = match sessions.last_mut() {
            Some(Value::Object(last)) => last,
            _ => return (Value::Null, sessions),
        };
        let own = end_report::session(timers, seconds, began);
        last.extend(own.as_object().cloned().unwrap_or_default());
        last.insert("memory".into(), memory);
        last.insert("checkpoint_bytes".into(), json!(report.checkpoint_bytes));
        let all_pretrain = !last.contains_key("pretraining_ranks");
        let shape = &annotator.shape;
        let width = annotator.layers.outputs();
        let by_batches = matches!(job.experts.solver, Solver::MiniBatch(_));
        // Devices go through a window in their own way.
        let on_host = self.computed_by.on_host;
        let measured = Measured {
            seconds: seconds + began.opening_seconds,
            timers,
            cores,
            class_blocks: began.class_blocks.clone(),
            row_blocks: began.row_blocks.clone(),
            threads: if by_batches && on_host { self.threads } else { 0 },
            class_blocks_most: layouts(&began.experts, shape.dummy, width, 0).len(),
            grid: began.grid,
            longer_window: began.longer_window,
            all_pretrain,
            balanced: job.run.balance == MEASURED,
        };
        let advice = measured.advice();
        let last = sessions.last().unwrap_or(&Value::Null);
        let rates = end_report::rates(job, began, width, events, last);
        (end_report::report(&sessions, rates, &advice), sessions)
    }

    /// Bytes of the rank that needs most: planned, held, and all of its process, the program's own,
    /// MPI's and HDF5's too. Nothing where ranks are threads of a process. Collective.
    fn memory(&self) -> Value {
        let held = self.began.counted.and_then(Counted::peak).unwrap_or(0);
        let all = of_processes(self.comm, [held as u64, own_peak()]);
        let most = |of: usize| all.iter().map(|bytes| bytes[of]).max().unwrap_or(0);
        if all.len() < self.comm.size() || most(0) == 0 {
            return Value::Null;
        }
        json!({
            "planned_bytes": self.began.planned_bytes,
            "held_bytes": most(0),
            "resident_bytes": most(1),
        })
    }

    /// Puts the model in place and returns its content hash. The record names the hash before, so
    /// that a run which ends in between knows its own model.
    fn keep_model(&mut self, model: &Annotator) -> Result<String> {
        let hash = match self.model_hash.take() {
            Some(hash) => hash,
            None => artifact::content_hash(self.comm, model),
        };
        self.model_hash = Some(hash.clone());
        let record = json!({ "format": "reelscale-run", "finished": false, "model_hash": hash,
            "sessions": self.began.earlier });
        let written = self.directory.map_or(Ok(()), |directory| directory.record(&record));
        self.comm.agree(written)?;
        let path = self.args.output.join(MODEL);
        artifact::save_hashed(self.comm, self.disk, &path, model, &hash)?;
        Ok(hash)
    }
}

pub(crate) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Lines for standard error that nobody took, of all processes.
fn log_lines_dropped(comm: &Comm) -> u64 {
    of_processes(comm, [tell::dropped(), 0]).iter().map(|[dropped, _]| dropped).sum()
}

/// What each process counts of itself, once each: ranks that are threads of one share its counts.
fn of_processes(comm: &Comm, [first, second]: [u64; 2]) -> Vec<[u64; 2]> {
    let process = [u64::from(crc32c::crc32c(host().as_bytes())), std::process::id().into()];
    let all = comm.all_gather(&[[process[0], process[1], first, second]]);
    let processes: BTreeMap<[u64; 2], [u64; 2]> =
        all.into_iter().map(|[host, pid, first, second]| ([host, pid], [first, second])).collect();
    processes.into_values().collect()
}

/// Every rank's seconds of every timer.
fn gathered(comm: &Comm, report: &Report) -> Vec<Timer> {
    let totals = report.timers.totals();
    let seconds: Vec<f64> = totals.iter().map(|timer| timer.1).collect();
    let ranks = comm.all_gather_any(&seconds);
    let of = |index: usize| ranks.iter().map(|rank| rank[index]).collect();
    totals
        .iter()
        .enumerate()
        .map(|(index, (name, _, calls))| (name.clone(), of(index), *calls))
        .collect()
}

fn versions(ComputedBy { kernel, devices, .. }: ComputedBy) -> BTreeMap<&'static str, String> {
    let mpi = library_version().unwrap_or("none".into());
    let (hdf5, kernel) = (crate::data::library_version(), kernel.to_string());
    let commit = program::COMMIT.to_string();
    let device = devices.to_string();
    BTreeMap::from([
        ("commit", commit),
        ("device", device),
        ("hdf5", hdf5),
        ("kernel", kernel),
        ("mpi", mpi),
    ])
}
