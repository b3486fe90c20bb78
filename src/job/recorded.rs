//! The job in the record of a run: a job file that has every key, and what of it may be another
//! when the run goes on. Values are compared, never texts.

use std::fmt::Write;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::check::with_defaults;
use super::file::JobFile;
use super::keys::{Job, KEYS, SECTIONS};
use super::table::{Decides, Key};
use super::value::Value;
use crate::error::{Error, Result};

/// Keys whose values differ: (key, before, now), those that may change and those that may not.
#[derive(Debug, Default)]
pub struct Changes {
    pub harmless: Vec<(String, String, String)>,
    pub forbidden: Vec<(String, String, String)>,
}

impl Job {
    /// The job as a file that has every key. It is read as the same job.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        for section in SECTIONS {
            let gap = if text.is_empty() { "" } else { "\n" };
            writeln!(text, "{gap}[{}]", section.name).expect("a text takes all");
            for (name, value) in self.section(section.name) {
                writeln!(text, "{name} = {}", value.to_toml()).expect("a text takes all");
            }
        }
        text
    }

    /// The job of a run, as `to_toml` of this version or an earlier one has recorded it.
    ///
    /// # Errors
    /// Exit 6: it is no such record.
    pub(crate) fn recorded(text: &str) -> Result<Job> {
        Ok(with_defaults(&recorded(text)?).job())
    }

    /// Names and values of the keys of a section.
    fn section(&self, section: &str) -> Vec<(&'static str, Value)> {
        let keys = KEYS.iter().zip(self.values());
        let own = keys.filter_map(|(key, value)| {
            let (of, name) = key.name.split_once('.')?;
            (of == section).then_some((name, value))
        });
        own.collect()
    }

    /// What of this job is computed, a line `key = value` each: what all ranks must share. Which
    /// shards it names is seen in the data.
    #[doc(hidden)]
    pub fn computed(&self) -> String {
        let line = |(key, value): (&Key, Value)| match (key.decides, value) {
            (Decides::Result, value) => format!("{} = {}\n", key.name, value.to_toml()),
            (Decides::Files, value) if is_empty(&value) => {
                format!("{} = {}\n", key.name, value.to_toml())
            }
            (Decides::Files | Decides::Execution, _) => String::new(),
        };
        KEYS.iter().zip(self.values()).map(line).collect()
    }

    /// What of this job differs from the one that `before` records: the text of `to_toml`, of this
    /// version or an earlier one. A key that it doesn't have was its default.
    ///
    /// # Errors
    /// Exit 6: it is no such record.
    #[doc(hidden)]
    pub fn changes_since(&self, before: &str) -> Result<Changes> {
        let recorded = recorded(before)?;
        let before = with_defaults(&recorded).job();
        let mut changes = Changes::default();
        for (key, (before, now)) in KEYS.iter().zip(before.values().iter().zip(self.values())) {
            if *before == now || recorded.faulty.contains(key.name) {
                continue;
            }
            let list = match key.decides {
                Decides::Execution => &mut changes.harmless,
                Decides::Files if is_empty(before) == is_empty(&now) => &mut changes.harmless,
                Decides::Files | Decides::Result => &mut changes.forbidden,
            };
            list.push((key.name.to_string(), before.to_toml(), now.to_toml()));
        }
        Ok(changes)
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Texts(texts) => texts.is_empty(),
        Value::Text(text) => text.is_empty(),
        _ => false,
    }
}

/// The job that a record holds. What decides no bit may be faulty: another version took other
/// values.
fn recorded(text: &str) -> Result<JobFile> {
    let name = "job.toml";
    let (mut file, mut errors) = (JobFile::default(), Vec::new());
    file.read(text, &|line, column| format!("{name}:{line}:{column}"), &mut errors);
    let faulty = KEYS.iter().filter(|key| file.faulty.contains(key.name));
    let harmless = faulty.filter(|key| key.decides == Decides::Execution).count();
    match errors.first() {
        Some(error) if errors.len() > harmless => Err(Error::run_directory(error.clone())),
        _ => Ok(file),
    }
}

/// As `run.json` has it: sections of keys.
impl Serialize for Job {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        struct Keys(Vec<(&'static str, Value)>);
        impl Serialize for Keys {
            fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
                to.collect_map(self.0.iter().map(|(name, value)| (name, value)))
            }
        }
        let mut map = to.serialize_map(Some(SECTIONS.len()))?;
        for section in SECTIONS {
            map.serialize_entry(section.name, &Keys(self.section(section.name)))?;
        }
        map.end()
    }
}
