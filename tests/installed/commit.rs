//! The commit that a program says it was built from stays that of its sources: cargo runs build.rs
//! again when one of the files that it names has changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use super::{git, git_is_here, project};

/// What build.rs says in `folder`: the commit, and what cargo watches.
fn said(program: &Path, folder: &Path) -> (String, Vec<PathBuf>) {
    let told = Command::new(program).current_dir(folder).output().unwrap();
    let text = String::from_utf8(told.stdout).unwrap();
    let of = |start: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.strip_prefix(start)).map(String::from).collect()
    };
    let commit = of("cargo::rustc-env=REELSCALE_COMMIT=").pop().unwrap();
    let watched = of("cargo::rerun-if-changed=").into_iter().map(|path| folder.join(path));
    (commit, watched.collect())
}

/// When each file was changed, as cargo looks at it: a folder's are all below it. None: it isn't
/// there.
fn changed(paths: &[PathBuf]) -> BTreeMap<PathBuf, Option<SystemTime>> {
    let time = |path: &Path| fs::metadata(path).ok().map(|found| found.modified().unwrap());
    let mut all = BTreeMap::new();
    for path in paths {
        let found = Command::new("find").arg(path).output().unwrap();
        let names = String::from_utf8(found.stdout).unwrap();
        let below = names.lines().map(PathBuf::from).chain([path.clone()]);
        all.extend(below.map(|path| (path.clone(), time(&path))));
    }
    all
}

#[test]
fn a_commit_after_branches_were_packed_is_seen() {
    if !git_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("build");
    let rustc = std::env::var("RUSTC").unwrap_or("rustc".into());
    let mut compile = Command::new(rustc);
    compile.args(["--edition", "2024"]).arg(project("build.rs")).arg("-o").arg(&program);
    assert!(compile.status().unwrap().success());
    for (name, logged) in [("logged", "true"), ("unlogged", "false")] {
        let at = folder.path().join(name);
        fs::create_dir(&at).unwrap();
        fs::copy(project("build.rs"), at.join("build.rs")).unwrap();
        git(&at, "init --quiet");
        git(&at, &format!("config core.logAllRefUpdates {logged}"));
        git(&at, "checkout --quiet -b work/here");
        git(&at, "add .");
        git(&at, "commit --quiet -m first");
        for turn in 0..3 {
            // As it is, and after all branches have gone into one file.
            if turn == 1 {
                git(&at, "pack-refs --all");
            }
            let (commit, watched) = said(&program, &at);
            assert!(watched.iter().all(|path| path.exists()), "{watched:?}");
            let before = changed(&watched);
            assert_eq!(changed(&watched), before);
            git(&at, "commit --quiet --allow-empty -m next");
            assert_ne!(changed(&watched), before, "{name}, turn {turn}: {watched:?}");
            assert_ne!(said(&program, &at).0, commit);
        }
    }
}
