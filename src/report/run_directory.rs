//! The directory of a run: made for it, never taken from anybody. It and the folders above it may
//! be links; nothing inside may be.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::events::Events;
use super::last_validation::{VALIDATION, ValidationFile};
use super::lock::{HeldDirectory, LOCK, Lock};
use super::tensorboard::TENSORBOARD;
use crate::disk::{Disk, folder_of, left_there, read_text, there};
use crate::error::{Error, Result};
use crate::job::{Changes, Job};

pub(crate) const JOB: &str = "job.toml";
const RECORD: &str = "run.json";
pub(super) const METRICS: &str = "metrics.jsonl";
/// Shards without proof that the run has read in full, so that its next start needn't.
pub(crate) const SHARDS_READ: &str = "shards.jsonl";
/// Files and folders that the program writes there.
const FILES: [&str; 13] = [
    LOCK,
    JOB,
    "job.toml.tmp",
    RECORD,
    "run.json.tmp",
    METRICS,
    "metrics.jsonl.tmp",
    SHARDS_READ,
    "shards.jsonl.tmp",
    VALIDATION,
    "validation.json.tmp",
    TENSORBOARD,
    "events.out.tfevents.tmp",
];
/// Folders of a run: its checkpoints, and its model.
pub(crate) const CHECKPOINTS: &str = "checkpoints";
pub(crate) const MODEL: &str = "model";
const FOLDERS: [&str; 4] = [CHECKPOINTS, "ranks", MODEL, "model.tmp"];
/// No job or record is larger; what claims to be is not read.
pub(super) const TEXT_BYTES_MAX: u64 = 64 << 20;

/// A directory that holds one run: job.toml, metrics.jsonl, checkpoints/, run.json, model/. While
/// this value lives, no other process can have it.
pub struct RunDirectory {
    path: PathBuf,
    disk: Disk,
    lock: Lock,
}

/// What is in the place of a run directory.
#[derive(Debug)]
pub enum EarlierRun {
    /// Nothing yet.
    Nothing,
    Unfinished(Unfinished),
    Finished(Finished),
}

impl EarlierRun {
    /// What it is, for ranks to compare.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            EarlierRun::Nothing => "nothing",
            EarlierRun::Unfinished(_) => "a run that isn't finished",
            EarlierRun::Finished(_) => "a finished run",
        }
    }
}

/// A run that can go on.
#[derive(Debug)]
pub struct Unfinished {
    /// What of the job has changed since it began.
    pub(crate) changes: Changes,
    /// The content hash of the model that it was about to put in place, or nothing.
    pub(crate) model_hash: String,
    /// What starts that came to their end have recorded of themselves.
    pub(crate) sessions: Vec<Value>,
}

/// A run that is finished.
#[derive(Debug)]
pub struct Finished {
    /// How.
    pub(crate) line: String,
    pub(crate) model_hash: String,
    /// What it was made of; earlier versions recorded nothing.
    pub(crate) data: Value,
}

