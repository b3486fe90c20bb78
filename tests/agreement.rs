//! Ranks prove to each other what they are about to compute: one that was told something else ends
//! all of them before anything is computed or written.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::{TestCommand, reelscale};

/// The program as `usual` says, but on rank 1 as `odd` says.
fn with_an_odd_rank(folder: &Path, usual: &str, odd: &str) -> TestCommand {
    let (script, program) = (folder.join("by-rank"), env!("CARGO_BIN_EXE_reelscale"));
    let text = format!(
        "#!/bin/sh\ncd {folder}\n[ $OMPI_COMM_WORLD_RANK = 1 ] || exec {program} {usual}\n\
         [ -d own ] && cd own\nexec {program} {odd}\n",
        folder = folder.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    reelscale("").program(script).ranks(3).within(60)
}

#[test]
fn a_rank_that_was_told_something_else_is_named_before_anything_is_computed() {
    if common::without_mpi() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let rows = "synthesize --classes 9 --features 8 --rows";
    reelscale(rows).arg("200").arg("--output").arg(path("data")).stdout();
    let job = |name: &str, more: &str| {
        let data = format!("[data]\ntrain = [\"{}/*.h5\"]\n{more}", path("data"));
        fs::write(
            path(name),
            format!(
                "{data}[pretrain]\nranks = 4096\n\
             epochs = 1\n[rounds]\ncount = 0\n"
            ),
        )
        .unwrap();
    };
    job("a.toml", "");
    job("b.toml", "validation_fraction = 0.25\n");
    let refused = |code: i32, usual: &str, odd: &str, expected: &str| {
        let text = with_an_odd_rank(folder.path(), usual, odd).fails_with(code);
        assert!(text.contains(expected), "{text}\nexpected {expected}");
    };
    let train = |job: &str, more: &str| {
        format!("train {} --output {} --set run.threads=1 {more}", path(job), path("run"))
    };
    let seed = "--set run.seed=7";
    refused(
        3,
        &train("a.toml", ""),
        &train("a.toml", seed),
        "rank 1: job: run.seed: found 7, rank 0 has 1",
    );
    let fraction = "rank 1: job: data.validation_fraction: found 0.25, rank 0 has 0.0";
    refused(3, &train("a.toml", ""), &train("b.toml", ""), fraction);
    assert!(!Path::new(&path("run")).exists(), "nothing is written");
    let synthesize = |rows| format!("{rows} --output {}", path("more"));
    let (usual, odd) = (format!("{rows} 50"), format!("{rows} 60"));
    refused(
        3,
        &synthesize(&usual),
        &synthesize(&odd),
        "rank 1: arguments: --rows: found 60, rank 0",
    );
    assert!(!Path::new(&path("more")).exists(), "nothing is written");

    // What may differ does no harm, and gives two models that do.
    let other = "--set run.memory_gib=3 --set checkpoint.minutes=2 --set run.stall_seconds=50";
    let usual = train("a.toml", "");
    with_an_odd_rank(folder.path(), &usual, &train("a.toml", other)).stdout();
    let again = |seed: &str| {
        let arguments = format!("train {} --output {} {seed}", path("a.toml"), path("other"));
        reelscale(&arguments).stdout();
    };
    again(seed);
    let scoring = |command: &str, run: &str, more: &str| {
        format!("{command} --model {}/model --data {} {more}", path(run), path("data/*.h5"))
    };
    let (one, other) = (scoring("evaluate", "run", ""), scoring("evaluate", "other", ""));
    refused(3, &one, &other, "/model: content_hash: found");
    let annotate =
        |top| scoring("annotate", "run", &format!("--output {} --top {top}", path("best.csv")));
    refused(3, &annotate(2), &annotate(3), "rank 1: arguments: --top: found 3, rank 0 has 2");
    assert!(!Path::new(&path("best.csv")).exists(), "nothing is written");
}

#[test]
fn a_rank_that_sees_other_files_is_named_before_anything_is_converted() {
    if common::without_mpi() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("a.txt"), "1 2 3\n0 1:0.5\n").unwrap();
    let convert = |rows: usize, files: &str| {
        format!(
            "convert --from svmlight --rows-per-shard {rows} --output {} {files}",
            path("shards")
        )
    };
    let usual = convert(5, &path("*.txt"));
    let odd = convert(6, &path("*.txt"));
    let text = with_an_odd_rank(folder.path(), &usual, &odd).fails_with(3);
    assert!(text.contains("rank 1: arguments: --rows-per-shard: found 6, rank 0 has 5"), "{text}");
    // Rank 1 lives in a folder of its own, where a file of the same name is longer.
    fs::create_dir(path("own")).unwrap();
    fs::write(path("own/a.txt"), "2 2 3\n0 1:0.5\n1 0:1\n").unwrap();
    let here = convert(5, "a.txt");
    let text = with_an_odd_rank(folder.path(), &here, &here).fails_with(4);
    assert!(text.contains("rank 1: files: found a.txt: 20 bytes, rank 0 has a.txt: 14"), "{text}");
    assert!(!Path::new(&path("shards")).exists(), "nothing is written");
}

/// A node that still has another build: its rank is named before anything is computed.
#[test]
fn a_rank_that_runs_another_program_is_named() {
    if common::without_mpi() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (own, other) = (env!("CARGO_BIN_EXE_reelscale"), folder.path().join("other"));
    let mut bytes = fs::read(own).unwrap();
    bytes.push(0);
    fs::write(&other, bytes).unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).unwrap();
    let script = folder.path().join("by-rank");
    let text = format!(
        "#!/bin/sh\n[ $OMPI_COMM_WORLD_RANK = 2 ] && exec {} \"$@\"\nexec {own} \"$@\"\n",
        other.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let output = folder.path().join("data");
    let synthesize = reelscale("synthesize --classes 9 --features 8 --rows 50 --output");
    for command in [synthesize.path(&output), reelscale("doctor")] {
        let text = command.program(script.clone()).ranks(3).within(60).fails_with(3);
        let expected = "rank 2: program: executable: found SHA-256 ";
        assert!(text.contains(expected) && text.contains(", rank 0 has SHA-256 "), "{text}");
    }
    assert!(!output.exists(), "nothing is written");
}
