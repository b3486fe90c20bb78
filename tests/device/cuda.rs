//! The launcher for CUDA on a stand-in for its driver, which runs what is queued as late as it may,
//! at once, or in an order that it draws: the pinned jobs come to their literals, by whole runs of
//! the program, too, and what isn't as it must be is seen.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use reelscale::internals::device::gpu::cuda::Cuda;
use reelscale::internals::kernel::text::PTX;
use reelscale::internals::train::{Data, Run, Setting};
use reelscale::{Exit, run_threads};

use super::common::pinned_jobs::{VIDEOS, job, sets, shards};
use super::common::pins::Pin;
use super::common::{TestCommand, json, needs_mpi, reelscale};
use super::gpu::{Ground, Watched, check_all};
use super::stand_in::{build, launcher, order, with, with_driver};

/// What it says of itself when nothing was left behind.
pub const NOTHING_LEFT: &str = "left 0 contexts, 0 pieces of memory (0 bytes), 0 streams, 0 \
                                events, 0 modules, 0 bytes pinned";

#[test]
fn jobs_come_to_their_literals_on_cuda_and_launch_every_kernel() {
    let ordered = |ranks| launcher([c"late", c"now", c"7"][ranks - 1]);
    check_all(&Ground { name: "CUDA", launcher: &ordered, in_turn: true });
}

/// A kernel that the PTX hasn't ends the run with its name.
#[test]
fn a_kernel_that_is_missing_ends_the_run() {
    let folder = tempfile::tempdir().unwrap();
    shards(folder.path(), 0);
    let (name, own) = VIDEOS[0];
    let job = job(folder.path(), name, own);
    let ptx = PTX.replace(".entry sweep(", ".entry swept(");
    let outcomes = run_threads(2, |comm| {
        order(c"3");
        let ptx = if comm.rank() == 1 { &ptx } else { PTX };
        let device = Watched::around(Box::new(Cuda::new(0, ptx).unwrap())).device(&job);
        let mut report = reelscale::internals::report::Report::new(None);
        let setting = Setting::new(comm, &job, Data::open(comm, &job)?)?;
        let run = Run::begin(setting, device, &mut report, None);
        Ok(run.and_then(|run| run.finish().map(drop)))
    });
    for outcome in outcomes.unwrap() {
        let error = outcome.unwrap_err();
        assert_eq!(error.exit, Exit::Resources, "{error}");
        let told = "CUDA: sweep: DriverError(CUDA_ERROR_NOT_FOUND, \"named symbol not found\")";
        assert!(error.text.contains(told), "{error}");
    }
}

/// A pinned job as a file, and what it is to come to.
pub fn pinned(folder: &Path, number: usize) -> Pin {
    shards(folder, 0);
    let (name, own) = VIDEOS[number];
    let text: String = sets(own).map(|line| format!("{line}\n")).collect();
    let lines: std::collections::BTreeMap<_, _> =
        text.lines().map(|line| (line.split(" = ").next().unwrap(), line)).collect();
    let text: String = lines.into_values().map(|line| format!("{line}\n")).collect();
    let text = text.replace("DATA", folder.to_str().unwrap());
    fs::write(folder.join("job.toml"), text).unwrap();
    Pin::of_run(&job(folder, name, own), 1)
}

pub fn train(folder: &Path, run: &str, device: &str) -> TestCommand {
    let command = reelscale("train").path(&folder.join("job.toml"));
    let command = command.arg("--output").path(&folder.join(run));
    command.arg("--set").arg(format!("run.device={device:?}"))
}

