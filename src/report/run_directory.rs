//! The directory of a run: made for it, never taken from anybody.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

use super::record::host;
use crate::error::{Error, Result};
use crate::job::{Changes, Job};

const LOCK: &str = "lock";
/// No lock file is larger.
const LOCK_BYTES_MAX: u64 = 4096;

/// A directory that holds one run: job.toml, metrics.jsonl, checkpoints/, run.json, model/. While
/// this value lives, no other process can have it.
pub struct RunDirectory {
    path: PathBuf,
    _lock: File,
}

/// What is in the place of a run directory.
#[derive(Debug)]
pub enum Found {
    /// Nothing yet.
    Nothing,
    /// A run that can go on, and what of the job has changed since it began.
    Unfinished(Changes),
    /// A run that is finished, with the line that says how.
    Finished(String),
}

impl Found {
    /// What it is, for ranks to compare.
    pub fn name(&self) -> &'static str {
        match self {
            Found::Nothing => "nothing",
            Found::Unfinished(_) => "a run that isn't finished",
            Found::Finished(_) => "a finished run",
        }
    }
}

impl RunDirectory {
    /// What is at `path` for a run of `job`. Changes nothing.
    ///
    /// # Errors
    /// Exit 2: something that isn't a run directory; exit 6: the run of another job.
    pub fn look(path: &Path, job: &Job) -> Result<Found> {
        let name = path.display();
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries.flatten().map(|entry| entry.file_name()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(Error::usage(format!("{name}: {error}"))),
        };
        let names: Vec<_> = entries.collect();
        if !names.iter().any(|name| name == "job.toml") {
            // What a run leaves that ended before it began.
            let begun = |name: &std::ffi::OsString| name == LOCK || name == "job.toml.tmp";
            return match names.iter().all(begun) {
                true => Ok(Found::Nothing),
                false => Err(Error::usage(format!("{name}: exists and isn't a run directory"))
                    .hint("choose another --output")),
            };
        }
        let read = |file: &str| {
            let path = path.join(file);
            fs::read_to_string(&path)
                .map_err(|error| Error::run_directory(format!("{}: {error}", path.display())))
        };
        let changes = job.changes_since(&read("job.toml")?)?;
        if !changes.forbidden.is_empty() {
            let line = |(key, before, now): &(String, String, String)| {
                format!("{key}: found {now}, the run has {before}")
            };
            let lines: Vec<String> = changes.forbidden.iter().map(line).collect();
            let text = format!("{name}: holds a run of another job: {}", lines.join("\n  "));
            return Err(Error::run_directory(text).hint("choose another --output"));
        }
        if !names.iter().any(|name| name == "run.json") {
            return Ok(Found::Unfinished(changes));
        }
        let path = path.join("run.json");
        let record: Value = serde_json::from_str(&read("run.json")?).map_err(|error| {
            Error::run_directory(format!("{}: {error}", path.display()))
                .hint("without that file the run goes on from its last checkpoint")
        })?;
        if record["finished"] == false {
            return Ok(Found::Unfinished(changes));
        }
        let text = |key: &str| record[key].as_str().unwrap_or("unknown").to_string();
        Ok(Found::Finished(format!("{}; result {}", text("reason"), text("result_hash"))))
    }

    /// Makes the directory, if it isn't there, and takes it for this process. The lock goes with
    /// the process, however that ends.
    ///
    /// # Errors
    /// Exit 6: another process has it; exit 5: the file system refuses.
    pub fn open(path: &Path, job: &Job) -> Result<RunDirectory> {
        let told = |error: io::Error| Error::storage(format!("{}: {error}", path.display()));
        fs::create_dir_all(path).map_err(told)?;
        let file = path.join(LOCK);
        let options =
            File::options().read(true).write(true).create(true).truncate(false).open(&file);
        let mut lock = options.map_err(told)?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut owner = String::new();
            let _ = (&lock).take(LOCK_BYTES_MAX).read_to_string(&mut owner);
            let text = format!("{}: another process runs in it: {}", path.display(), owner.trim());
            return Err(Error::run_directory(text).hint("wait for it, or choose another --output"));
        }
        let owner = json!({
            "host": host(),
            "pid": std::process::id(),
            "slurm_job": std::env::var("SLURM_JOB_ID").ok(),
        });
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{owner}"))
            .map_err(told)?;
        let directory = RunDirectory { path: path.to_path_buf(), _lock: lock };
        directory.write("job.toml", &job.to_toml())?;
        Ok(directory)
    }

    /// Opens the file `name` in it, for reading and writing; it may be new.
    pub fn open_file(&self, name: &str) -> Result<File> {
        let path = self.path.join(name);
        let options =
            File::options().read(true).write(true).create(true).truncate(false).open(&path);
        options.map_err(|error| Error::storage(format!("{}: {error}", path.display())))
    }

    /// Writes the file `name` under a temporary name, syncs and renames it.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        let (path, temporary) = (self.path.join(name), self.path.join(format!("{name}.tmp")));
        fs::write(&temporary, text)
            .and_then(|()| File::open(&temporary)?.sync_all())
            .and_then(|()| fs::rename(&temporary, &path))
            .and_then(|()| File::open(&self.path)?.sync_all())
            .map_err(|error| Error::storage(format!("{}: {error}", path.display())))
    }

    /// Removes the folder `name` in it, which is of no more use.
    pub fn remove_folder(&self, name: &str) {
        let path = self.path.join(name);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                log::warn!("{}: {error}", path.display());
            }
            _ => {}
        }
    }
}
