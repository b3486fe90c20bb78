//! `reelscale train`.

mod result;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use self::result::{Ending, unix_seconds};
use crate::artifact::ModelFolder;
use crate::checkpoint::Store;
use crate::clock::Clock;
use crate::comm::{Comm, same_on_all};
use crate::data::ReadBefore;
use crate::device::Host;
use crate::disk::{Disk, there};
use crate::error::{Error, Exit, Result};
use crate::flow::verify::verify;
use crate::human;
use crate::job::{Job, documented};
use crate::launch;
use crate::report::{EarlierRun, Finished, Report, RunDirectory, SHARDS_READ, failure, host};
use crate::signals::{self, Deadline};
use crate::train::{Checkpoints, Data, Heartbeat, MARGIN, Run, Tries, host_of, plan};

/// Trains a model as a job file says.
///
/// A run that was told to stop (SIGUSR1, SIGUSR2, SIGTERM, SIGINT to any rank, the end of its time)
/// leaves a checkpoint; the same command goes on from it, on any number of ranks, with the same
/// result.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = documented())]
pub struct Args {
    /// The job file, or RUN/job.toml of a run; --help lists every key.
    pub job: PathBuf,
    /// Directory of the run: new, empty, or that of the same run. The trained model is
    /// OUTPUT/model.
    #[arg(long)]
    pub output: PathBuf,
    /// Sets a key of the job: --set experts.count=16
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Stops in time before this is over: 90m, 36h, 1:30:00. Slurm's time limit counts by itself.
    #[arg(long, value_parser = signals::duration)]
    pub max_time: Option<Duration>,
    /// Leaves with exit code 75, not 0, when told to stop before the run is done.
    #[arg(long)]
    pub stop_exit_code: bool,
    /// Goes on where the file system gives no locks. Then nothing keeps two runs with the same
    /// OUTPUT apart.
    #[arg(long)]
    pub no_lock: bool,
    /// Reads all shards in full before anything is computed, and checks every byte.
    #[arg(long)]
    pub verify: bool,
}

/// What a run stands in.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    pub disk: Disk,
    pub clock: Clock,
    /// In a test's world there are no signals, no allocation that ends and nobody who watches ranks
    /// from outside.
    pub simulated: bool,
}

pub fn run(comm: &Comm, args: Args) -> Result<()> {
    run_in(comm, args, &Surroundings::default())
}

/// The same in a world that may be a test's own.
///
/// # Errors
/// Those of the command.
pub fn run_in(comm: &Comm, args: Args, surroundings: &Surroundings) -> Result<()> {
    let Surroundings { disk, clock, simulated } = surroundings;
    let started = clock.today();
    if !simulated {
        comm.agree(signals::set_on_signals(comm.stop_flag()))?;
    }
    comm.agree(in_utf8(&args.output))?;
    let job = comm.agree(Job::read(&args.job, &args.overrides))?;
    if let Some(watch) = comm.watch() {
        watch.set_patience(Duration::from_secs_f64(job.run.stall_seconds));
    }
    same_on_all(comm, Exit::Launch, "job", &shared_by_ranks(&args, &job))?;
    // Every rank looks: what it finds is the same for all, or an error that all share.
    let found = comm.agree(RunDirectory::look(&args.output, &job))?;
    same_on_all(comm, Exit::RunDirectory, &args.output.to_string_lossy(), found.name())?;
    if let EarlierRun::Finished(run) = &found {
        return comm.agree(finished(disk, &args.output, run));
    }
    let args = &args;
    let mut start = Start { comm, args, surroundings, started, directory: None, found };
    let outcome = start.run(job);
    if let Err(error) = &outcome
        && !error.is_stop()
        && (comm.is_root() || !error.agreed)
    {
        failure::run_fails(error.rank.unwrap_or(comm.rank()), error);
    }
    failure::run_ends();
    outcome
}

