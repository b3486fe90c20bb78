//! The folder of a study: what it is of, and the rows so far. It goes on where it was left off.
//!
//! ```text
//!   DIR/study.json      what is measured, and a row for each run
//!       result.json     what they come to, with the verdict; also table.csv, scaling.svg
//!       rows.csv        a line for each run
//!       jobs/N-ranks.toml, runs/N-ranks-REPEAT.json    the job and the record of each run
//!       data/           the rows of a weak study that aren't whole shards of the job
//!       run/            the run under way
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::row::Row;
use super::rows::Weak;
use super::sizes::{Size, sizes};
use super::verdict::{self, Wanted};
use super::{Kind, RANKS_MAX, RowsFrom, picture, written};
use crate::commands::program::{COMMIT, VERSION};
use crate::disk::{Disk, read_text};
use crate::error::{Error, Result};
use crate::job::Job;
use crate::report::{LOCK, Lock};

const STUDY: &str = "study.json";
const FORMAT: &str = "reelscale-scaling";
/// No study is larger, and no run takes other seconds.
const BYTES_MAX: u64 = 64 << 20;
const SECONDS: std::ops::RangeInclusive<f64> = 1e-3..=1e9;

/// What must be the same for all rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Identity {
    format: String,
    pub(super) kind: Kind,
    /// The job with its threads, with every key.
    job: String,
    pub(super) threads: usize,
    pub(super) rows_per_rank: Option<usize>,
    pub(super) rows_from: Option<RowsFrom>,
    /// The digest of what the job's training shards hold, where the rows are theirs.
    contents: Option<String>,
    /// Version and commit.
    program: String,
}

impl Identity {
    pub(super) fn new(
        kind: Kind,
        job: &Job,
        weak: Option<Weak>,
        contents: Option<String>,
    ) -> Identity {
        Identity {
            format: FORMAT.into(),
            kind,
            job: job.to_toml(),
            threads: job.run.threads,
            rows_per_rank: weak.map(|weak| weak.rows_per_rank),
            rows_from: weak.map(|weak| weak.from),
            contents,
            program: format!("{VERSION} {COMMIT}"),
        }
    }
}

/// study.json.
#[derive(Serialize, Deserialize)]
struct File {
    of: Identity,
    rows: Vec<Row>,
}

/// A study that this process has for itself.
pub(super) struct Study {
    folder: PathBuf,
    disk: Disk,
    file: File,
    /// Seconds by number of ranks, as planned.
    pub(super) planned: Vec<(usize, f64)>,
    _lock: Lock,
}

impl Study {
    /// Begins a study in a folder that is new or empty, or goes on with it there.
    ///
    /// # Errors
    /// Exit 2: something else is there; exit 6: another study, or another process has it; exit 5:
    /// the file system.
    pub(super) fn open(folder: &Path, of: Identity, job: &Job) -> Result<Study> {
        let disk = Disk::default();
        let failed = |error: io::Error| Error::file(folder, &error);
        disk.create_dir_all(folder).map_err(failed)?;
        let entries = fs::read_dir(folder).map_err(failed)?;
        let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
        let names = names.collect::<io::Result<Vec<_>>>().map_err(failed)?;
        let begun = |name: &std::ffi::OsString| name == LOCK || name == "study.json.tmp";
        let path = folder.join(STUDY);
        let there = names.iter().any(|name| name == STUDY);
        if !there && !names.iter().all(begun) {
            let text = format!("{}: exists and isn't a scaling study", folder.display());
            return Err(Error::usage(text).hint("choose another --output"));
        }
        let lock = Lock::take(&disk, folder, true, &serde_json::Value::Null)?;
        let file = match there {
            true => read(&path, &of, job)?,
            false => File { of, rows: Vec::new() },
        };
        let study = Study { folder: folder.into(), disk, file, planned: Vec::new(), _lock: lock };
        // Whose folder this is stands there before anything else does.
        study.write_file(STUDY, &study.text())?;
        for name in ["jobs", "runs"] {
            study.disk.create_dir_all(&folder.join(name)).map_err(failed)?;
        }
        Ok(study)
    }

    /// study.json.
    fn text(&self) -> String {
        serde_json::to_string_pretty(&self.file).expect("plain data") + "\n"
    }

