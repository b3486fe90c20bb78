//! What is carried to other machines: release archives, the recipes of Spack and Apptainer, and
//! launchers of several kinds.

#[path = "installed/archive.rs"]
mod archive;
mod common;
#[path = "installed/launchers.rs"]
mod launchers;
#[path = "installed/recipes.rs"]
mod recipes;

use std::fs;
use std::path::{Path, PathBuf};

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(project(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
