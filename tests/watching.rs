//! Ranks that are stopped, hang or wait for a disk, on real ranks: they are found and named in
//! every command, nobody is left, and what only takes its time goes on.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{Running, TestCommand, json, rank_of, reelscale, shards, signal};

const STALL: &str = "2";

struct Scratch {
    folder: tempfile::TempDir,
}

impl Scratch {
    /// With a job that goes on until it is told to stop.
    fn new() -> Scratch {
        let folder = tempfile::tempdir().unwrap();
        shards(&folder.path().join("data"), 1000, 20, 24);
        let glob = format!("{}/data/*.h5", folder.path().display());
        let job = format!(
            "[data]\ntrain = [{glob:?}]\n[model]\nshared = [{{ gating = true }}]\n\
             [pretrain]\nranks = 4096\n\
             epochs = 1000000\npatience = 0\nbatch = 64\n[run]\nthreads = 1\n\
             stall_seconds = {STALL}\n"
        );
        fs::write(folder.path().join("job.toml"), job).unwrap();
        Scratch { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn train(&self, name: &str) -> TestCommand {
        let command = reelscale("train").path(&self.path("job.toml")).arg("--output");
        command.path(&self.path(name)).within(90)
    }

    /// Waits until training is under way and neighbours have asked one another how they are.
    fn trains(&self, name: &str, run: &mut Running) {
        run.wait_for(&self.path(name).join("metrics.jsonl"), "\"step\":\"pretrain\"");
        sleep(Duration::from_secs(1));
    }

    /// The program in the place of which rank 1 runs under strace with these options.
    fn traced(&self, options: &str) -> Option<PathBuf> {
        if Command::new("strace").arg("-V").output().is_err() {
            println!("skipped: strace isn't there");
            return None;
        }
        let (program, path) = (env!("CARGO_BIN_EXE_reelscale"), self.path("traced"));
        let text = format!(
            "#!/bin/sh\nif [ \"$OMPI_COMM_WORLD_RANK\" = 1 ]; then\n    exec strace -qq -f -o {} \
             {options} {program} \"$@\"\nfi\nexec {program} \"$@\"\n",
            self.path("strace.txt").display()
        );
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Some(path)
    }
}

/// The processes of a command by rank, once all of them watch over each other.
fn watching(run: &Running, ranks: usize) -> Vec<u32> {
    loop {
        let processes = run.processes().into_iter().filter(|process| watches(*process));
        let mut found: Vec<(usize, u32)> =
            processes.filter_map(|process| Some((rank_of(process)?, process))).collect();
        found.sort_unstable();
        if found.len() == ranks {
            return found.into_iter().map(|(_, process)| process).collect();
        }
        assert!(run.started.elapsed() < Duration::from_secs(60), "the ranks start");
        sleep(Duration::from_millis(5));
    }
}

/// Whether a process has the thread that looks after others.
fn watches(process: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let name = |thread: &Path| fs::read_to_string(thread.join("comm")).unwrap_or_default();
    threads.into_iter().any(|thread| name(&thread.path()).trim() == "watch-looks")
}

/// How a command ended: its ranks are gone within the limit, its exit code is 8, and the one line
/// of the program is given back.
fn lost(mut run: Running, limit: u64) -> String {
    let (took, _) = run.ranks_gone(Duration::from_secs(limit));
    let output = run.finish();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(8), "{text}");
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("reelscale: ")).collect();
    assert_eq!(lines.len(), 1, "{text}");
    println!("{took:.1?}: {}", lines[0]);
    lines[0].to_string()
}

/// `rank 1 (host a, pid 12, ` of each rank.
fn names(processes: &[u32]) -> Vec<String> {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let name = |(rank, process)| format!("rank {rank} (host {}, pid {process}, ", host.trim());
    processes.iter().enumerate().map(name).collect()
}

/// Stops these ranks for ever and expects them, and nobody else, in the one line.
fn stopped(run: Running, processes: &[u32], chosen: &[usize]) -> String {
    chosen.iter().for_each(|rank| signal("STOP", processes[*rank]));
    let line = lost(run, 30);
    let named = line.split("; rank ").next().unwrap();
    for (rank, name) in names(processes).iter().enumerate() {
        assert_eq!(named.contains(name), chosen.contains(&rank), "{name}: {line}");
    }
    assert!(line.contains("no sign of life of rank ") && !line.contains("isn't known"), "{line}");
    line
}

