//! Shards without a proof: another process reads them in full first, whatever HDF5 makes of them;
//! a run knows the content of its shards when it goes on.

mod common;

#[path = "common/older_runs.rs"]
mod older_runs;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{json, reelscale, signal};
use older_runs::{Copy, copy_folder};
use reelscale::internals::data::{Kind, ShardHeader, ShardWriter};
use reelscale::internals::example::{Example, FeaturePart, Values};

const FIRST: &str = "videos/synthetic-00000.h5";

/// The shard with one bit of a byte flipped, under another name.
fn flipped(shard: &[u8], folder: &Path, (byte, bit): (usize, u8)) -> PathBuf {
    let mut bytes = shard.to_vec();
    bytes[byte] ^= 1 << bit;
    let path = folder.join(format!("{byte:06}-{bit}.h5"));
    fs::write(&path, bytes).unwrap();
    path
}

/// Bits of the metadata of `FIRST` that make HDF5 1.10.8 crash (signal 8 or 11) or loop for ever.
const CRASHES: [(usize, u8); 4] = [(1_057_462, 1), (1_061_876, 1), (1_066_284, 0), (1_066_284, 1)];
const ENDLESS: [(usize, u8); 2] = [(2184, 1), (2184, 3)];

#[test]
fn files_that_crash_hdf5_or_keep_it_for_ever_are_all_named() {
    if common::without_mpi() {
        return;
    }
    let copy = Copy::new();
    let (folder, shard) = (copy.path("damaged"), fs::read(copy.path(FIRST)).unwrap());
    fs::create_dir(&folder).unwrap();
    let bits = CRASHES.iter().chain(&ENDLESS);
    let damaged: Vec<PathBuf> = bits.map(|bit| flipped(&shard, &folder, *bit)).collect();
    fs::copy(copy.path(FIRST), folder.join("whole.h5")).unwrap();
    let train = "train adam.toml --set data.train=[\"damaged/*.h5\"] --output run";
    let (inspect, train) = (copy.reelscale("inspect damaged"), copy.reelscale(train));
    for command in [inspect, train.clone(), train.ranks(3)] {
        let text = command.fails_with(4);
        for path in &damaged {
            assert!(text.contains(path.file_name().unwrap().to_str().unwrap()), "{path:?}: {text}");
        }
        assert!(text.contains("crashes HDF5 (signal") && text.contains("come to an end"), "{text}");
        assert!(!text.contains("whole.h5"), "{text}");
    }
    assert!(!copy.path("run").exists());
}

/// A pipe would wait for a writer, a device never end.
#[test]
fn what_is_no_file_is_refused_at_once() {
    let copy = Copy::new();
    let pipe = copy.path("pipe.h5");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::os::unix::fs::symlink("/dev/zero", copy.path("device.h5")).unwrap();
    for name in ["pipe.h5", "device.h5"] {
        let text = copy.reelscale("inspect").arg(name).within(20).fails_with(4);
        assert!(text.contains(name) && text.contains("a pipe, device"), "{text}");
        let train = format!("train adam.toml --set data.train=[\"{name}\"] --output run");
        copy.reelscale(&train).within(20).fails_with(4);
    }
}

/// SIGUSR1 while another process reads: the run stops, that process ends, nothing else is lost.
#[test]
fn a_stop_while_shards_are_read_is_a_stop() {
    let copy = Copy::new();
    let (folder, shard) = (copy.path("endless"), fs::read(copy.path(FIRST)).unwrap());
    fs::create_dir(&folder).unwrap();
    // Four of them in a row: longer than it takes to ask for a stop.
    for name in ["a", "b", "c", "d"] {
        fs::copy(flipped(&shard, &copy.path(""), ENDLESS[0]), folder.join(name)).unwrap();
    }
    let train = "train adam.toml --set data.train=[\"endless/*\"] --output run";
    let running = copy.reelscale(train).spawn();
    let reader = || {
        let mut tasks =
            fs::read_to_string(format!("/proc/{0}/task/{0}/children", running.launcher()))
                .unwrap_or_default();
        tasks.truncate(tasks.find(' ').unwrap_or(0));
        tasks
    };
    let from = Instant::now();
    while reader().is_empty() {
        assert!(from.elapsed() < Duration::from_secs(20), "no process reads");
        std::thread::sleep(Duration::from_millis(5));
    }
    let reader = reader();
    // It is deaf to what a whole job gets.
    for name in ["USR1", "USR2", "INT", "TERM"] {
        signal(name, reader.parse().unwrap());
    }
    std::thread::sleep(Duration::from_millis(200));
    assert!(Path::new(&format!("/proc/{reader}")).exists(), "the reader has ended");
    let asked = Instant::now();
    signal("USR1", running.launcher());
    let output = running.finish();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("told to stop"), "{text}");
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    assert!(!Path::new(&format!("/proc/{reader}")).exists(), "the reader goes on");
}

/// In this process, whose program wouldn't know what it is to do, nothing is started.
#[test]
fn a_user_of_the_library_gets_an_error() {
    let copy = Copy::new();
    let error = reelscale::internals::data::prove(&[copy.path(FIRST)], &mut || false).unwrap_err();
    assert!(error.exit as u8 == 4 && error.text.contains("--seal"), "{error}");
}

