//! What is carried to other machines: release archives and the commit that their program names, the
//! recipes of Spack and Apptainer, and launchers of several kinds.

#[path = "installed/archive.rs"]
mod archive;
#[path = "installed/commit.rs"]
mod commit;
mod common;
#[path = "installed/launchers.rs"]
mod launchers;
#[path = "installed/recipes.rs"]
mod recipes;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(project(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Whether git is here; says what is skipped where it isn't.
fn git_is_here() -> bool {
    let here = Command::new("git").arg("--version").output().is_ok();
    if !here {
        println!("skipped: no git");
    }
    here
}

/// Runs git in the repository `at`.
fn git(at: &Path, arguments: &str) {
    let who = ["-c", "user.name=test", "-c", "user.email=test@localhost"];
    let mut command = Command::new("git");
    let told = command.args(who).args(arguments.split(' ')).current_dir(at).output().unwrap();
    assert!(told.status.success(), "{arguments}: {told:?}");
}
