//! `reelscale doctor`.

use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::out::{self, For, Format};
use super::program;
use super::{doctor_devices, doctor_memory};
use crate::comm::{Comm, library, library_version};
use crate::device::host::Instructions;
use crate::error::{Error, Exit, Result};
use crate::flow::own_rows::Room;
use crate::human::counted;
use crate::job::DEVICE_NAMES;
use crate::report::Machine;
use crate::{human, launch, signals};

/// Shows what a run would find here: MPI, launcher, cores, threads, memory, scratch, devices; says
/// what is wrong and how to cure it. Start it as you would start a run, with mpirun or srun.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = crate::commands::examples::DOCTOR)]
pub(crate) struct Args {
    /// Folder for scratch files, as run.scratch; default: the system's.
    #[arg(long)]
    scratch: Option<PathBuf>,
    /// Looks for what run.device = "cuda" or "opencl" would find, and compares its arithmetic with
    /// the processor's bit by bit; auto: for all GPUs; host: for none.
    #[arg(long, default_value = "auto", value_parser = PossibleValuesParser::new(DEVICE_NAMES))]
    device: String,
    /// For people, or one JSON object.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// What one rank finds.
#[derive(Debug, Serialize, Deserialize)]
struct Rank {
    host: String,
    processor: String,
    cores: usize,
    threads: usize,
    kernel: String,
    memory_bytes: u64,
    /// A line for each.
    devices: Vec<String>,
    /// Why it can't read the memory of another rank of its node.
    reads_none: Option<String>,
    problems: Vec<String>,
}

pub(crate) fn run(comm: &Comm, args: Args) -> Result<()> {
    let scratch = args.scratch.unwrap_or_else(std::env::temp_dir);
    let devices = doctor_devices::look(comm, &args.device);
    let found = look(scratch.clone(), devices, doctor_memory::look(comm));
    let text = serde_json::to_vec(&found).expect("plain data");
    let all = comm.all_gather_any(&text);
    let ranks: Vec<Rank> =
        all.iter().map(|text| serde_json::from_slice(text).expect("as written")).collect();
    let mut problems = problems_of(&ranks);
    if let Err(error) = launch::check_world(comm.size(), library().as_deref()) {
        problems.insert(0, error.text);
    }
    let facts = facts(&scratch);
    out::print(comm, For::Reading, || match args.format {
        Format::Json => human::json_line(&as_json(&facts, &ranks, &problems)),
        Format::Text => {
            let mut lines = describe(&facts, &ranks);
            lines.extend(problems.iter().map(|problem| format!("problem    {problem}")));
            if problems.is_empty() {
                lines.push("healthy    nothing wrong was found".into());
            }
            lines.join("\n") + "\n"
        }
    })?;
    match problems.len() {
        0 => Ok(()),
        count => {
            let text = format!("doctor: {}", counted(count as u64, "problem"));
            comm.agree(Err(Error::new(Exit::Launch, text)))
        }
    }
}

/// What this rank finds, with its devices and what is wrong with them.
fn look(
    scratch: PathBuf,
    (devices, wrong): (Vec<String>, Vec<String>),
    reads_none: Option<String>,
) -> Rank {
    let (machine, cores) = (Machine::here(launch::cores()), launch::cores());
    let mut problems = Vec::new();
    if let Err(error) = (Room { scratch, ..Room::unlimited() }).check() {
        problems.push(error.text);
    }
    if !Instructions::available().iter().any(|one| one.name() != "plain") {
        let text = "no vector instructions that the program has kernels for: it runs, slowly";
        problems.push(text.into());
    }
    problems.extend(launch::signal_trap());
    problems.extend(wrong);
    Rank {
        host: machine.host,
        processor: machine.processor,
        cores,
        threads: launch::threads(0),
        kernel: Instructions::detect().name().into(),
        memory_bytes: machine.memory_bytes,
        devices,
        reads_none,
        problems,
    }
}

/// The lines of all ranks' devices, each once.
fn describe_devices(ranks: &[Rank]) -> Vec<String> {
    let mut lines: Vec<(&str, Vec<usize>)> = Vec::new();
    for (rank, found) in ranks.iter().enumerate() {
        for line in &found.devices {
            match lines.iter_mut().find(|(other, _)| other == line) {
                Some((_, all)) => all.push(rank),
                None => lines.push((line, vec![rank])),
            }
        }
    }
    let line = |(line, mut own): (&str, Vec<usize>)| {
        // Two GPUs that are alike are two.
        let alike = own.iter().filter(|rank| **rank == own[0]).count();
        own.dedup();
        let count = if alike > 1 { format!("{alike} of ") } else { String::new() };
        let whose = match own.len() == ranks.len() {
            true => String::new(),
            false => format!(" (of {} of {} ranks)", own.len(), ranks.len()),
        };
        format!("device     {count}{line}{whose}")
    };
    lines.into_iter().map(line).collect()
}

/// What is wrong, of each rank and of how they fit together, each once.
fn problems_of(ranks: &[Rank]) -> Vec<String> {
    let mut problems = Vec::new();
    for (rank, found) in ranks.iter().enumerate() {
        problems.extend(found.problems.iter().map(|text| format!("rank {rank}: {text}")));
    }
    let mut hosts: Vec<&str> = ranks.iter().map(|found| found.host.as_str()).collect();
    hosts.dedup();
    for host in hosts {
        let here: Vec<&Rank> = ranks.iter().filter(|found| found.host == host).collect();
        let threads: usize = here.iter().map(|found| found.threads).sum();
        let online = launch::online();
        // One rank alone is told in a line of its own.
        let why = here.iter().find_map(|found| found.reads_none.as_deref());
        if let (Some(why), true) = (why, here.len() > 1) {
            problems.extend(doctor_memory::advice(why).map(|text| format!("{host}: {text}")));
        }
        let own = ranks[0].host == host;
        if own && threads < online && here.iter().all(|found| found.cores < online) {
            problems.push(format!(
                "{host}: {} of {} on {online} cores: the launcher binds ranks \
                 to fewer cores; hint: mpirun --bind-to none, or srun --cpus-per-task",
                counted(threads as u64, "thread"),
                counted(here.len() as u64, "rank")
            ));
        }
        if own && threads > online {
            problems.push(format!(
                "{host}: {} of {} on {online} cores; hint: fewer ranks a node",
                counted(threads as u64, "thread"),
                counted(here.len() as u64, "rank")
            ));
        }
    }
    problems
}

/// What all ranks have in common, by name.
fn facts(scratch: &Path) -> Vec<(&'static str, String)> {
    let variable = |name: &str| std::env::var(name).ok();
    let mpi = match (library_version(), library()) {
        (Some(library), _) => library,
        (None, Some(library)) => format!("{library}; not started: no launcher"),
        (None, None) => "none: this program is built without".into(),
    };
    let kernels: Vec<&str> = Instructions::available().iter().map(|one| one.name()).collect();
    let kernels = kernels.join(" ");
    let mut facts = vec![
        ("program", format!("reelscale {}, commit {}", program::VERSION, program::COMMIT)),
        ("launcher", launch::launcher()),
        ("pmix", variable("PMIX_VERSION").unwrap_or("not in use".into())),
        ("mpi", mpi),
        ("hdf5", crate::data::library_version()),
        ("kernels", format!("{kernels} (the last is chosen; products are our own, no BLAS)")),
        ("scratch", scratch.display().to_string()),
    ];
    if let Some(job) = variable("SLURM_JOB_ID") {
        let left = signals::slurm_end()
            .and_then(|end| end.duration_since(std::time::SystemTime::now()).ok());
        let left = left.map_or("unknown".into(), |left| human::duration(left.as_secs_f64()));
        facts.push(("slurm", format!("job {job}, time left {left}")));
    }
    facts
}

/// For programs.
fn as_json(facts: &[(&str, String)], ranks: &[Rank], problems: &[String]) -> Value {
    let facts = facts.iter().map(|(name, value)| (name.to_string(), json!(value)));
    let mut found: serde_json::Map<String, Value> = facts.collect();
    found.insert("ranks".into(), json!(ranks));
    found.insert("problems".into(), json!(problems));
    Value::Object(found)
}

/// Lines for people.
fn describe(facts: &[(&str, String)], ranks: &[Rank]) -> Vec<String> {
    let line = |(name, value): &(&str, String)| format!("{name:<11}{value}");
    let mut lines: Vec<String> = facts.iter().map(line).collect();
    lines.push(format!(
        "{:<10} {:<20} {:>5} {:>7} {:>8} {:>12}  processor",
        "rank", "host", "cores", "threads", "kernel", "memory"
    ));
    for (rank, found) in ranks.iter().enumerate() {
        lines.push(format!(
            "{rank:<10} {:<20} {:>5} {:>7} {:>8} {:>12}  {}",
            found.host,
            found.cores,
            found.threads,
            found.kernel,
            human::bytes(found.memory_bytes),
            found.processor
        ));
    }
    lines.extend(describe_devices(ranks));
    if let [alone] = ranks {
        let advice = alone.reads_none.as_deref().and_then(doctor_memory::advice);
        lines.extend(advice.map(|text| format!("on 2 ranks {text}")));
    }
    lines
}
