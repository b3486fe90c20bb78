//! Runs that earlier versions left (`tests/data`).

// Each test binary uses its own part of this.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::common::{TestCommand, reelscale};

/// Runs that were stopped, and their jobs.
pub const STOPPED: [(&str, &str); 9] = [
    ("begun", "adagrad"),
    ("pretrain", "adam"),
    ("frames-pretrain", "frames"),
    ("adagrad", "adagrad"),
    ("adam", "adam"),
    ("lbfgs", "lbfgs"),
    ("killed-irprop", "adam"),
    ("shared-adam", "lbfgs"),
    ("frames-shared", "frames"),
];

/// The same of commit 2159153, whose shards prove themselves and whose checkpoints know what theirs
/// contained.
pub const STOPPED_LATER: [(&str, &str); 5] = [
    ("adagrad-experts", "adagrad"),
    ("adam-experts", "adam"),
    ("adam-pretrain", "adam"),
    ("adam-shared", "adam"),
    ("lbfgs-experts", "lbfgs"),
];

/// A copy of what commits e3a6bb3 and 2159153 left, with the shards of both unpacked.
pub struct Copy(tempfile::TempDir);

impl Copy {
    pub fn new() -> Copy {
        let copy = Copy(tempfile::tempdir().unwrap());
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
        copy_folder(&data.join("e3a6bb3"), copy.0.path());
        copy_folder(&data.join("2159153"), copy.0.path());
        for folder in ["videos", "frames"] {
            for entry in fs::read_dir(copy.path(folder)).unwrap() {
                let unpacked = Command::new("gzip").arg("-d").arg(entry.unwrap().path()).status();
                assert!(unpacked.expect("gzip is there").success());
            }
        }
        copy
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The program, started where these runs were.
    pub fn reelscale(&self, arguments: &str) -> TestCommand {
        reelscale(arguments).in_folder(self.0.path()).within(60)
    }
}

pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}
