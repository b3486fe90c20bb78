//! Ranks under the launcher of the MPI that the program is built with, Open MPI or MPICH
//! (`make test-mpich`), and under that of the other.

use std::fs;
use std::path::Path;
use std::process::Output;

use super::common::launcher::{is_of_mpich, mpirun};
use super::common::pinned_jobs::{VIDEOS, job, shards};
use super::common::pins::{Literals, Pin};
use super::common::scratch::Scratch;
use super::common::{json, needs_mpi, reelscale, signal};

fn built_with_mpich() -> bool {
    is_of_mpich(&mpirun()).expect("what starts ranks is there")
}

/// A run of seconds, whose expert step takes most of them.
const JOB: &str = "
[model]
shared = [{ dense = 16, activation = \"relu\" }]
[pretrain]
ranks = 4096
epochs = 1
batch = 64
[experts]
epochs = 30
batch = 32
window = 100
[shared]
iterations = 2
[rounds]
count = 1
[run]
threads = 1
row_blocks = 13
[checkpoint]
minutes = 0
";

#[test]
fn the_doctor_says_which_mpi_has_started_which() {
    needs_mpi!();
    let text = reelscale("doctor --device host").ranks(2).output();
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    let expected = match built_with_mpich() {
        true => ["launcher   mpirun of MPICH\n", "mpi        MPICH "],
        false => ["launcher   mpirun of Open MPI\n", "mpi        Open MPI v"],
    };
    for line in expected {
        assert!(text.contains(line), "{line}: {text}");
    }
    // Ranks that aren't bound share the cores of their node.
    let cores = std::thread::available_parallelism().unwrap().get();
    let threads = |line: &str| line.split_whitespace().nth(3).unwrap().parse::<usize>().unwrap();
    let ranks: Vec<usize> = text
        .lines()
        .filter(|line| line.starts_with("0 ") || line.starts_with("1 "))
        .map(threads)
        .collect();
    assert_eq!(ranks, [(cores / 2).max(1); 2], "{text}");
    let alone = reelscale("doctor --device host").stdout();
    assert!(alone.contains("; not started: no launcher\n"), "{alone}");
    assert!(alone.contains("launcher   none\n"), "{alone}");
}

/// The literals that all versions are held to.
#[test]
fn ranks_come_to_the_pinned_weights() {
    needs_mpi!();
    let folder = tempfile::tempdir().unwrap();
    shards(folder.path(), 0);
    let mut literals = Literals::read("videos.txt");
    for (name, own) in &VIDEOS[..2] {
        let text = job(folder.path(), name, own).to_toml();
        let path = folder.path().join(format!("{name}.toml"));
        fs::write(&path, text).unwrap();
        for ranks in [2, 3] {
            let run = folder.path().join(format!("{name}-{ranks}"));
            reelscale("train").path(&path).arg("--output").path(&run).ranks(ranks).stdout();
            literals.check(name, &format!("{} -n {ranks}", mpirun()), Pin::of_directory(&run));
        }
    }
}

#[test]
fn a_run_is_stopped_on_two_ranks_and_goes_on_on_three() {
    needs_mpi!();
    let scratch = Scratch::of((1200, 30, 12), JOB);
    let result = |run: &str| {
        let record = scratch.path(run).join("run.json");
        (json(&record, "finished"), json(&record, "result_hash"))
    };
    scratch.train("whole").ranks(1).stdout();
    let mut run = scratch.train("run").arg("--stop-exit-code").ranks(2).within(60).spawn();
    run.wait_for(
        &scratch.path("run/metrics.jsonl"),
        "\"step\":\"experts\",\"round\":1,\"epoch\":2",
    );
    let ranks = run.processes();
    assert_eq!(ranks.len(), 2);
    signal("USR1", ranks[1]);
    let output = run.finish();
    assert_eq!(output.status.code(), Some(75), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(result("run").0, false);
    scratch.train("run").ranks(3).stdout();
    assert_eq!(result("run"), result("whole"));
}

/// A rank that is killed takes the others with it.
#[test]
fn a_lost_rank_ends_all() {
    needs_mpi!();
    let scratch = Scratch::of((1200, 30, 12), JOB);
    let mut run = scratch.train("run").ranks(3).within(60).spawn();
    run.wait_for(
        &scratch.path("run/metrics.jsonl"),
        "\"step\":\"experts\",\"round\":1,\"epoch\":1",
    );
    let ranks = run.processes();
    assert_eq!(ranks.len(), 3);
    signal("KILL", ranks[1]);
    run.ranks_gone(std::time::Duration::from_secs(20));
    assert!(!run.finish().status.success());
}

/// Each rank would be alone in its world, and both would write one run.
#[test]
fn the_launcher_of_another_mpi_is_named() {
    needs_mpi!();
    let (other, expected) = match built_with_mpich() {
        true => ("mpirun.openmpi", "mpirun of Open MPI started a program of MPICH "),
        false => ("mpirun.mpich", "mpirun of MPICH started a program of Open MPI v"),
    };
    if is_of_mpich(other).is_none() {
        println!("skipped: {other} isn't installed");
        return;
    }
    let scratch = Scratch::of((60, 5, 8), JOB);
    let run = || scratch.train("run").launcher(other).ranks(2).within(60).output();
    // MPICH's launcher kills the second rank where that is slow to end, adds signal 9 to the exit
    // status of the first, and may lose what either has said.
    let told = |output: &Output| output.status.code() != Some(3 | 9);
    let refused = (0..5).map(|_| run()).find(told).expect("not five times");
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(3), "{text}");
    // Once, unless the launcher is slow to end the second.
    assert!(text.contains("found a world of 1 rank beside ") && text.contains(expected), "{text}");
    assert!(!Path::new(&scratch.path("run")).exists(), "nothing is written");
    let run = || reelscale("doctor --device host").launcher(other).ranks(2).output();
    let doctor = (0..5).map(|_| run()).find(told).expect("not five times");
    let told = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert_eq!(doctor.status.code(), Some(3), "{told}");
    assert!(
        told.contains("problem    found a world of 1 rank") && told.contains(expected),
        "{told}"
    );
}