/// Any set of ranks may be lost, ranks 0 and 1 together, too; the run's record says so.
#[test]
fn stopped_ranks_are_named_whichever_they_are() {
    if common::without_mpi() {
        return;
    }
    let scratch = Scratch::new();
    for (index, chosen) in [&[0, 1][..], &[0], &[1], &[3], &[0, 1, 2]].into_iter().enumerate() {
        let name = format!("run{index}");
        let mut run = scratch.train(&name).ranks(4).spawn();
        scratch.trains(&name, &mut run);
        let processes = watching(&run, 4);
        let line = stopped(run, &processes, chosen);
        assert!(line.contains("pretrain"), "{line}");
        let record = scratch.path(&name).join("run.json");
        assert_eq!(json(&record, "finished"), false);
        assert_eq!((json(&record, "exit"), json(&record, "rank")), (8.into(), chosen[0].into()));
        let error = json(&record, "error").as_str().unwrap().to_string();
        assert_eq!(format!("reelscale: {error}"), line);
    }
}

/// Where their launcher hangs as well, ranks that are stopped are killed by those that find them.
#[test]
fn nobody_is_left_where_the_launcher_hangs() {
    if common::without_mpi() {
        return;
    }
    let scratch = Scratch::new();
    let mut run = scratch.train("run").ranks(3).spawn();
    scratch.trains("run", &mut run);
    let processes = watching(&run, 3);
    signal("STOP", run.launcher());
    [0, 2].iter().for_each(|rank| signal("STOP", processes[*rank]));
    let started = Instant::now();
    while !run.processes().is_empty() {
        assert!(started.elapsed() < Duration::from_secs(40), "ranks are left");
        sleep(Duration::from_millis(20));
    }
    println!("gone after {:.1?}, without their launcher", started.elapsed());
    signal("KILL", run.launcher());
    run.finish();
    assert_eq!(json(&scratch.path("run/run.json"), "exit"), 8);
}

/// Every command is watched from its start.
#[test]
fn other_commands_are_watched_too() {
    if common::without_mpi() {
        return;
    }
    let scratch = Scratch::new();
    reelscale("synthesize --rows 40000 --classes 20 --features 24 --rows-per-shard 1000 --output")
        .path(&scratch.path("more"))
        .stdout();
    let short = ["pretrain.epochs=1", "experts.count=64", "experts.epochs=1", "rounds.count=1"];
    let train = scratch.train("short");
    short.iter().fold(train, |train, key| train.arg("--set").arg(*key)).stdout();
    let model = scratch.path("short/model");
    let lines: String = (0..400_000).map(|row| format!("{} 0:1 3:{}\n", row % 20, row)).collect();
    fs::write(scratch.path("rows.txt"), format!("400000 24 20\n{lines}")).unwrap();
    fs::copy(scratch.path("rows.txt"), scratch.path("again.txt")).unwrap();
    let all = format!("{}/*.h5", scratch.path("more").display());
    let evaluate = reelscale("evaluate --model").path(&model).arg("--data").arg(&all);
    let annotate = reelscale("annotate --model").path(&model).arg("--data").arg(&all);
    let annotate = annotate.arg("--output");
    let parts = annotate.clone().arg(format!("{}/", scratch.path("annotated").display()));
    let annotate = annotate.path(&scratch.path("annotated.csv"));
    let convert = reelscale("convert --from svmlight --output").path(&scratch.path("converted"));
    let convert = convert.path(&scratch.path("rows.txt")).path(&scratch.path("again.txt"));
    for (name, command) in
        [("evaluate", evaluate), ("annotate", annotate), ("annotate", parts), ("convert", convert)]
    {
        let run = command.arg("--stall-seconds").arg(STALL).ranks(2).within(90).spawn();
        let processes = watching(&run, 2);
        let line = stopped(run, &processes, &[1]);
        assert!(line.contains(&format!("pid {}, {name}", processes[1])), "{line}");
    }
}

/// A rank whose one thread never comes back from opening a file, while the others of it live.
#[test]
fn a_rank_that_hangs_is_named_with_its_file() {
    if common::without_mpi() {
        return;
    }
    let scratch = Scratch::new();
    let shard = scratch.path("data/a.h5");
    let options = format!("-P {} -e inject=openat:delay_enter=100s", shard.display());
    let Some(program) = scratch.traced(&options) else { return };
    let run = scratch.train("run").program(program).ranks(3).spawn();
    let processes = watching(&run, 3);
    let line = lost(run, 40);
    let name = &names(&processes)[1];
    let expected = format!("no progress of {name}train, opening {}) for ", shard.display());
    assert!(line.contains(&expected), "{expected}\n{line}");
}

