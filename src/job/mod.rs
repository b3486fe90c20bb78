//! The job: what a run computes. Text becomes a `JobFile` (what stands where), `check` makes it a
//! `Job`, only a `Job` runs. Every key stands once, in `keys.rs`.

mod check;
mod checked;
mod documented;
mod earlier;
mod file;
mod keys;
mod layers;
mod recorded;
mod table;
mod value;

use std::path::Path;

pub use checked::Validation;
pub use documented::documented;
pub use keys::{
    ACTIVATIONS, CheckpointJob, DataJob, ExpertsJob, Job, KEYS, ModelJob, PlanJob, PretrainJob,
    RoundsJob, RunJob, SharedJob,
};
pub(crate) use keys::{DEVICE_NAMES, MEASURED, STALL_SECONDS_MIN};
pub(crate) use recorded::Changes;
pub use table::{Decides, Default, Key, Takes};

use crate::disk::read_text;
use crate::error::{Error, Result};

/// No job file is larger; what is isn't read.
const BYTES_MAX: u64 = 1 << 20;

impl Job {
    /// Reads the job file `path`; each of `overrides` is a `section.key=value` of the command line.
    ///
    /// # Errors
    /// Exit 2: all that is wrong with the file and the overrides, a line each.
    pub fn read(path: &Path, overrides: &[String]) -> Result<Job> {
        let name = path.display().to_string();
        let text =
            read_text(path, BYTES_MAX).map_err(|error| Error::usage(format!("{name}: {error}")))?;
        Job::parse(&text, &name, overrides)
    }

    /// As `read`, of the text of a file called `name`.
    ///
    /// # Errors
    /// As `read`.
    pub fn parse(text: &str, name: &str, overrides: &[String]) -> Result<Job> {
        let mut errors = Vec::new();
        let mut file = file::JobFile::default();
        file.read(text, &|line, column| format!("{name}:{line}:{column}"), &mut errors);
        let mut whole = file.clone();
        for assignment in overrides {
            whole.set(assignment, &mut errors);
        }
        let job = check::check(&whole, name, &mut errors);
        Error::all(errors.into_iter().map(Error::usage).collect())?;
        check::left_behind(&file, &whole).iter().for_each(|line| log::info!("{line}"));
        Ok(job.expect("a job without errors"))
    }
}
