//! How a run fits the machine is told: a plan beyond its memory, ranks that have nothing to do.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{json, needs_mpi, reelscale};

fn job(folder: &Path, rows: &str, text: &str) -> PathBuf {
    let data = folder.join("data");
    reelscale(&format!("synthesize --features 8 {rows} --output")).path(&data).stdout();
    let job = folder.join("job.toml");
    fs::write(&job, format!("[data]\ntrain = [\"{}/*.h5\"]\n{text}", data.display())).unwrap();
    job
}

#[test]
fn a_plan_beyond_the_memory_is_told_once_before_it_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[pretrain]\nepochs = 0\n[experts]\ncount = 1024\n[run]\nthreads = 1\n";
    let job = job(folder.path(), "--rows 50 --classes 30000", text);
    // Both ranks are one process, which has that much: each can count on half of it.
    let limited = "ulimit -v 2000000; exec \"$0\" \"$@\"";
    let mut command = std::process::Command::new("bash");
    command.args(["-c", limited, env!("CARGO_BIN_EXE_reelscale"), "--comm", "threads=2", "train"]);
    let output = command.arg(&job).arg("--output").arg(folder.path().join("run")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("can count on")).collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert!(lines[0].starts_with("WARN"), "{text}");
    assert!(
        lines[0].contains("count on 976.") && lines[0].contains("hint: run.memory_gib"),
        "{text}"
    );
    assert_eq!(output.status.code(), Some(9), "{text}");
}

#[test]
fn ranks_without_work_are_told_and_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[pretrain]\nranks = 4096\nepochs = 1\nbatch = 64\n[rounds]\ncount = 1\n[shared]\n\
                iterations = 1\n[run]\nthreads = 1\nrow_blocks = 3\nclass_blocks = 2\n";
    let job = job(folder.path(), "--rows 100 --classes 40", text);
    let run = |ranks: usize| {
        let output = folder.path().join(format!("run{ranks}"));
        let arguments = format!("train --comm threads={ranks}");
        let train = reelscale(&arguments).path(&job).arg("--output").path(&output).output();
        (
            String::from_utf8_lossy(&train.stderr).into_owned(),
            json(&output.join("run.json"), "result_hash"),
        )
    };
    let (alone, expected) = run(1);
    assert!(!alone.contains("idle:"), "{alone}");
    let (text, found) = run(4);
    assert_eq!(found, expected);
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("idle:")).collect();
    assert_eq!(lines.len(), 1, "{text}");
    for part in [
        "2 of 4 ranks have no rows of a mini-batch (pretrain.batch)",
        "2 of 4 ranks have no class blocks (run.class_blocks)",
        "1 of 4 ranks have no row blocks (run.row_blocks)",
    ] {
        assert!(lines[0].contains(part), "{part}: {text}");
    }
}

/// Where the job names no budget Slurm's limit is one: what it leaves for a rank, rows in a file.
#[test]
fn what_slurm_allows_is_the_budget_of_a_job_that_names_none() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[pretrain]\nepochs = 0\n[rounds]\ncount = 1\n[experts]\ncount = 1\nepochs = 1\n\
                batch = 256\nwindow = 512\n[shared]\niterations = 0\n[model]\n\
                shared = [{ dense = 512 }]\n[run]\nthreads = 1\nrow_blocks = 64\n";
    let job = job(folder.path(), "--rows 16000 --classes 16", text);
    let run = |name: &str, ranks: usize, megabytes: Option<&str>| {
        let output = folder.path().join(name);
        let train = reelscale(&format!("train --comm threads={ranks}")).path(&job);
        let train = train.arg("--output").path(&output);
        let megabytes = megabytes.into_iter();
        let train = megabytes.fold(train, |train, some| train.env("SLURM_MEM_PER_NODE", some));
        let told = train.output();
        (String::from_utf8_lossy(&told.stderr).into_owned(), told.status.code(), output)
    };
    let (free, _, whole) = run("free", 1, None);
    assert!(!free.contains("a scratch file"), "{free}");
    // 12 MiB a rank, of two that share what the node allows.
    let (text, code, kept) = run("kept", 2, Some("536"));
    assert_eq!(code, Some(0), "{text}");
    let told = "control groups or Slurm allow a rank 268.00 MiB: it keeps to 12.00 MiB";
    assert_eq!(text.matches(told).count(), 1, "{text}");
    assert!(text.contains("activations in a scratch file"), "{text}");
    let hash = |run: &Path| json(&run.join("run.json"), "result_hash");
    assert_eq!(hash(&kept), hash(&whole));
    let written = fs::read_to_string(kept.join("job.toml")).unwrap();
    assert!(written.contains("memory_gib = 0.0"), "{written}");
    // A plan within it stays as it is; a job that needs more is refused before it computes.
    let (text, code, _) = run("ample", 1, Some("4000"));
    assert!(code == Some(0) && !text.contains("control groups or Slurm"), "{text}");
    let (text, code, _) = run("small", 1, Some("257"));
    assert!(code == Some(9) && text.contains("run.memory_gib: found 0.0009765625"), "{text}");
    let (text, code, output) = run("none", 1, Some("60"));
    let told = "allow a rank 60.00 MiB, which is no more than the 256.00 MiB that are left to MPI";
    assert!(code == Some(9) && text.contains(told) && text.contains("(--mem)"), "{text}");
    assert!(!output.exists());
    // Ranks come to one end where one of them names a budget itself.
    needs_mpi!();
    let train = ["train", job.to_str().unwrap(), "--output", output.to_str().unwrap()];
    let program = env!("CARGO_BIN_EXE_reelscale");
    let ranks = |megabytes: &str, budget: &str| {
        let own = [":", "-n", "1", program].into_iter().chain(train);
        let ranks = reelscale("").ranks(1).env("SLURM_MEM_PER_NODE", megabytes);
        let ranks = train.into_iter().chain(own).fold(ranks, |ranks, word| ranks.arg(word));
        ranks.arg("--set").arg(format!("run.memory_gib={budget}"))
    };
    let text = ranks("120", "1").fails_with(9);
    assert!(text.contains(told) && !text.contains("damaged"), "{text}");
    // By 12 MiB of its own one plans within what the other has to be told of.
    ranks("536", "0.0117").stdout();
    assert_eq!(hash(&output), hash(&whole));
}