impl RunDirectory {
    /// What is at `path` for a run of `job`. Changes nothing.
    ///
    /// # Errors
    /// Exit 2: something that isn't a run directory; exit 6: the run of another job, or a link or
    /// something else where the program writes its files.
    pub fn look(path: &Path, job: &Job) -> Result<EarlierRun> {
        let name = path.display();
        let entries = match fs::read_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(EarlierRun::Nothing);
            }
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(Error::usage(format!("{name}: found a file, expected a folder")));
            }
            entries => entries.map_err(|error| Error::file(path, &error))?,
        };
        let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
        let names =
            names.collect::<io::Result<Vec<_>>>().map_err(|error| Error::file(path, &error))?;
        let has = |name: &str| names.iter().any(|found| found == name);
        no_links(path)?;
        if !has(JOB) {
            // A start that ended before it wrote the job leaves these.
            let begun = |name: &std::ffi::OsString| name == LOCK || name == "job.toml.tmp";
            return match names.iter().all(begun) {
                true => Ok(EarlierRun::Nothing),
                false => Err(Error::usage(format!("{name}: exists and isn't a run directory"))
                    .hint("choose another --output")),
            };
        }
        let record = text_of(&path.join(JOB))?;
        let in_folder = |error: Error| Error { text: format!("{name}/{}", error.text), ..error };
        let changes = job.changes_since(&record).map_err(in_folder)?;
        if !changes.forbidden.is_empty() {
            let mut start = format!("{name}: holds a run of another job: ");
            let line = |(key, before, now): &(String, String, String)| {
                let start = std::mem::take(&mut start);
                Error::run_directory(format!("{start}{key}: found {now}, the run has {before}"))
            };
            let lines = changes.forbidden.iter().map(line).collect();
            let own = format!("`train {name}/{JOB} --output {name}` goes on with it");
            let hint = format!("{own}; for another job choose another --output");
            Error::all(lines).map_err(|error| error.hint(hint))?;
        }
        match has(RECORD) {
            true => recorded(&path.join(RECORD), changes),
            false => {
                let (model_hash, sessions) = (String::new(), Vec::new());
                Ok(EarlierRun::Unfinished(Unfinished { changes, model_hash, sessions }))
            }
        }
    }

    /// Makes the directory, if it isn't there, takes it for this process and looks again: what was
    /// found before nobody else could change it may be out of date. The lock goes with the process,
    /// however that ends, and says what `start` does; `without_lock` goes on where the file system
    /// gives none.
    ///
    /// # Errors
    /// As `look`; exit 6: another process has it; exit 5: the file system refuses, or gives no
    /// locks.
    pub fn open(
        disk: &Disk,
        path: &Path,
        job: &Job,
        without_lock: bool,
        start: &Value,
    ) -> Result<(RunDirectory, EarlierRun)> {
        disk.create_dir_all(path)
            .and_then(|()| disk.sync_above(path))
            .map_err(|error| Error::file(path, &error))?;
        no_links(path)?;
        let lock = Lock::take(disk, path, without_lock, start)?;
        let found = RunDirectory::look(path, job)?;
        let directory = RunDirectory { path: path.to_path_buf(), disk: disk.clone(), lock };
        Ok((directory, found))
    }

    /// The path of the record of a run in the directory `path`.
    pub(crate) fn record_in(path: &Path) -> PathBuf {
        path.join(RECORD)
    }

    /// The record of the run in the directory `path`; nothing where there is none, or none that
    /// can be read.
    pub(crate) fn record_of(path: &Path) -> Option<Value> {
        let text = read_text(&path.join(RECORD), TEXT_BYTES_MAX).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// What tells whether it is still in its place.
    pub(crate) fn held(&self) -> &HeldDirectory {
        self.lock.held()
    }

    /// Writes what job is run, as a job file.
    ///
    /// # Errors
    /// Exit 5.
    pub fn begin(&self, job: &Job) -> Result<()> {
        let about = "# The job of this run, with every key. `reelscale train` takes it.\n\n";
        self.write(JOB, &(about.to_string() + &job.to_toml()))
    }

    /// The events of the run.
    pub(crate) fn events(&self) -> Events {
        Events::new(self.disk.clone(), &self.path.join(METRICS))
    }

    /// The events of the run for TensorBoard.
    pub(crate) fn tensorboard(&self) -> Events {
        Events::new(self.disk.clone(), &self.path.join(TENSORBOARD))
    }

    /// What is left of the last validation.
    pub(crate) fn validation(&self) -> ValidationFile {
        let path = self.path.join(VALIDATION);
        ValidationFile::new(self.disk.clone(), path, self.held().clone())
    }

    /// Writes the record of the run.
    ///
    /// # Errors
    /// Exit 5.
    pub(crate) fn record(&self, record: &impl serde::Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(record).expect("a record is plain data");
        self.write(RECORD, &(text + "\n"))
    }

    /// Writes which shards have been read in full.
    ///
    /// # Errors
    /// Exit 5.
    pub(crate) fn write_shards(&self, text: &str) -> Result<()> {
        self.write(SHARDS_READ, text)
    }

    /// Writes the file `name`, whole or not at all.
    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path.join(name);
        self.disk.write_text(&path, text).map_err(|error| Error::file(&path, &error))
    }

    /// Removes the signs of life of ranks, which are of no more use.
    pub(crate) fn remove_signs(&self) {
        let path = self.path.join("ranks");
        let sign = |name: &OsStr| name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
        match self.disk.remove_own(&path, sign) {
            Ok(None) => {}
            Ok(Some(foreign)) => left_there(&path, &foreign),
            Err(error) => log::warn!("{}: {error}", path.display()),
        }
    }
}

