//! The job: what a run computes. Text becomes a `JobFile` (what stands where), `check` makes it a
//! `Job`, only a `Job` runs.

mod check;
mod checked;
mod file;
mod keys;

use std::collections::BTreeMap;
use std::path::Path;

pub use checked::{
    CheckpointJob, DataJob, ExpertsJob, Job, ModelJob, PretrainJob, RoundsJob, RunJob, SharedJob,
    Validation,
};
pub use keys::{ACTIVATIONS, KEYS, Key, Takes, documented};

use crate::error::{Error, Result};

/// Keys that say where, how and when a run computes, never what: they may change when it goes on.
/// Whether the data are the same is seen in the data.
const MAY_CHANGE: &[&str] = &[
    "checkpoint.",
    "run.threads",
    "run.memory_gib",
    "run.scratch",
    "run.stall_seconds",
    "run.kernel",
    "data.train",
    "data.validation.globs",
    "data.allow_overlap",
];

/// Keys whose values differ: (key, before, now), those that may change and those that may not.
#[derive(Debug, Default)]
pub struct Changes {
    pub harmless: Vec<(String, String, String)>,
    pub forbidden: Vec<(String, String, String)>,
}

impl Job {
    /// The checked job as TOML, for the run's record.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a job is plain data")
    }

    fn table(&self) -> toml::Table {
        self.to_toml().parse().expect("as it was written")
    }

    /// What of this job is computed, a line `key = value` each: what all ranks must share. Which
    /// shards it names is seen in the data.
    pub fn computed(&self) -> String {
        let values = flat(self.table()).into_iter().filter(|value| !may_change(&value.0));
        values.map(|(key, value)| format!("{key} = {value}\n")).collect()
    }

    /// What of this job differs from the one that `before` records, the text of `to_toml`.
    ///
    /// # Errors
    /// Exit 6: it is no such record.
    pub fn changes_since(&self, before: &str) -> Result<Changes> {
        let parsed: std::result::Result<toml::Table, _> = before.parse();
        let before = parsed
            .map_err(|error| Error::run_directory(format!("job.toml: {}", error.message())))?;
        let now = self.table();
        let (old, new) = (flat(before), flat(now));
        let mut changes = Changes::default();
        let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for key in keys {
            let text = |values: &BTreeMap<String, String>| {
                values.get(key).cloned().unwrap_or("nothing".into())
            };
            if old.get(key) != new.get(key) {
                let list =
                    if may_change(key) { &mut changes.harmless } else { &mut changes.forbidden };
                list.push((key.clone(), text(&old), text(&new)));
            }
        }
        Ok(changes)
    }

    /// Reads the job file `path`; each of `overrides` is a `section.key=value` of the command line.
    ///
    /// # Errors
    /// Exit 2: all that is wrong with the file and the overrides, a line each.
    pub fn read(path: &Path, overrides: &[String]) -> Result<Job> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::usage(format!("{name}: {error}")))?;
        Job::parse(&text, &name, overrides)
    }

    /// As `read`, of the text of a file called `name`.
    pub fn parse(text: &str, name: &str, overrides: &[String]) -> Result<Job> {
        let mut errors = Vec::new();
        let mut file = file::JobFile::default();
        file.read(text, &|line, column| format!("{name}:{line}:{column}"), &mut errors);
        for assignment in overrides {
            file.set(assignment, &mut errors);
        }
        let job = check::check(&file, name, &mut errors);
        Error::all(errors.into_iter().map(Error::usage).collect())?;
        Ok(job.expect("a job without errors"))
    }
}

fn may_change(key: &str) -> bool {
    MAY_CHANGE.iter().any(|prefix| key.starts_with(prefix))
}

/// Values by dotted key.
fn flat(table: toml::Table) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    flatten("", &toml::Value::Table(table), &mut values);
    values
}

fn flatten(prefix: &str, value: &toml::Value, into: &mut BTreeMap<String, String>) {
    match value {
        toml::Value::Table(table) => {
            let dot = if prefix.is_empty() { "" } else { "." };
            table
                .iter()
                .for_each(|(key, value)| flatten(&format!("{prefix}{dot}{key}"), value, into));
        }
        value => {
            into.insert(prefix.to_string(), value.to_string());
        }
    }
}
