//! `run.device = "auto"` on a stand-in for CUDA's driver: a GPU for each rank of a node, or the
//! processor with the reason, whatever the driver does.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::Path;

use super::common::pins::Pin;
use super::common::{TestCommand, json, needs_mpi};
use super::cuda::{NOTHING_LEFT, pinned, script, train};
use super::stand_in::{folder, with};

/// What a run told to choose says of its device, in its log and in run.json.
fn taken(folder: &Path, run: &str, expected: &Pin, command: TestCommand) -> String {
    let told = command.output();
    assert!(told.status.success(), "{run}: {told:?}");
    assert_eq!(Pin::of_directory(&folder.join(run)), *expected, "{run}");
    let said = String::from_utf8_lossy(&told.stderr).into_owned();
    let lines: Vec<_> = said.lines().filter(|line| line.contains("device: ")).collect();
    let versions = json(&folder.join(run).join("run.json"), "versions");
    let device = versions["device"].as_str().unwrap().to_string();
    assert!(lines[0].ends_with(&format!("device: {device}")), "{run}: {said}");
    // What of it stays on the processor is told where this rank has one.
    assert!(lines.len() == 1 || device.starts_with(GPU) && lines.len() == 2, "{run}: {said}");
    let of_stand_in = said.contains("stand-in for CUDA: left ");
    assert!(!of_stand_in || said.contains(NOTHING_LEFT), "{run}: {said}");
    device
}

const GPU: &str = "CUDA: stand-in of plain C++, driver for CUDA 13.0 (225761 numbers of it are the \
                   processor's)";

#[test]
fn a_rank_alone_takes_a_gpu_that_works() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path();
    let expected = pinned(data, 0);
    let run = |name: &str, variables: &[(&str, &str)]| {
        let variables = [variables, &[("LEAKS", "1")]].concat();
        let command = with(train(data, name, "auto"), &variables);
        taken(data, name, &expected, command.env("REELSCALE_DEVICE_SECONDS", "2"))
    };
    assert_eq!(run("takes", &[]), GPU);
    assert_eq!(run("one-of-four", &[("GPUS", "4")]), GPU);
    let both = |why: &str| format!("host (GPUs by CUDA: {why}; GPUs by OpenCL: none)");
    assert_eq!(run("none", &[("GPUS", "0")]), both("none"));
    let old = "CUDA: the GPU has compute capability 7.5, the kernels need 8.0";
    assert_eq!(run("old", &[("CAPABILITY", "75")]), both(old));
    let driver = "CUDA: the driver is for CUDA 12.8: the kernels need one for CUDA 13.0 (580) or \
                  later";
    assert_eq!(run("old-driver", &[("VERSION", "12080")]), both(driver));
    // Whatever it does at its start it doesn't do to the rank.
    let starts = run("crash", &[("AT_START", "crash")]);
    assert!(starts.contains("looking for them ends with signal: 6"), "{starts}");
    let opens = run("crash-at-context", &[("AT_CONTEXT", "crash")]);
    assert!(opens.starts_with("host (looking for them ends with signal: 6"), "{opens}");
    let starts = run("hang", &[("AT_START", "hang")]);
    assert!(starts.contains("drivers don't answer within 2 s"), "{starts}");
    assert_eq!(
        run("hang-at-context", &[("AT_CONTEXT", "hang")]),
        "host (drivers don't answer within 2 s)"
    );
    // A launch that fails in the check, and memory that doesn't suffice for it or for the job.
    let fails = run("fails", &[("FAILS_AT", "3")]);
    assert!(fails.contains("CUDA_ERROR_ILLEGAL_ADDRESS"), "{fails}");
    let full = run("full", &[("MEMORY", "100000")]);
    assert!(full.contains("CUDA_ERROR_OUT_OF_MEMORY"), "{full}");
    let small = train(data, "small", "auto").arg("--set").arg("run.device_memory_gib=0.0001");
    let small = taken(data, "small", &expected, with(small, &[]));
    let found = "host (run.device_memory_gib: found 0.0001, this needs 0.000";
    assert!(small.starts_with(found), "{small}");
}