/// The job of the run in the directory `path`, as the run has recorded it.
///
/// # Errors
/// Exit 6: there is no run directory, or its job can't be read.
pub(crate) fn read_job(path: &Path) -> Result<Job> {
    let (name, file) = (path.display(), path.join(JOB));
    let found = match there(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => None,
        found => found.map_err(|error| Error::file(&file, &error))?,
    };
    if found.is_none() {
        let text = format!("{name}: found no {JOB}, expected the directory of a run");
        return Err(Error::run_directory(text).hint("the --output of `reelscale train`"));
    }
    let text = text_of(&file)?;
    Job::recorded(&text).map_err(|error| Error { text: format!("{name}/{}", error.text), ..error })
}

/// Refuses links, and files and folders in each other's places, where the program writes.
fn no_links(path: &Path) -> Result<()> {
    for (names, folders) in [(&FILES[..], false), (&FOLDERS[..], true)] {
        for name in names {
            let path = path.join(name);
            let found = there(&path).map_err(|error| Error::file(&path, &error))?;
            let Some(kind) = found.map(|found| found.file_type()) else { continue };
            if if folders { kind.is_dir() } else { kind.is_file() } {
                continue;
            }
            let what = match (kind.is_symlink(), kind.is_dir(), kind.is_file()) {
                (true, ..) => "a link",
                (_, true, _) => "a folder",
                (.., true) => "a file",
                _ => "a special file",
            };
            let expected = if folders { "a folder" } else { "a file" };
            let text = format!("{}: found {what}, expected {expected}", path.display());
            return Err(Error::run_directory(text)
                .hint("nothing inside a run directory may be a link; move it away"));
        }
    }
    Ok(())
}

/// The text of a file that the program has written.
fn text_of(path: &Path) -> Result<String> {
    let failed = |error: io::Error| Error::run_directory(format!("{}: {error}", path.display()));
    read_text(path, TEXT_BYTES_MAX).map_err(failed)
}

/// What the next start of the run in `folder` does once its record is gone: where a model lies
/// there it is refused as nobody's, until that is moved away, too.
pub(crate) fn without_record(folder: &Path) -> String {
    let checkpoint = |name: &OsStr| {
        let name = name.as_encoded_bytes();
        name.len() == 8 && name.iter().all(u8::is_ascii_digit)
    };
    let entries = fs::read_dir(folder.join(CHECKPOINTS)).into_iter().flatten().flatten();
    let next = match entries.map(|entry| entry.file_name()).any(|name| checkpoint(&name)) {
        true => "goes on from its last checkpoint",
        false => "begins anew",
    };
    let model = there(&folder.join(MODEL)).is_ok_and(|found| found.is_some());
    let what = if model { "run.json and the model beside it" } else { "run.json" };
    format!("without {what} the run {next}")
}

/// What the record at `path` says of the run.
fn recorded(path: &Path, changes: Changes) -> Result<EarlierRun> {
    let wrong = |text: String| {
        let error = Error::run_directory(format!("{}: {text}", path.display()));
        error.hint(without_record(folder_of(path)))
    };
    let read = read_text(path, TEXT_BYTES_MAX).map_err(|error| match error.kind() {
        // It is no text; anything else is the file system's, and the file may be whole.
        io::ErrorKind::Other => wrong(error.to_string()),
        _ => Error::run_directory(format!("{}: {error}", path.display())),
    });
    let record: Value = serde_json::from_str(&read?).map_err(|error| wrong(error.to_string()))?;
    let text = |key: &str| record[key].as_str().unwrap_or_default().to_string();
    let model_hash = text("model_hash");
    match record["finished"].as_bool() {
        None => {
            Err(wrong(format!("finished: found {}, expected true or false", record["finished"])))
        }
        Some(false) => {
            let sessions = record["sessions"].as_array().cloned().unwrap_or_default();
            Ok(EarlierRun::Unfinished(Unfinished { changes, model_hash, sessions }))
        }
        Some(true) => {
            let line = format!("{}; result {}", text("reason"), text("result_hash"));
            Ok(EarlierRun::Finished(Finished { line, model_hash, data: record["data"].clone() }))
        }
    }
}
