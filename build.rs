//! Tells the program which commit it is built from.

use std::path::Path;
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
    // HEAD, the branch that it names, and where git puts branches that have rested for a while.
    let branch = git(&["symbolic-ref", "HEAD"]);
    for name in ["HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
        if let Some(path) = git(&["rev-parse", "--git-path", name])
            && Path::new(&path).exists()
        {
            println!("cargo::rerun-if-changed={path}");
        }
    }
}
