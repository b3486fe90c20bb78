//! Whole runs of the program that lies beside this one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::rates::Rate;

/// A job of one round.
const STEPS: &str = "
[model]
shared = [{ gating = true }]
[pretrain]
epochs = 1
experts = 1
batch = 4096
[experts]
epochs = 4
batch = 2048
[shared]
iterations = 4
[rounds]
count = 1
";

/// Of a run under compute-sanitizer where it finds something; the program has none like it.
const FOUND: i32 = 99;

/// The program of a bundle.
pub struct Runs<'a> {
    /// `run.device` of what is compared with the processor.
    pub kind: &'a str,
    out: &'a Path,
    folder: PathBuf,
}

impl Runs<'_> {
    /// Runs by the program beside this one, into folders of `out`.
    ///
    /// # Errors
    /// This one doesn't know where it is, or has been here before.
    pub fn new<'a>(kind: &'a str, out: &'a Path) -> Result<Runs<'a>, String> {
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let folder = own.parent().ok_or("a program without a folder")?.to_path_buf();
        let runs = out.join("runs");
        fs::create_dir(&runs).map_err(|error| format!("{}: {error}", runs.display()))?;
        Ok(Runs { kind, out, folder })
    }

    /// The pinned jobs, by name.
    ///
    /// # Errors
    /// There are none.
    pub fn jobs(&self) -> Result<Vec<String>, String> {
        let folder = self.folder.join("jobs");
        let told = |error: std::io::Error| format!("{}: {error}", folder.display());
        let mut names = Vec::new();
        for entry in fs::read_dir(&folder).map_err(told)? {
            let name = entry.map_err(told)?.file_name();
            names.extend(name.to_string_lossy().strip_suffix(".toml").map(String::from));
        }
        names.sort();
        if names.is_empty() { Err("found no jobs".into()) } else { Ok(names) }
    }

    /// Trains a pinned job on so many thread ranks; gives the hash of its model and events.
    ///
    /// # Errors
    /// It fails, or runs on something else.
    pub fn train(&self, job: &str, device: &str, ranks: usize) -> Result<String, String> {
        let run = self.run(&format!("{job}-{device}-{ranks}"));
        let ranks = format!("threads={ranks}");
        let path = format!("jobs/{job}.toml");
        self.told(self.training(&path, &run, device, &["--comm", &ranks]))?;
        hash(&run, device)
    }

    /// Makes rows for `steps`: so many, of so many classes and features.
    ///
    /// # Errors
    /// It fails.
    pub fn synthesize(&self, shape: [usize; 3]) -> Result<(), String> {
        let job = self.out.join("steps.toml");
        fs::write(&job, STEPS).map_err(|error| format!("{}: {error}", job.display()))?;
        let mut command = self.program();
        command.arg("synthesize").arg("--output").arg(self.out.join("rows"));
        for (name, size) in ["--rows", "--classes", "--features"].into_iter().zip(shape) {
            command.arg(name).arg(size.to_string());
        }
        self.told(command).map(drop)
    }

    /// Trains mixtures of so many experts on these rows; gives hash and rates of both steps.
    ///
    /// # Errors
    /// It fails, or runs on something else.
    pub fn steps(
        &self,
        shape: [usize; 3],
        experts: usize,
        device: &str,
    ) -> Result<(String, Vec<Rate>), String> {
        let run = self.run(&format!("steps-{experts}-{device}"));
        let job = self.out.join("steps.toml").display().to_string();
        let rows = format!("data.train=[{:?}]", self.out.join("rows/*.h5").display().to_string());
        let experts_set = format!("experts.count={experts}");
        self.told(self.training(&job, &run, device, &["--set", &rows, "--set", &experts_set]))?;
        let path = run.join("metrics.jsonl");
        let events = fs::read_to_string(&path).map_err(|error| error.to_string())?;
        let events: Vec<Value> =
            events.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let [rows, classes, features] = shape;
        let flops = (4 * features * classes * (2 * experts + 1) * rows) as f64;
        let rates = [("experts", "epoch", "expert"), ("shared", "iteration", "shared")].map(
            |(step, counter, name)| {
                let seconds = median_seconds(&events, step, counter)
                    .ok_or_else(|| format!("{}: no {step}", path.display()))?;
                let name = format!("{name} step of a run, {classes} x {experts}");
                Ok(Rate { name, rows, tflops: flops / seconds * 1e-12, seconds })
            },
        );
        let rates = rates.into_iter().collect::<Result<Vec<Rate>, String>>()?;
        rates.iter().for_each(|rate| println!("{device}: {rate:?}"));
        Ok((hash(&run, device)?, rates))
    }

    /// Trains the first job on the device under a tool of compute-sanitizer; gives its last line.
    ///
    /// # Errors
    /// It finds something, or fails.
    pub fn under(&self, sanitizer: &Path, tool: &str) -> Result<String, String> {
        let job = self.jobs()?.swap_remove(0);
        let run = self.run(&format!("{job}-{tool}"));
        let training = self.training(&format!("jobs/{job}.toml"), &run, self.kind, &[]);
        // It may take its time, but not all.
        let mut command = Command::new("timeout");
        command.arg("60").arg(sanitizer).args(["--tool", tool, "--error-exitcode"]);
        command.arg(FOUND.to_string()).args(["--target-processes", "application-only"]);
        command.arg(training.get_program()).args(training.get_args());
        command.current_dir(&self.folder).env_remove("REELSCALE_DEVICE");
        let output = self.told(command)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        hash(&run, self.kind)?;
        let summary = text.lines().rfind(|line| line.contains("SUMMARY"));
        summary.map(|line| line.trim_matches(['=', ' ']).into()).ok_or("no summary".into())
    }

    fn run(&self, name: &str) -> PathBuf {
        self.out.join("runs").join(name)
    }

    /// The program, in the bundle's folder, which is where the jobs' shards are looked for.
    fn program(&self) -> Command {
        let mut command = Command::new(self.folder.join("reelscale"));
        command.current_dir(&self.folder).env_remove("REELSCALE_DEVICE");
        command
    }

    fn training(&self, job: &str, run: &Path, device: &str, more: &[&str]) -> Command {
        let mut command = self.program();
        command.args(["train", job, "--output"]).arg(run);
        command.arg("--set").arg(format!("run.device={device:?}")).args(more);
        command
    }

    /// What a command says that ends well.
    fn told(&self, mut command: Command) -> Result<Output, String> {
        let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
        match output.status.success() {
            true => Ok(output),
            false => {
                let (status, text) = (output.status, String::from_utf8_lossy(&output.stderr));
                Err(format!("{command:?}: {status}: {}", text.trim_end()))
            }
        }
    }
}

/// The result of a finished run that ran on this device.
fn hash(run: &Path, device: &str) -> Result<String, String> {
    let path = run.join("run.json");
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = fs::read_to_string(&path).map_err(|error| told(&error))?;
    let record: Value = serde_json::from_str(&text).map_err(|error| told(&error))?;
    let found = record["versions"]["device"].as_str().unwrap_or_default();
    if !found.to_lowercase().starts_with(device) {
        return Err(told(&format!("ran on {found:?}, expected {device}")));
    }
    record["result_hash"].as_str().map(String::from).ok_or_else(|| told(&"no hash"))
}

/// Of the events of a step, but for the first, which pays for what comes before.
fn median_seconds(events: &[Value], step: &str, counter: &str) -> Option<f64> {
    let events = events.iter().filter(|event| event["step"] == step);
    let later = events.filter(|event| event[counter].as_u64() > Some(1));
    let mut seconds: Vec<f64> =
        later.filter_map(|event| event["timing"]["seconds"].as_f64()).collect();
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied()
}