/// One that is another process's alone is left to it; who names it is told so.
#[test]
fn a_gpu_that_is_in_use_by_another_alone_is_left_to_it() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path();
    let expected = pinned(data, 0);
    let locks = data.join("locks");
    fs::create_dir(&locks).unwrap();
    let exclusive = [("EXCLUSIVE", locks.to_str().unwrap())];
    let run =
        |name: &str| taken(data, name, &expected, with(train(data, name, "auto"), &exclusive));
    assert_eq!(run("free"), GPU);
    let own = fs::File::create(locks.join("gpu0")).unwrap();
    // SAFETY: the file is open.
    assert_eq!(unsafe { libc::flock(own.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }, 0);
    let why = "CUDA: the GPU is in use: it is for one process alone, or for none";
    assert_eq!(run("taken"), format!("host ({why})"));
    let told = with(train(data, "named", "cuda"), &exclusive).fails_with(3);
    assert_eq!(told, format!("reelscale: run.device = \"cuda\": {why}"));
}

/// Four ranks of a node on four GPUs, on two and on one, and where a launcher has bound each rank
/// to one: by the memory that each may take.
#[test]
fn ranks_of_a_node_share_its_gpus_by_what_they_are() {
    needs_mpi!();
    let data = tempfile::tempdir().unwrap();
    let data = data.path();
    let expected = pinned(data, 0);
    let bound = script(data, "bound.sh", "export CUDA_VISIBLE_DEVICES=$OMPI_COMM_WORLD_RANK");
    let to_first = script(data, "first.sh", "export CUDA_VISIBLE_DEVICES=0");
    let plain = folder().join("none");
    let few = |gpus: usize| {
        format!("host (GPUs by CUDA: {gpus} for the 4 ranks of this node; GPUs by OpenCL: none)")
    };
    for (name, gpus, program, share, auto) in [
        ("four", "4", &plain, "8.00 GiB", GPU.to_string()),
        ("two", "2", &plain, "4.00 GiB", few(2)),
        ("one", "1", &plain, "2.00 GiB", few(1)),
        ("bound", "4", &bound, "8.00 GiB", GPU.to_string()),
        ("bound-to-first", "4", &to_first, "2.00 GiB", few(1)),
    ] {
        let command = |run: &str, device: &str| {
            let command = with(train(data, run, device).ranks(4), &[("GPUS", gpus)]);
            if *program == plain { command } else { command.program(program.clone()) }
        };
        let told = command(&format!("{name}-named"), "cuda").output();
        let said = String::from_utf8_lossy(&told.stderr);
        assert!(
            told.status.success() && said.contains(&format!(" of {share}\n")),
            "{name}: {said}"
        );
        assert_eq!(Pin::of_directory(&data.join(format!("{name}-named"))), expected, "{name}");
        let run = format!("{name}-auto");
        assert_eq!(taken(data, &run, &expected, command(&run, "auto")), auto, "{name}");
    }
    // Thread ranks are ranks of a node, too.
    let threads = train(data, "threads", "auto").arg("--comm").arg("threads=2");
    let device = taken(data, "threads", &expected, with(threads, &[("GPUS", "2")]));
    assert_eq!(device, GPU);
    // One that is told the processor leaves its GPU to others.
    let mixed =
        script(data, "mixed.sh", "[ $OMPI_COMM_WORLD_RANK = 0 ] && export REELSCALE_DEVICE=host");
    let mixed = train(data, "mixed", "auto").program(mixed).ranks(2);
    let device = taken(data, "mixed", &expected, with(mixed, &[]));
    assert_eq!(device, format!("{GPU} on 1 of 2 ranks; host (as told) on 1 of 2 ranks"));
}
