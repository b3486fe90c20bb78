//! The archive that `make dist` makes, of the program that this test has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::common::sha256;
use super::{git, git_is_here, project, read};

/// Makes the archive in `folder` and returns its path.
fn dist(folder: &Path, shell: &str) -> PathBuf {
    let mut command = Command::new("bash");
    command.args(["-c", &format!("{shell}; exec \"$0\" \"$@\"")]);
    command.arg(project("packaging/dist.sh")).arg(env!("CARGO_BIN_EXE_reelscale")).arg(folder);
    // It would be the time of all files.
    command.env_remove("SOURCE_DATE_EPOCH");
    let told = command.output().unwrap();
    assert!(told.status.success(), "{told:?}");
    let names: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(names.len(), 1, "{names:?}");
    names.into_iter().next().unwrap()
}

/// All files below `folder`, without it.
fn below(folder: &Path) -> Vec<PathBuf> {
    let output = Command::new("find").arg(folder).args(["-type", "f"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(PathBuf::from).collect()
}

/// What links of a document lead to, of those within the project: `](docs/plan.md#memory)`.
fn links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    let targets = targets.map(|target| target.split('#').next().unwrap());
    // A path has one of these, and code such as `x[i](z)` none.
    targets.filter(|target| target.contains(['.', '/']) && !target.contains("://")).collect()
}

#[test]
fn an_archive_has_the_same_bytes_each_time_and_all_that_its_documents_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let first = dist(&path("first"), "umask 022");
    let second = dist(&path("second"), "umask 077; export TZ=Asia/Kolkata LC_ALL=C LANG=C");
    assert_eq!(first.file_name(), second.file_name());
    assert_eq!(sha256(&first), sha256(&second));

    let name = first.file_name().unwrap().to_str().unwrap();
    let root = path(name.strip_suffix(".tar.gz").unwrap());
    let unpack = Command::new("tar").arg("-xzf").arg(&first).arg("-C").arg(folder.path()).status();
    assert!(unpack.unwrap().success());
    let cargo = read("Cargo.toml");
    let version = cargo.lines().find_map(|line| line.strip_prefix("version = ")).unwrap();
    let version = version.trim_matches('"');
    assert!(name.starts_with(&format!("reelscale-{version}")), "{name}");
    let mpi = if cfg!(feature = "mpi") { ["-openmpi", "-mpich"] } else { ["-threads"; 2] };
    assert!(mpi.iter().any(|mpi| name.ends_with(&format!("{mpi}.tar.gz"))), "{name}");

    let program = root.join("bin/reelscale");
    let told = Command::new(&program).arg("--version").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&told.stdout), format!("reelscale {version}\n"));
    let sums = ["--quiet", "--check", "SHA256SUMS"];
    assert!(Command::new("sha256sum").args(sums).current_dir(&root).status().unwrap().success());
    for needed in [
        "share/man/man1/reelscale-train.1",
        "share/bash-completion/completions/reelscale",
        "share/zsh/site-functions/_reelscale",
        "share/fish/vendor_completions.d/reelscale.fish",
        "jobs/quickstart.toml",
        "jobs/demo.sh",
        "slurm/train.sbatch",
        "docs/plan.md",
        "INSTALL.md",
        "LICENSE",
        "BUILD",
    ] {
        assert!(root.join(needed).is_file(), "{needed}");
    }
    for document in below(&root).iter().filter(|path| path.extension().is_some_and(|e| e == "md")) {
        let text = fs::read_to_string(document).unwrap();
        for target in links(&text) {
            let at = document.parent().unwrap().join(target);
            assert!(at.exists(), "{}: {target} isn't in the archive", document.display());
        }
    }
}

/// In a repository of its own: with the tag of Cargo.toml's version, with others, after one.
#[test]
fn the_version_of_an_archive_is_that_of_the_tag() {
    if !git_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::create_dir(at.join("packaging")).unwrap();
    fs::copy(project("packaging/version.sh"), at.join("packaging/version.sh")).unwrap();
    fs::write(at.join("Cargo.toml"), "[package]\nversion = \"1.2.0\"\n").unwrap();
    let git = |arguments: &str| git(at, arguments);
    let version = || {
        let told = Command::new("bash").arg(at.join("packaging/version.sh")).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_string();
        if told.status.success() { Ok(text(&told.stdout)) } else { Err(text(&told.stderr)) }
    };
    assert_eq!(version(), Ok("1.2.0".into()), "no repository");
    git("init --quiet");
    git("add .");
    git("commit --quiet -m first");
    assert_eq!(version(), Ok("1.2.0".into()), "no tag");
    git("tag v1.2.0-rc1");
    let refused = "version.sh: found version 1.2.0 in Cargo.toml, expected the tag's, 1.2.0-rc1";
    assert_eq!(version(), Err(refused.into()));
    git("tag v1.2.0");
    git("tag -a v2.0.0 -m newer");
    assert_eq!(version(), Ok("1.2.0".into()), "its own tag among others");
    fs::write(at.join("Cargo.toml"), "[package]\nversion = \"1.2.0\"\n\n").unwrap();
    assert_eq!(version(), Ok("1.2.0-dirty".into()));
    git("tag -d v1.2.0-rc1 v2.0.0");
    git("commit --quiet --all -m second");
    let after = version().unwrap();
    assert!(after.starts_with("1.2.0-1-g"), "{after}");
}

/// A program of another commit than the one that the archive's name would say.
#[test]
fn an_older_program_is_refused() {
    if !git_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::create_dir(at.join("packaging")).unwrap();
    for name in ["packaging/dist.sh", "packaging/version.sh", "Cargo.toml"] {
        fs::copy(project(name), at.join(name)).unwrap();
    }
    git(at, "init --quiet");
    git(at, "add .");
    git(at, "commit --quiet -m first");
    let mut command = Command::new("bash");
    command.arg(at.join("packaging/dist.sh")).arg(env!("CARGO_BIN_EXE_reelscale"));
    let told = command.arg(at.join("build")).output().unwrap();
    let text = String::from_utf8_lossy(&told.stderr);
    assert_eq!(told.status.code(), Some(1), "{text}");
    let head = fs::read_to_string(at.join(".git/refs/heads/main"))
        .or_else(|_| fs::read_to_string(at.join(".git/refs/heads/master")));
    let expected = format!("expected this tree's, {}; hint: build it anew", head.unwrap().trim());
    assert!(text.contains("found a program of commit ") && text.contains(&expected), "{text}");
    assert!(!at.join("build").exists());
}