/// The program, after a line of a shell.
pub fn script(folder: &Path, name: &str, line: &str) -> PathBuf {
    let (path, program) = (folder.join(name), env!("CARGO_BIN_EXE_reelscale"));
    fs::write(&path, format!("#!/bin/sh\n{line}\nexec {program} \"$@\"\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// One process, thread ranks and ranks of MPI, of which one may be the processor's, name CUDA.
#[test]
fn whole_runs_on_cuda_come_to_the_pinned_weights() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let expected = pinned(folder, 4);
    let ends = |command: TestCommand, run: &str, order: &str| {
        let told = with(command, &[("ORDER", order), ("LEAKS", "1")]).output();
        assert!(told.status.success(), "{run}: {told:?}");
        let said = String::from_utf8_lossy(&told.stderr).into_owned();
        assert!(said.contains(NOTHING_LEFT), "{run}: {said}");
        assert_eq!(Pin::of_directory(&folder.join(run)), expected, "{run}");
        let versions = json(&folder.join(run).join("run.json"), "versions");
        versions["device"].as_str().unwrap().to_string()
    };
    let whole = "CUDA: stand-in of plain C++, driver for CUDA 13.0 (";
    let one = ends(train(folder, "one", "cuda"), "one", "late");
    assert!(one.starts_with(whole), "{one}");
    let threads = train(folder, "threads", "cuda").arg("--comm").arg("threads=3");
    let three = ends(threads, "threads", "5");
    assert!(three.starts_with(whole) && !three.contains("ranks"), "{three}");

    needs_mpi!();
    let line = "[ $OMPI_COMM_WORLD_RANK = 1 ] && export REELSCALE_DEVICE=host";
    let mixed = train(folder, "mixed", "cuda").program(script(folder, "mixed.sh", line)).ranks(3);
    let mixed = ends(mixed, "mixed", "now");
    assert!(mixed.contains("CUDA: ") && mixed.contains("host (as told) on 1 of 3"), "{mixed}");
}

/// The check of a device at its start doesn't ask for all kernels; the weights tell.
#[test]
fn a_sign_that_is_flipped_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let expected = pinned(folder, 0);
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/kernel");
    let (kernels, flipped) = (folder.join("kernel"), folder.join("flipped"));
    let mut copy = std::process::Command::new("cp");
    assert!(copy.arg("-r").arg(own).arg(&kernels).status().unwrap().success());
    let sweep = kernels.join("sweep/device.h");
    let text = fs::read_to_string(&sweep).unwrap();
    let other = text.replace("positive ? -slope : slope", "positive ? slope : -slope");
    assert_ne!(other, text);
    fs::write(sweep, other).unwrap();
    fs::create_dir(&flipped).unwrap();
    build(&flipped, &kernels);
    with_driver(train(folder, "flipped-run", "cuda"), &flipped, &[]).stdout();
    let found = Pin::of_directory(&folder.join("flipped-run"));
    assert_ne!(found.weights, expected.weights);
}

/// A device that is lost or full in the middle of a run ends all ranks with 9, and says which it
/// is, what it held and in which phase.
#[test]
fn a_device_that_fails_in_a_run_ends_it_with_9() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    pinned(folder, 0);
    let (failed, full) = ("CUDA_ERROR_ILLEGAL_ADDRESS", "CUDA_ERROR_OUT_OF_MEMORY");
    for (ranks, variable, value, error) in [
        (1, "FAILS_AT", "400", failed),
        (3, "FAILS_AT", "900", failed),
        (1, "FULL_AT", "1500000", full),
        (3, "FULL_AT", "1500000", full),
    ] {
        let run = format!("{variable}-{ranks}");
        let command = train(folder, &run, "cuda").arg("--comm").arg(format!("threads={ranks}"));
        let command = command.arg("--set").arg("experts.count=200");
        let told = with(command, &[(variable, value), ("ORDER", "late")]).fails_with(9);
        assert!(told.starts_with("reelscale: CUDA: stand-in of plain C++, driver"), "{told}");
        let (what, held) = told.split_once("; it held ").unwrap();
        let (held, phase) = held.split_once(" bytes (").unwrap();
        assert!(what.contains(error) && held.parse::<usize>().unwrap() > 0, "{told}");
        let phases = ["pretrain", "experts", "shared", "round "];
        assert!(phases.iter().any(|name| phase.contains(name)), "{told}");
    }
}

/// Commands beside train name it, and choose it by themselves.
#[test]
fn evaluate_annotate_and_bench_run_on_cuda() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    pinned(folder, 0);
    train(folder, "host", "host").stdout();
    let on = |command: &str, device: &str| {
        let command = reelscale(command).arg("--model").path(&folder.join("host/model"));
        let data = format!("{}/train-*.h5", folder.display());
        with(command.arg("--data").arg(data).arg("--device").arg(device), &[("LEAKS", "1")])
    };
    let found = ["host", "cuda", "auto"].map(|device| {
        let evaluated = on("evaluate --format json", device).output();
        let log = String::from_utf8_lossy(&evaluated.stderr);
        assert!(evaluated.status.success(), "{evaluated:?}");
        assert_eq!(log.contains("device: CUDA: stand-in"), device != "host", "{log}");
        assert_eq!(log.contains(NOTHING_LEFT), device != "host", "{log}");
        let to = folder.join(format!("{device}.csv"));
        on("annotate", device).arg("--output").path(&to).stdout();
        (String::from_utf8(evaluated.stdout).unwrap(), fs::read_to_string(to).unwrap())
    });
    assert!(found[0].0.contains("gap_at_20") && found[0].1.lines().count() > 100);
    assert!(found[1] == found[0] && found[2] == found[0]);
    // Where it is too small who has named it is told, and who hasn't has the processor.
    let tight = |device: &str| on("evaluate", device).arg("--device-memory-gib").arg("0.000001");
    let told = tight("cuda").fails_with(9);
    let found = "--device-memory-gib: found 0.000001, this needs";
    assert!(told.starts_with(&format!("reelscale: {found}")), "{told}");
    let told = tight("auto").output();
    let log = String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success() && log.contains(&format!("device: host ({found}")), "{log}");
    for device in ["cuda", "auto"] {
        let bench = reelscale("bench gemm --rows 30 --depth 20 --columns 40 --repeat 1");
        let bench = bench.arg("--format").arg("json").arg("--device").arg(device);
        let rows = with(bench, &[]).stdout();
        let on_cuda = |row: &str| row.contains("\"device\":\"CUDA: stand-in of plain C++, ");
        assert!(rows.lines().count() > 0 && rows.lines().all(on_cuda), "{rows}");
    }
}
