//! `evaluate --by-class`: a line for each class.

use std::fmt::{Display, Write};
use std::path::{Path, PathBuf};

use crate::comm::Comm;
use crate::disk::{Disk, there};
use crate::error::{Error, Result};
use crate::human::counted;
use crate::metrics::ClassFigures;

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
}

fn finite(text: &str) -> std::result::Result<f32, String> {
    let found = text.parse().ok().filter(|threshold: &f32| threshold.is_finite());
    found.ok_or_else(|| "expected a number".into())
}

impl ByClass {
    /// The threshold, where classes are measured one by one.
    pub(super) fn threshold(&self) -> Option<f32> {
        self.by_class.as_ref().map(|_| self.threshold.unwrap_or(THRESHOLD))
    }

    /// What ranks compare of it.
    pub(super) fn shared_by_ranks(&self) -> String {
        format!("--by-class = {:?}\n--threshold = {:?}\n", self.by_class, self.threshold())
    }

    /// Sees, before anything is computed, that the file can be written. Collective.
    ///
    /// # Errors
    /// Exit 2: it exists; exit 5: its folder takes no file; common to all ranks.
    pub(super) fn check(&self, comm: &Comm, disk: &Disk) -> Result<()> {
        let path = self.by_class.as_deref().filter(|_| comm.is_root());
        comm.agree(path.map_or(Ok(()), |path| check(disk, path)))
    }

    /// Writes the figures of classes, of which `class` is the number in the file, whole or not at
    /// all. Collective.
    ///
    /// # Errors
    /// Exit 5, common to all ranks.
    pub(super) fn write(
        &self,
        comm: &Comm,
        disk: &Disk,
        class: impl Fn(usize) -> u32,
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
            let written = disk.write_new(path, |out| {
                writeln!(out, "{HEADER}")?;
                figures.iter().enumerate().try_for_each(|(index, found)| {
                    out.write_all(line(class(index), threshold, found).as_bytes())
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

/// The line of a class; what isn't known is empty. Numbers have all figures that they need to come
/// back.
fn line(class: u32, threshold: f32, found: &ClassFigures) -> String {
    fn field(line: &mut String, value: Option<impl Display>) {
        line.push(',');
        if let Some(value) = value {
            write!(line, "{value}").expect("memory");
        }
    }
    let mut line = format!("{class},,{}", found.positives);
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
