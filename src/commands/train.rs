//! `reelscale train`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use crate::checkpoint;
use crate::comm::{Comm, library_version};
use crate::error::Result;
use crate::human;
use crate::job::Job;
use crate::launch;
use crate::report::{Machine, Report, RunDirectory, RunRecord, table};
use crate::train::{Data, instructions, plan, train};

/// Trains a model as a job file says.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The job file; jobs/all-keys.toml documents every key.
    job: PathBuf,
    /// Directory of the run; it must be new or empty. The trained model is OUTPUT/model.
    #[arg(long)]
    output: PathBuf,
    /// Sets a key of the job: --set experts.count=16
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    overrides: Vec<String>,
}

pub fn run(comm: &Comm, args: Args) -> Result<()> {
    let started = SystemTime::now();
    let mut job = comm.agree(Job::read(&args.job, &args.overrides))?;
    let whole_job = job.clone();
    job.run.threads = launch::threads(job.run.threads);
    let kernel = comm.agree(instructions(&job))?.name();
    let data = Data::open(comm, &job)?;
    // What can't run leaves no directory behind.
    plan(comm, &job, &data)?;
    let directory = match comm.is_root() {
        true => comm.agree(RunDirectory::create(&args.output).map(Some))?,
        false => comm.agree(Ok(None))?,
    };
    let prepare = |directory: &RunDirectory| {
        let text = toml::to_string(&whole_job).expect("a job is plain data");
        directory.write("job.toml", &text)?;
        directory.create_file("metrics.jsonl")
    };
    let mut report = Report::new(comm.agree(directory.as_ref().map(prepare).transpose())?);
    let (rows, ranks, threads) = (data.train.rows(), comm.size(), job.run.threads);
    log::info!(
        "{} rows of {} features, {} classes; {ranks} ranks x {threads} threads, {kernel} kernel",
        human::count(rows as f64),
        data.train.dataset().width(),
        data.train.dataset().class_count()
    );
    let trained = train(comm, &job, data, &mut report)?;
    let model_hash = checkpoint::save(comm, &args.output.join("model"), &trained.annotator)?;
    report.timers.add("communication wait", comm.traffic().wait_seconds);
    let timers = gathered(comm, &report);
    let result = Sha256::digest(format!("{} {model_hash}", report.events_hash()));
    let traffic = comm.traffic();
    let record = RunRecord {
        format: "reelscale-run",
        creator: concat!("reelscale ", env!("CARGO_PKG_VERSION")),
        job: &whole_job,
        machine: Machine::here(launch::cores()),
        ranks,
        threads_per_rank: threads,
        versions: versions(kernel),
        started_unix_seconds: started.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
        seconds: report.elapsed().as_secs_f64(),
        timers: timers.iter().cloned().collect(),
        messages: comm.all_gather(&[traffic.messages]),
        bytes_sent: comm.all_gather(&[traffic.bytes_sent]),
        result_hash: result.iter().map(|byte| format!("{byte:02x}")).collect(),
        model_hash,
        reason: trained.reason,
        exit: 0,
    };
    report.end();
    let write = |directory: &RunDirectory| {
        let text = serde_json::to_string_pretty(&record).expect("a record is plain data");
        directory.write("run.json", &(text + "\n"))
    };
    comm.agree(directory.as_ref().map_or(Ok(()), write))?;
    table(&timers).lines().for_each(|line| log::info!("{line}"));
    log::info!("{}; result {}", record.reason, record.result_hash);
    Ok(())
}

/// Every rank's seconds of every timer.
fn gathered(comm: &Comm, report: &Report) -> Vec<(String, Vec<f64>)> {
    let totals = report.timers.totals();
    let seconds: Vec<f64> = totals.iter().map(|timer| timer.1).collect();
    let ranks = comm.all_gather_any(&seconds);
    let of = |index: usize| ranks.iter().map(|rank| rank[index]).collect();
    totals.iter().enumerate().map(|(index, timer)| (timer.0.clone(), of(index))).collect()
}

fn versions(kernel: &str) -> BTreeMap<&'static str, String> {
    let mpi = library_version().unwrap_or("none: serial or thread ranks".into());
    let (hdf5, kernel) = (crate::data::library_version(), kernel.to_string());
    BTreeMap::from([("hdf5", hdf5), ("mpi", mpi), ("kernel", kernel)])
}