/// Before ranks watch over each other, and where one hangs in MPI_Finalize after all have met, a
/// limit holds.
#[test]
fn the_start_and_the_end_are_not_waited_for_without_end() {
    if common::without_mpi() {
        return;
    }
    let scratch = Scratch::new();
    let late = "-P /proc/self/exe -e inject=openat:delay_enter=100s";
    // Only MPI shuts connections down, in the end; strace outlives the process for as long.
    let hangs = "-e inject=shutdown:delay_enter=15s";
    for (options, expected) in [
        (late, "the first gathering hasn't come back in 2 s: another rank was lost"),
        (hangs, "MPI_Finalize hasn't come back in 4 s: what this rank has written is complete"),
    ] {
        let Some(program) = scratch.traced(options) else { return };
        let command = reelscale("doctor --scratch").path(scratch.folder.path()).program(program);
        let command = command.env("REELSCALE_MPI_INIT_SECONDS", "2").ranks(2).within(60);
        let output = command.output();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(8), "{text}");
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

/// A disk that takes its time is told once, and loses nothing.
#[test]
fn a_slow_sync_is_told_and_not_ended() {
    if common::without_mpi() {
        return;
    }
    let scratch = Scratch::new();
    let options = "-e inject=fsync:delay_enter=7s:when=2";
    let Some(program) = scratch.traced(options) else { return };
    let command = reelscale("synthesize --rows 2000 --classes 20 --features 8 --rows-per-shard");
    let command = command.arg("1000").arg("--stall-seconds").arg(STALL).arg("--output");
    let output = command.path(&scratch.path("new")).program(program).ranks(2).within(60).output();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("takes its time")).collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert!(lines[0].starts_with("WARN  ") && lines[0].contains("rank 1 (host "), "{text}");
    assert!(lines[0].contains(", syncing ") && lines[0].contains("/new"), "{text}");
    println!("{}", lines[0]);
}

/// All ranks paused for longer than the limit, as a suspended job is, go on. Meanwhile strangers
/// connect who say nothing, something else, or very much.
#[test]
fn a_pause_of_all_ranks_and_strangers_change_nothing() {
    if common::without_mpi() {
        return;
    }
    let scratch = Scratch::new();
    let command = scratch.train("run").arg("--stop-exit-code");
    let mut run = command.env("REELSCALE_WATCH_PORTS", "29730-29769").ranks(3).spawn();
    scratch.trains("run", &mut run);
    let processes = watching(&run, 3);
    let over = AtomicBool::new(false);
    let (output, answers) = std::thread::scope(|scope| {
        let strangers = scope.spawn(|| stranger(29730..=29769, &over));
        processes.iter().for_each(|process| signal("STOP", *process));
        sleep(Duration::from_secs(5));
        processes.iter().for_each(|process| signal("CONT", *process));
        // Longer than it takes to find a rank that is lost.
        sleep(Duration::from_secs(5));
        signal("TERM", processes[1]);
        let output = run.finish();
        over.store(true, Relaxed);
        (output, strangers.join().unwrap())
    });
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(75), "{text}");
    assert!(!text.contains("no sign of life") && !text.contains("by TCP"), "{text}");
    println!("{} strangers were let in and sent away", answers.0);
    assert!(answers.0 > 20 && answers.1 == 0, "{answers:?}");
}

/// Connects to these ports until it is over; gives the number of connections and of bytes that
/// came back.
fn stranger(ports: std::ops::RangeInclusive<u16>, over: &AtomicBool) -> (usize, usize) {
    let (mut connections, mut came_back, mut silent) = (0, 0, Vec::new());
    while !over.load(Relaxed) {
        for (index, port) in ports.clone().enumerate() {
            let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { continue };
            connections += 1;
            match (connections + index) % 3 {
                0 => silent.push(stream),
                kind => {
                    let bytes = [b'x'; 100].repeat(if kind == 1 { 1 } else { 10_000 });
                    stream.set_nonblocking(true).unwrap();
                    let _ = stream.write(&bytes);
                    stream.set_nonblocking(false).unwrap();
                    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
                    came_back += stream.read(&mut [0; 100]).unwrap_or(0);
                }
            }
        }
        // A few at a time: handles of this process are limited, too.
        silent.truncate(100);
        sleep(Duration::from_millis(20));
    }
    (connections, came_back)
}

/// Ranks that can't reach each other by TCP say so in one line; in `train` they leave signs in the
/// run directory instead.
#[test]
fn without_tcp_signs_are_left_in_files() {
    if common::without_mpi() {
        return;
    }
    let scratch = Scratch::new();
    let command = scratch.train("run").env("REELSCALE_WATCH_INTERFACES", "none").ranks(3);
    let mut run = command.spawn();
    scratch.trains("run", &mut run);
    assert!(scratch.path("run/ranks/00001").exists());
    let chosen = run.processes().into_iter().find(|process| rank_of(*process) == Some(2));
    signal("STOP", chosen.expect("it runs"));
    run.ranks_gone(Duration::from_secs(30));
    let output = run.finish();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(8), "{text}");
    assert_eq!(text.lines().filter(|line| line.contains("by TCP")).count(), 1, "{text}");
    assert!(text.contains("no sign of life of rank 2 "), "{text}");
}