    fn write_file(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path(name);
        self.disk.write_text(&path, text).map_err(|error| Error::file(&path, &error))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Whether this run is measured.
    pub(super) fn has(&self, ranks: usize, repeat: usize) -> bool {
        let is = |row: &Row| row.is_measured() && (row.ranks, row.repeat) == (ranks, repeat);
        self.file.rows.iter().any(is)
    }

    /// Adds a row, in the place of one of the same run that failed.
    pub(super) fn add(&mut self, row: Row) {
        self.file.rows.retain(|other| (other.ranks, other.repeat) != (row.ranks, row.repeat));
        // One that is measured says that the size no longer fails.
        if row.is_measured() {
            self.file.rows.retain(|other| other.ranks != row.ranks || other.is_measured());
        }
        self.file.rows.push(row);
    }

    /// All numbers of ranks that are wanted or there.
    pub(super) fn ranks(&self, wanted: &Wanted) -> Vec<usize> {
        let there = self.file.rows.iter().map(|row| row.ranks);
        let mut all: Vec<usize> = wanted.ranks.iter().copied().chain(there).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    fn judged(&self, wanted: &Wanted) -> (Vec<Size>, Vec<String>) {
        let rows = &self.file.rows;
        let sizes = sizes(wanted.kind, rows, &self.planned);
        let threads = self.file.of.threads;
        let reasons = verdict::reasons(&verdict::Study { wanted, threads, rows, sizes: &sizes });
        (sizes, reasons)
    }

    /// Writes the rows, and what they come to.
    ///
    /// # Errors
    /// Exit 5: the file system.
    pub(super) fn write(&self, wanted: &Wanted) -> Result<()> {
        let (sizes, reasons) = self.judged(wanted);
        let of = &self.file.of;
        let files = [
            (STUDY, self.text()),
            ("rows.csv", written::rows(&self.file.rows)),
            ("table.csv", written::table(&sizes)),
            ("result.json", written::result(of, &sizes, &reasons)),
            ("scaling.svg", picture::svg(of.kind, &sizes, &reasons)),
        ];
        files.iter().try_for_each(|(name, text)| self.write_file(name, text))
    }

    /// The table and the verdict, for people.
    pub(super) fn told(&self, wanted: &Wanted) -> String {
        let (sizes, reasons) = self.judged(wanted);
        written::text(&self.file.of, &sizes, &reasons, &self.folder)
    }
}

/// The study at `path`, which must be the one that is asked for.
///
/// # Errors
/// Exit 6: another one, or none that can be read.
fn read(path: &Path, of: &Identity, job: &Job) -> Result<File> {
    let name = path.display();
    let damaged = |error: String| {
        let text = format!("{name}: isn't what a study has written: {error}");
        Error::run_directory(text).hint("choose another --output: no row of this one can be read")
    };
    let text = read_text(path, BYTES_MAX).map_err(|error| damaged(error.to_string()))?;
    let file: File = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
    let mut runs = BTreeSet::new();
    for row in &file.rows {
        let (ranks, repeat, seconds) = (row.ranks, row.repeat, row.seconds.unwrap_or(1.0));
        let sane = (1..=RANKS_MAX as usize).contains(&ranks) && repeat > 0;
        if !sane || !SECONDS.contains(&seconds) {
            let text = format!("found run {repeat} on {ranks} ranks of {seconds} seconds");
            return Err(damaged(text + ", which can't be"));
        }
        if !runs.insert((ranks, repeat)) {
            return Err(damaged(format!("found run {repeat} on {ranks} ranks twice")));
        }
    }
    let found = &file.of;
    if found == of {
        return Ok(file);
    }
    let differs = |what: &str, found: String, now: String| {
        let text = format!("{name}: holds another study: {what}: found {now}, it has {found}");
        Error::run_directory(text).hint("choose another --output")
    };
    let changes = job.changes_since(&found.job)?;
    if let Some((key, before, now)) = changes.forbidden.into_iter().chain(changes.harmless).next() {
        return Err(differs(&key, before, now));
    }
    let rows = |of: &Identity| of.rows_per_rank.map_or("none".into(), |rows| rows.to_string());
    let from = |of: &Identity| of.rows_from.map_or("none", RowsFrom::name).to_string();
    let contents = |of: &Identity| of.contents.clone().unwrap_or("none".into());
    Err(match () {
        () if found.kind != of.kind => {
            differs("what is measured", found.kind.name().into(), of.kind.name().into())
        }
        () if found.rows_per_rank != of.rows_per_rank => {
            differs("--rows-per-rank", rows(found), rows(of))
        }
        () if found.rows_from != of.rows_from => differs("--rows-from", from(found), from(of)),
        () if found.contents != of.contents => {
            differs("contents of data.train", contents(found), contents(of))
        }
        () => differs("program", found.program.clone(), of.program.clone()),
    })
}
