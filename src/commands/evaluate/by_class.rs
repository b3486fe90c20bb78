//! `evaluate --by-class`: a line for each class.

use std::fmt::{Display, Write};
use std::path::{Path, PathBuf};

use crate::comm::Comm;
use crate::disk::{Disk, there};
use crate::error::{Error, Result};
use crate::formats::class_names::ClassNames;
use crate::formats::predictions::name_field;
use crate::human::counted;
use crate::metrics::ClassFigures;
use crate::names::Names;

const HEADER: &str = "class,name,positives,average_precision,threshold,precision,recall,best_f1,\
                      best_f1_threshold,mean_score,positive_rate,calibration_error";
/// From which score on a class counts as predicted.
const THRESHOLD: f32 = 0.5;

/// Whether classes are measured one by one.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ByClass {
    /// Writes a line for each class into this csv, which must not exist: average precision,
    /// precision and recall, the best F1, calibration.
    #[arg(long, value_name = "FILE.csv")]
    by_class: Option<PathBuf>,
    /// The score from which on a class counts as predicted in FILE.csv; default: 0.5.
    #[arg(long, requires = "by_class", value_parser = finite, allow_negative_numbers = true)]
    threshold: Option<f32>,
    /// Names of classes for FILE.csv, a line each or as YouTube-8M and AudioSet list them, where
    /// neither model nor predictions have any.
    #[arg(long, requires = "by_class", value_name = "LIST")]
    names: Option<PathBuf>,
}

fn finite(text: &str) -> std::result::Result<f32, String> {
    let found = text.parse().ok().filter(|threshold: &f32| threshold.is_finite());
    found.ok_or_else(|| "expected a number within float32".into())
}

impl ByClass {
    /// The threshold, where classes are measured one by one.
    pub(super) fn threshold(&self) -> Option<f32> {
        self.by_class.as_ref().map(|_| self.threshold.unwrap_or(THRESHOLD))
    }

    /// What ranks compare of it.
    pub(super) fn shared_by_ranks(&self) -> String {
        let ByClass { by_class, names, .. } = self;
        let threshold = self.threshold();
        format!("--by-class = {by_class:?}\n--threshold = {threshold:?}\n--names = {names:?}\n")
    }

    /// Sees, before anything is computed, that the file can be written. Collective.
    ///
    /// # Errors
    /// Exit 2: it exists; exit 4: the list of names is none; exit 5: its folder takes no file;
    /// common to all ranks.
    pub(super) fn check(&self, comm: &Comm, disk: &Disk) -> Result<()> {
        let path = self.by_class.as_deref().filter(|_| comm.is_root());
        comm.agree(path.map_or(Ok(()), |path| check(disk, path).and(self.listed().map(drop))))
    }

    /// The names that `--names` gives.
    fn listed(&self) -> Result<Option<Names>> {
        let Some(path) = &self.names else { return Ok(None) };
        let names = ClassNames::read(path).and_then(|names| names.to_names());
        let wrong = |text| Error::input(format!("{}: {text}", path.display()));
        names.map(Some).map_err(wrong)
    }

    /// Writes the figures of classes, whole or not at all; `class` gives the number and the name
    /// that the file has for each. Collective.
    ///
    /// # Errors
    /// Exit 5, common to all ranks.
    pub(super) fn write<'a>(
        &self,
        comm: &Comm,
        disk: &Disk,
        class: impl Fn(usize) -> (u32, &'a str),
        figures: &[ClassFigures],
    ) -> Result<()> {
        let Some((path, threshold)) = self.by_class.as_deref().zip(self.threshold()) else {
            return Ok(());
        };
        let write = || {
            let uncalibrated = figures.iter().filter(|found| found.mean_score.is_none()).count();
            if uncalibrated > 0 {
                let of = figures.len();
                log::warn!(
                    "{uncalibrated} of {of} classes have scores outside 0 to 1: nothing is said of \
                     their calibration"
                );
            }
            let listed = self.listed()?.unwrap_or_default();
            let written = disk.write_new(path, |out| {
                writeln!(out, "{HEADER}")?;
                figures.iter().enumerate().try_for_each(|(index, found)| {
                    let (number, name) = class(index);
                    write!(out, "{number},")?;
                    let name = if name.is_empty() { listed.of(number as usize) } else { name };
                    out.write_all(&name_field(name))?;
                    out.write_all(line(threshold, found).as_bytes())
                })
            });
            written.map_err(|error| Error::file(path, &error))?;
            log::info!("{}: {}", path.display(), counted(figures.len() as u64, "line"));
            Ok(())
        };
        comm.agree(if comm.is_root() { write() } else { Ok(()) })
    }
}

fn check(disk: &Disk, path: &Path) -> Result<()> {
    let refused = |error| Error::file(path, &error);
    if there(path).map_err(refused)?.is_some() {
        let text = format!("{}: exists already", path.display());
        return Err(Error::usage(text).hint("choose another --by-class"));
    }
    disk.try_folder_of(path).map_err(refused)
}

/// The line of a class behind its number and name; what isn't known is empty. Numbers have all
/// figures that they need to come back.
fn line(threshold: f32, found: &ClassFigures) -> String {
    fn field(line: &mut String, value: Option<impl Display>) {
        line.push(',');
        if let Some(value) = value {
            write!(line, "{value}").expect("memory");
        }
    }
    let mut line = format!(",{}", found.positives);
    field(&mut line, found.average_precision);
    field(&mut line, Some(threshold));
    field(&mut line, found.precision);
    field(&mut line, found.recall);
    field(&mut line, found.best_f1);
    field(&mut line, found.best_f1_threshold);
    field(&mut line, found.mean_score);
    field(&mut line, Some(found.positive_rate));
    field(&mut line, found.calibration_error);
    line.push('\n');
    line
}