/// One start of a run: the run directory, which rank 0 has, and what was found in it.
struct Start<'a> {
    comm: &'a Comm,
    args: &'a Args,
    surroundings: &'a Surroundings,
    started: SystemTime,
    directory: Option<RunDirectory>,
    found: EarlierRun,
}

impl Start<'_> {
    fn run(&mut self, mut job: Job) -> Result<()> {
        let (comm, args, whole_job) = (self.comm, self.args, job.clone());
        let there = matches!(self.found, EarlierRun::Unfinished(_));
        // A run that is there is taken at once, so that no other goes on with it meanwhile.
        if there && self.take(&whole_job)?.is_none() {
            return Ok(());
        }
        job.run.threads = launch::threads(job.run.threads);
        let device = comm.agree(host_of(&job))?;
        let before = read_before(&args.output.join(SHARDS_READ));
        let data = match opened(comm, &job, &before, args.verify) {
            Err(error) if error.is_stop() => {
                return stopped(comm, args, "told to stop before anything was computed");
            }
            data => data?,
        };
        // What can't run leaves no directory behind.
        plan(comm, &job, &data)?;
        if !there && self.take(&whole_job)?.is_none() {
            return Ok(());
        }
        let directory = self.directory.as_ref();
        comm.agree(directory.map_or(Ok(()), |directory| directory.begin(&whole_job)))?;
        let shards = data.read_in_full();
        let write_shards = |directory: &RunDirectory| match shards != before {
            true => directory.write_shards(&shards.to_text()),
            false => Ok(()),
        };
        comm.agree(directory.map_or(Ok(()), write_shards))?;
        self.compute(&job, &whole_job, data, device)
    }

    /// Trains, and leaves what it comes to.
    fn compute(&self, job: &Job, whole_job: &Job, data: Data, device: Host) -> Result<()> {
        let (comm, args, directory) = (self.comm, self.args, self.directory.as_ref());
        let Surroundings { disk, clock, simulated } = self.surroundings;
        let mut report = Report::with_clock(directory.map(RunDirectory::events), clock.clone());
        let (rows, ranks, threads) = (data.train.rows(), comm.size(), job.run.threads);
        let kernel = device.instructions().name();
        log::info!(
            "{} rows of {} features, {} classes; {ranks} ranks x {threads} threads, {kernel} \
             kernel",
            human::count(rows as f64),
            data.train.dataset().width(),
            data.train.dataset().class_count()
        );
        let checkpoints = self.checkpoints(job, whole_job, &data);
        // Signs in files are for ranks that can't reach each other.
        let patience = match *simulated || comm.watch().is_some() {
            true => Duration::ZERO,
            false => Duration::from_secs_f64(job.run.stall_seconds),
        };
        let heartbeat = Heartbeat::start(comm, &args.output.join("ranks"), patience);
        let (job_file, started) = (whole_job, self.started);
        let mut ending =
            Ending::new((comm, disk, args), directory, (job_file, kernel, threads), started);
        if let EarlierRun::Unfinished(before) = &self.found {
            ending.named_before.clone_from(&before.model_hash);
        }
        let run = Run::begin(comm, job, data, device, &mut report, Some(checkpoints))?;
        let trained =
            run.finish_and_keep(tries(), &mut |report, trained| ending.keep(report, trained))?;
        report.end();
        drop(heartbeat);
        comm.barrier();
        if let Some(directory) = directory {
            directory.remove_signs();
            if trained.done {
                Store::new(args.output.join("checkpoints"), disk.clone()).remove_all();
            }
        }
        ending.lines.iter().for_each(|line| log::info!("{line}"));
        match trained.done {
            true => Ok(()),
            false => stopped(comm, args, &trained.reason),
        }
    }

    /// The checkpoints of the run, and its deadline.
    fn checkpoints(&self, job: &Job, whole_job: &Job, data: &Data) -> Checkpoints {
        let Surroundings { disk, clock, simulated } = self.surroundings;
        let (comm, args) = (self.comm, self.args);
        let session = session(&self.found, self.started, comm.size(), job.run.threads);
        let (identity, contents) = (data.identity(), data.contents());
        let identity =
            json!({ "job": whole_job.to_toml(), "data": identity, "contents": contents });
        let store = Store::new(args.output.join("checkpoints"), disk.clone());
        let timed = comm.is_root() && !simulated;
        let deadline = timed.then(|| end(self.started, args.max_time)).flatten();
        let deadline = deadline.map(|end| Deadline::watch(end, MARGIN, comm.stop_flag()));
        let held = self.directory.as_ref().map(|directory| directory.held().clone());
        Checkpoints::new(store, job.checkpoint.clone(), identity, session, deadline)
            .with_clock(clock.clone())
            .with_held(held)
    }

    /// Takes the directory for this run; what rank 0 finds there under the lock is what counts.
    /// Nothing comes back where the run has been finished meanwhile, which is said. From then on a
    /// failure is recorded there.
    ///
    /// # Errors
    /// As `RunDirectory::open`; exit 6: there is a model that isn't this run's; common to all
    /// ranks.
    fn take(&mut self, job: &Job) -> Result<Option<()>> {
        let (comm, args, disk) = (self.comm, self.args, &self.surroundings.disk);
        let open = || {
            let opened = RunDirectory::open(disk, &args.output, job, args.no_lock)?;
            match &opened.1 {
                EarlierRun::Finished(run) => finished(disk, &args.output, run)?,
                EarlierRun::Unfinished(run) => own_model(&args.output, &run.model_hash)?,
                EarlierRun::Nothing => own_model(&args.output, "")?,
            }
            Ok(opened)
        };
        let opened = comm.agree(comm.is_root().then(open).transpose())?;
        if let Some((directory, found)) = opened {
            (self.directory, self.found) = (Some(directory), found);
        }
        let finished = comm.is_root() && matches!(self.found, EarlierRun::Finished(_));
        if comm.max(u64::from(finished)) == 1 {
            return Ok(None);
        }
        self.failures_go_there(job);
        Ok(Some(()))
    }

    fn failures_go_there(&self, job: &Job) {
        // Ranks of one process would share what a simulated world has for itself.
        if self.surroundings.simulated {
            return;
        }
        let comm = self.comm;
        let name = format!("{} {} {:?}", host(), std::process::id(), self.started);
        let name = comm.all_gather_any(name.as_bytes()).swap_remove(0);
        let seconds = unix_seconds(self.started);
        let session =
            json!({ "started_unix_seconds": seconds, "host": host(), "ranks": comm.size() });
        let record = json!({
            "format": "reelscale-run",
            "creator": concat!("reelscale ", env!("CARGO_PKG_VERSION")),
            "job": job,
            "ranks": comm.size(),
            "started_unix_seconds": seconds,
            "sessions": [session],
        });
        let (disk, output) = (&self.surroundings.disk, &self.args.output);
        let start = String::from_utf8_lossy(&name);
        failure::run_begins(disk, &RunDirectory::record_in(output), record, &start);
    }
}

