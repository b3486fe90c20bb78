//! A folder with data, a job file and what comes of it.

use std::fs;
use std::path::PathBuf;

use super::{TestCommand, reelscale, shards};

pub struct Scratch(tempfile::TempDir);

impl Scratch {
    /// So many rows, classes and features, and a job on them that says this beside.
    pub fn of((rows, classes, features): (usize, usize, usize), job: &str) -> Scratch {
        let scratch = Scratch(tempfile::tempdir().unwrap());
        let data = scratch.path("data");
        shards(&data, rows, classes, features);
        let text = format!("[data]\ntrain = [\"{}/*.h5\"]\n{job}", data.display());
        fs::write(scratch.path("job.toml"), text).unwrap();
        scratch
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn train(&self, run: &str) -> TestCommand {
        reelscale("train").path(&self.path("job.toml")).arg("--output").path(&self.path(run))
    }
}