fn stop_early(copy: &Copy, run: &str) {
    let train = format!("train adam.toml --output {run} --set checkpoint.every=1");
    let mut running = copy.reelscale(&train).spawn();
    running.wait_for(&copy.path(run).join("metrics.jsonl"), "\"epoch\":1");
    signal("USR1", running.launcher());
    assert!(running.finish().status.success());
    assert_eq!(json(&copy.path(run).join("run.json"), "finished"), false);
}

#[test]
fn a_run_goes_on_with_its_own_shards_only() {
    let copy = Copy::new();
    let whole = copy.path("whole");
    copy.reelscale("train adam.toml --output").path(&whole).stdout();
    stop_early(&copy, "run");
    let read = fs::read_to_string(copy.path("run/shards.jsonl")).unwrap();
    assert_eq!(read.lines().count(), 2, "{read}");
    // Other rows of the same shape.
    copy_folder(&copy.path("videos"), &copy.path("kept"));
    let (first, second) = (copy.path(FIRST), copy.path("videos/synthetic-00001.h5"));
    fs::remove_file(&first).unwrap();
    let rows = "synthesize --rows 150 --classes 24 --features 10 --seed 9 --output other";
    copy.reelscale(rows).stdout();
    fs::copy(copy.path("other/synthetic-00000.h5"), &first).unwrap();
    let on = |run: &str| copy.reelscale("train adam.toml --output").arg(run);
    let text = on("run").fails_with(6);
    let expected = "data.train: synthetic-00000.h5: found other rows than the checkpoint";
    assert!(text.contains(expected), "{text}");
    // The same rows in files that are new: as before.
    for path in [&first, &second] {
        fs::remove_file(path).unwrap();
        fs::copy(copy.path("kept").join(path.file_name().unwrap()), path).unwrap();
    }
    on("run").stdout();
    let hash = |run: &Path| json(&run.join("run.json"), "model_hash");
    assert_eq!(hash(&copy.path("run")), hash(&whole));
}

/// A checkpoint that knows no contents goes on and says so.
#[test]
fn older_checkpoints_go_on_with_a_warning() {
    let copy = Copy::new();
    let output = copy.reelscale("train adam.toml --output runs/adam").output();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    let refused = text.lines().filter(|line| line.contains("is seen by their sizes alone")).count();
    assert_eq!(refused, 1, "{text}");
}

/// A node that has other files than the others.
#[test]
fn ranks_see_the_same_files() {
    if common::without_mpi() {
        return;
    }
    let copy = Copy::new();
    let (by_rank, program) = (copy.path("by-rank"), env!("CARGO_BIN_EXE_reelscale"));
    let name = "videos/synthetic-00000.h5";
    for (folder, first) in [("here", 0.5), ("here/own", 0.5), ("other", 0.75)] {
        let (videos, job) = (copy.path(folder).join(name), copy.path(folder).join("adam.toml"));
        fs::create_dir_all(videos.parent().unwrap()).unwrap();
        fs::copy(copy.path("adam.toml"), job).unwrap();
        let parts = vec![FeaturePart { name: "rgb".into(), size: 10 }];
        let source = "a test".to_string();
        let header = ShardHeader { parts, class_count: 24, kind: Kind::Video, source };
        let mut writer = ShardWriter::create(&videos, &header).unwrap();
        for row in 0..300u32 {
            let values = Values::Video((0..10).map(|at| first + (row * at % 7) as f32).collect());
            let id = format!("v{row}").into_bytes();
            writer.push(&Example { id, labels: vec![row % 24], values }).unwrap();
        }
        writer.finish().unwrap();
    }
    let script = format!(
        "#!/bin/sh\ncd {}\n[ $OMPI_COMM_WORLD_RANK = 1 ] && cd own\n\
         exec {program} train adam.toml --output {}\n",
        copy.path("here").display(),
        copy.path("run").display()
    );
    fs::write(&by_rank, script).unwrap();
    fs::set_permissions(&by_rank, fs::Permissions::from_mode(0o755)).unwrap();
    let refused = |expected: &str| {
        let text = reelscale("").program(by_rank.clone()).ranks(2).within(60).fails_with(4);
        assert!(text.contains(expected), "{text}\nexpected {expected}");
    };
    // Other rows in as many bytes. Rank 1 describes the only shard, rank 0 finds another one.
    let own = copy.path("here/own").join(name);
    let mut bytes = fs::read(copy.path("other").join(name)).unwrap();
    assert_eq!(bytes.len() as u64, own.metadata().unwrap().len());
    fs::remove_file(&own).unwrap();
    fs::write(&own, &bytes).unwrap();
    refused("rank 0: videos/synthetic-00000.h5: ");
    // Another size, and no such file.
    bytes.push(0);
    fs::write(&own, &bytes).unwrap();
    refused(&format!("rank 1: data.train: videos/synthetic-00000.h5: found {} bytes", bytes.len()));
    fs::remove_file(&own).unwrap();
    refused("rank 1: data.train: found videos/*.h5: matches no file, rank 0 has videos/");
    assert!(!copy.path("run").exists());
}