/// HDF5, which writes the model in the end, takes paths in UTF-8 only.
fn in_utf8(output: &Path) -> Result<()> {
    match output.to_str() {
        Some(_) => Ok(()),
        None => Err(Error::usage(format!("--output: found {output:?}, expected UTF-8"))
            .hint("choose another --output")),
    }
}

/// For how long the model is tried to be put in place; REELSCALE_KEEP_SECONDS is for tests.
fn tries() -> Tries {
    let seconds = std::env::var("REELSCALE_KEEP_SECONDS").ok();
    let whole = seconds.and_then(|text| text.parse().ok()).map(Duration::from_secs);
    let default = Tries::default();
    Tries { whole: whole.unwrap_or(default.whole), ..default }
}

/// The end of a run that was told to stop.
///
/// # Errors
/// Exit 75, where that is wanted.
fn stopped(comm: &Comm, args: &Args, reason: &str) -> Result<()> {
    match args.stop_exit_code {
        true => comm.agree(Err(Error::stopped())),
        false => {
            log::info!("{reason}");
            Ok(())
        }
    }
}

/// Says that a run is finished. Its record may be there without lasting yet.
///
/// # Errors
/// Exit 6: its model isn't there, or is another one; exit 5: the file system refuses.
fn finished(disk: &Disk, output: &Path, run: &Finished) -> Result<()> {
    let path = output.join("model");
    disk.sync_above(&path).map_err(|error| Error::file(output, &error))?;
    let found = match there(&path).map_err(|error| Error::file(&path, &error))? {
        None => "nothing".to_string(),
        Some(_) => ModelFolder::open(&path)?.manifest.content_hash,
    };
    if found != run.model_hash {
        let text = format!(
            "{}: found {found}, expected the model {} of the finished run",
            path.display(),
            run.model_hash
        );
        return Err(Error::run_directory(text).hint(
            "put it back; without run.json the run goes on from its last checkpoint, or anew",
        ));
    }
    log::info!("{}: this run is finished: {}", output.display(), run.line);
    Ok(())
}

