//! `validation.json`: what stands behind the metrics of a run's last validation, for `reelscale
//! report`: figures of each class, points of precision and recall, bins of calibration.

use std::io;
use std::path::{Path, PathBuf};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::lock::HeldDirectory;
use crate::disk::{Disk, read_text};
use crate::metrics::{CalibrationBin, ClassFigures, Curve};

/// The name of the file.
pub(crate) const VALIDATION: &str = "validation.json";
const FORMAT: &str = "reelscale-validation";
const VERSION: u32 = 1;
/// No such file is larger; what claims to be is not read.
const BYTES_MAX: u64 = 1 << 30;

/// What the file holds, with `LastValidation` or a reference to it.
#[derive(Serialize, Deserialize)]
struct Written<Found> {
    format: String,
    version: u32,
    /// What the columns of `classes` are.
    columns: Vec<String>,
    #[serde(flatten)]
    found: Found,
}

/// What a validation has found.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LastValidation {
    /// As `metrics.jsonl` has it, without times.
    pub(crate) event: Value,
    /// Validation rows.
    pub(crate) videos: u64,
    /// From which score on a class counts as predicted.
    #[serde(deserialize_with = "threshold")]
    pub(crate) threshold: f32,
    pub(crate) curve: Curve,
    pub(crate) calibration: Vec<CalibrationBin>,
    pub(crate) classes: Vec<ValidatedClass>,
}

/// A threshold out of a file; one beyond float32 would be shown as infinity.
fn threshold<'de, D: Deserializer<'de>>(from: D) -> Result<f32, D::Error> {
    let found = f64::deserialize(from)?;
    let short = found as f32;
    match short.is_finite() {
        true => Ok(short),
        false => {
            let text = format!("threshold: found {found:e}, expected a number within float32");
            Err(D::Error::custom(text))
        }
    }
}

const COLUMNS: [&str; 10] = [
    "name",
    "positives",
    "average_precision",
    "precision",
    "recall",
    "best_f1",
    "best_f1_threshold",
    "mean_score",
    "positive_rate",
    "calibration_error",
];

/// One class, in the order of `COLUMNS`; what isn't known is null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ValidatedClass(
    pub(crate) String,
    u64,
    Option<f64>,
    Option<f64>,
    Option<f64>,
    Option<f64>,
    Option<f32>,
    Option<f64>,
    f64,
    Option<f64>,
);

impl ValidatedClass {
    pub(crate) fn new(name: &str, figures: &ClassFigures) -> ValidatedClass {
        ValidatedClass(
            name.to_string(),
            figures.positives,
            figures.average_precision,
            figures.precision,
            figures.recall,
            figures.best_f1,
            figures.best_f1_threshold,
            figures.mean_score,
            figures.positive_rate,
            figures.calibration_error,
        )
    }

    /// Rows that have the label.
    pub(crate) fn positives(&self) -> u64 {
        self.1
    }

    /// `None` without such rows.
    pub(crate) fn average_precision(&self) -> Option<f64> {
        self.2
    }

    /// At the threshold; `None` where no row reaches it.
    pub(crate) fn precision(&self) -> Option<f64> {
        self.3
    }

    /// At the threshold; `None` without positives.
    pub(crate) fn recall(&self) -> Option<f64> {
        self.4
    }
}

impl LastValidation {
    fn to_text(&self) -> String {
        let (format, columns) = (FORMAT.into(), COLUMNS.map(String::from).to_vec());
        let written = Written { format, version: VERSION, columns, found: self };
        serde_json::to_string(&written).expect("plain data") + "\n"
    }

    /// What the run directory `run` has of it.
    ///
    /// # Errors
    /// What is wrong with the file, in words; nothing where there is none.
    pub(crate) fn read(run: &Path) -> Result<Option<LastValidation>, String> {
        let text = match read_text(&run.join(VALIDATION), BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|error| error.to_string())?,
        };
        let written: Written<LastValidation> =
            serde_json::from_str(&text).map_err(|error| error.to_string())?;
        if written.format != FORMAT || written.version != VERSION || written.columns != COLUMNS {
            let Written { format, version, .. } = written;
            return Err(format!(
                "found {format} of version {version}, expected {FORMAT} of version {VERSION}"
            ));
        }
        Ok(Some(written.found))
    }
}

/// The file of a run under way.
pub(crate) struct ValidationFile {
    disk: Disk,
    path: PathBuf,
    held: HeldDirectory,
    /// What the file should hold and doesn't yet; empty where there is nothing.
    text: String,
}

impl ValidationFile {
    pub(super) fn new(disk: Disk, path: PathBuf, held: HeldDirectory) -> ValidationFile {
        ValidationFile { disk, path, held, text: String::new() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the file hold what was found. Where that fails there is a warning, and `make_whole`
    /// tries again.
    pub(super) fn put(&mut self, found: &LastValidation) {
        // A directory that was moved: the run's next checkpoint says so.
        if self.held.check().is_err() {
            return;
        }
        self.text = found.to_text();
        if let Err(error) = self.make_whole() {
            log::warn!("{}: {error}; it is written when that is possible", self.path.display());
        }
    }

    /// Writes what couldn't be written before.
    ///
    /// # Errors
    /// What the file system gives.
    pub(super) fn make_whole(&mut self) -> io::Result<()> {
        if !self.text.is_empty() {
            self.disk.write_text(&self.path, &self.text)?;
            self.text = String::new();
        }
        Ok(())
    }
}
