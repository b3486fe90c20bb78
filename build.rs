//! Tells the program which commit it is built from.

use std::path::PathBuf;
use std::process::Command;

/// What git says, if it is there and knows this project.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_string())
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Sources that were unpacked within another project's repository are none of its commits.
    let ours = git(&["ls-files", "--error-unmatch", "build.rs"]).is_some();
    let commit = git(&["rev-parse", "HEAD"]).filter(|_| ours);
    println!("cargo::rustc-env=REELSCALE_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    // HEAD and its log, to which each commit here adds a line; where git puts branches that have
    // rested for a while, or all of them; the branch that HEAD names.
    let names = ["HEAD", "logs/HEAD", "packed-refs", "reftable"];
    let paths = names.map(path).into_iter().flatten();
    let branch = git(&["symbolic-ref", "HEAD"]).and_then(|name| path(&name));
    // What isn't there isn't watched: cargo would take it for changed each time.
    for path in paths.chain(branch.clone()).filter(|path| path.exists()) {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    // A branch that rests among others has no file before its next commit, which makes one. Where
    // there is no log, the folder in which it does so is watched.
    let log = path("logs/HEAD").is_some_and(|log| log.exists());
    let resting = branch.filter(|branch| !log && !branch.exists());
    let folder = resting
        .and_then(|branch| branch.ancestors().find(|folder| folder.exists()).map(PathBuf::from));
    if let Some(folder) = folder {
        println!("cargo::rerun-if-changed={}", folder.display());
    }
}

/// Where git has this file of the repository, or would have it.
fn path(name: &str) -> Option<PathBuf> {
    git(&["rev-parse", "--git-path", name]).map(PathBuf::from)
}