/// Refuses a model that isn't the one, of this hash, which this run has put in place: the run could
/// not put its own there in the end.
fn own_model(output: &Path, hash: &str) -> Result<()> {
    let path = output.join("model");
    if there(&path).map_err(|error| Error::file(&path, &error))?.is_none()
        || ModelFolder::open(&path).is_ok_and(|model| model.manifest.content_hash == hash)
    {
        return Ok(());
    }
    let text = format!("{}: exists already and isn't of this run", path.display());
    Err(Error::run_directory(text).hint("move it away, or choose another --output"))
}

/// What `path` says of shards that have been read in full, if it is there.
fn read_before(path: &Path) -> ReadBefore {
    let parsed = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return ReadBefore::default(),
        text => text.map_err(|error| error.to_string()).and_then(|text| ReadBefore::parse(&text)),
    };
    parsed.unwrap_or_else(|error| {
        let path = path.display();
        log::warn!("{path}: {error}; shards without proof are read in full once more");
        ReadBefore::default()
    })
}

/// What the job names, checked in full where that is asked for.
fn opened(comm: &Comm, job: &Job, before: &ReadBefore, verified: bool) -> Result<Data> {
    let data = Data::open_again(comm, job, before)?;
    if verified {
        let lists = std::iter::once(&data.train).chain(&data.validation);
        verify(comm, &lists.map(|rows| rows.dataset()).collect::<Vec<_>>())?;
    }
    Ok(data)
}

/// What all ranks must be told alike: the job, where the run is kept and how it ends.
fn shared_by_ranks(args: &Args, job: &Job) -> String {
    let Args { job: _, overrides: _, max_time: _, no_lock: _, output, stop_exit_code, verify } =
        args;
    let job = job.computed();
    format!(
        "{job}--output = {output:?}\n--stop-exit-code = {stop_exit_code}\n--verify = {verify}\n"
    )
}

/// What the run's record keeps of this start; changes of the job are told, too.
fn session(found: &EarlierRun, started: SystemTime, ranks: usize, threads: usize) -> Value {
    let mut changes = Vec::new();
    if let EarlierRun::Unfinished(run) = found {
        for (key, before, now) in &run.changes.harmless {
            changes.push(format!("{key}: {before} -> {now}"));
        }
    }
    changes.iter().for_each(|change| log::info!("changed since the run began: {change}"));
    json!({
        "started_unix_seconds": unix_seconds(started),
        "host": host(),
        "ranks": ranks,
        "threads_per_rank": threads,
        "slurm_job": std::env::var("SLURM_JOB_ID").ok(),
        "changes": changes,
    })
}

/// The end of the time that this start has, if there is one.
fn end(started: SystemTime, max_time: Option<Duration>) -> Option<SystemTime> {
    let own = max_time.map(|time| started + time);
    own.into_iter().chain(signals::slurm_end()).min()
}
