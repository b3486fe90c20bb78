//! Signals that something takes from the program or from its launcher, and those that come before
//! there is a run.

mod common;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{json, reelscale, shards, signal};

/// Where PoCL is installed mpirun loads LLVM, which takes SIGUSR1 for itself. The doctor says so,
/// and that the variable cures it.
#[test]
fn the_doctor_finds_a_launcher_that_loses_signals() {
    if common::without_mpi() {
        return;
    }
    let doctor = reelscale("doctor");
    let cured = doctor.clone().ranks(2).output();
    let text = String::from_utf8_lossy(&cured.stdout).into_owned();
    assert!(!text.contains("SIGUSR1"), "{text}");
    if !Path::new("/etc/OpenCL/vendors/pocl.icd").exists() {
        println!("skipped: PoCL isn't installed");
        return;
    }
    let trapped = doctor.env("HWLOC_COMPONENTS", "").ranks(2).output();
    let text = String::from_utf8_lossy(&trapped.stdout).into_owned();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("SIGUSR1")).collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert!(lines[0].starts_with("problem    rank 0: mpirun (pid "), "{text}");
    assert!(
        lines[0].contains("libLLVM") && lines[0].contains("HWLOC_COMPONENTS=-opencl"),
        "{text}"
    );
    assert_eq!(trapped.status.code(), Some(3), "{text}");
}

/// Whether a process has a handler for signal number `number`.
fn has_taken(process: u32, number: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    caught.is_some_and(|mask| mask >> (number - 1) & 1 == 1)
}

/// A signal that comes while MPI starts is kept: the run stops at its first boundary.
#[test]
fn a_signal_before_there_is_a_run_stops_it_at_its_first_boundary() {
    if common::without_mpi() {
        return;
    }
    const SIGUSR2: u32 = 12;
    let folder = tempfile::tempdir().unwrap();
    shards(&folder.path().join("data"), 2000, 50, 16);
    let (job, run) = (folder.path().join("job.toml"), folder.path().join("run"));
    let glob = format!("{}/data/*.h5", folder.path().display());
    fs::write(&job, format!("[data]\ntrain = [{glob:?}]\n[run]\nthreads = 1\n")).unwrap();
    let train = reelscale("train").path(&job).arg("--output").path(&run);
    let started = train.clone().ranks(2).within(60).spawn();
    let begun = Instant::now();
    let first = loop {
        match started.processes().into_iter().find(|process| has_taken(*process, SIGUSR2)) {
            Some(process) => break process,
            None => assert!(begun.elapsed() < Duration::from_secs(30), "it never starts"),
        }
    };
    assert!(!run.exists(), "the run hasn't begun");
    signal("USR2", first);
    let output = started.finish();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}\n{text}", output.status);
    assert!(text.contains("told to stop"), "{text}");
    // Where the stop is seen while shards are opened there is no run directory yet.
    if run.exists() {
        assert_eq!(json(&run.join("run.json"), "finished"), false, "{text}");
    }
    train.ranks(2).stdout();
    assert_eq!(json(&run.join("run.json"), "finished"), true);
}
