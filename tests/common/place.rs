//! A folder with input to convert.

use std::path::PathBuf;

use super::{TestCommand, reelscale};

pub const CONVERT: &str = "convert --from tfrecord --features rgb:3 --classes 10 --output";

pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    /// A conversion of these files into the folder `out`.
    pub fn convert(&self, files: &[&str]) -> TestCommand {
        self.convert_as(CONVERT, "out", files)
    }

    /// A conversion by this command into this folder, which ends the command.
    pub fn convert_as(&self, command: &str, output: &str, files: &[&str]) -> TestCommand {
        files.iter().fold(reelscale(command).path(&self.path(output)), |command, file| {
            command.path(&self.path(file))
        })
    }
}

/// Runs it, demands success, and returns its warnings.
pub fn warnings(command: &TestCommand) -> String {
    let output = command.output();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{stderr}");
    stderr
}
