//! Runs that are stopped, on real ranks, by signals and deadlines: they go on on other ranks to the
//! same result. And who may go on where.

mod common;
#[path = "stops/losses.rs"]
mod losses;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use common::{TestCommand, json, reelscale, shards, signal};
use reelscale::internals::rng::{Purpose, Stream};

/// A few seconds of every phase.
const JOB: &str = "
[data]
train = [\"TRAIN\"]
validation_fraction = 0.2
[model]
shared = [{ dense = 64, activation = \"relu\" }, { gating = true }]
[pretrain]
ranks = 4096
epochs = 3
batch = 256
dropout = 0.3
patience = 0
[experts]
count = 4
epochs = 4
solver = \"adam\"
averaging = 0.9
batch = 64
window = 512
[shared]
iterations = 6
[checkpoint]
minutes = 0.01
[run]
threads = 1
row_blocks = 40
";

struct Scratch {
    folder: tempfile::TempDir,
    job: PathBuf,
}

impl Scratch {
    fn new(rows: usize, classes: usize) -> Scratch {
        let folder = tempfile::tempdir().unwrap();
        shards(&folder.path().join("data"), rows, classes, 48);
        let job = folder.path().join("job.toml");
        let glob = format!("{}/data/*.h5", folder.path().display());
        fs::write(&job, JOB.replace("TRAIN", &glob)).unwrap();
        Scratch { folder, job }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn train(&self, name: &str) -> TestCommand {
        reelscale("train").path(&self.job).arg("--output").path(&self.path(name))
    }

    fn result(&self, name: &str) -> String {
        let record = self.path(name).join("run.json");
        assert_eq!(json(&record, "finished"), true);
        json(&record, "result_hash").as_str().expect("a hash").to_string()
    }
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A signal to one rank, whichever, in every phase: all stop within 5 seconds, and the run ends as
/// an undisturbed one on another number of ranks.
#[test]
fn a_signal_to_one_rank_stops_all_and_the_run_goes_on() {
    common::needs_mpi!();
    let scratch = Scratch::new(6000, 300);
    scratch.train("whole").ranks(2).stdout();
    let expected = scratch.result("whole");
    let phases = [
        ("load", "nothing", "TERM"),
        ("pretrain", "\"step\":\"pretrain\"", "USR1"),
        ("experts", "\"step\":\"experts\",\"round\":1,\"epoch\":2", "TERM"),
        ("validation", "\"step\":\"experts\",\"round\":1,\"epoch\":4", "USR2"),
        ("shared", "\"iteration\":2", "TERM"),
        ("second-round", "\"step\":\"experts\",\"round\":2,\"epoch\":1", "INT"),
    ];
    for (number, (phase, event, name)) in phases.into_iter().enumerate() {
        let ranks = 1 + number % 3;
        let mut run = scratch.train(phase).ranks(ranks).within(60).spawn();
        let events = scratch.path(phase).join("metrics.jsonl");
        match event {
            "nothing" => {
                let job = scratch.path(phase).join("job.toml");
                run.wait_for(&job, "[run]");
            }
            event => run.wait_for(&events, event),
        }
        let processes = run.processes();
        assert_eq!(processes.len(), ranks, "{phase}");
        let sent = Instant::now();
        signal(name, processes[(number * 7 + 1) % ranks]);
        let output = run.finish();
        let took = sent.elapsed();
        assert!(output.status.success(), "{phase}: {}\n{}", output.status, printed(&output));
        assert!(took < Duration::from_secs(5), "{phase}: {took:?}");
        let record = scratch.path(phase).join("run.json");
        assert_eq!(json(&record, "finished"), false, "{phase}\n{}", printed(&output));
        println!("{phase}: {ranks} ranks stopped in {:.2} s", took.as_secs_f64());
        scratch.train(phase).ranks(3 - number % 3).stdout();
        assert_eq!(scratch.result(phase), expected, "{phase}");
        let whole = scratch.path("whole").join("run.json");
        assert_eq!(json(&record, "kept"), json(&whole, "kept"), "{phase}");
        assert_eq!(json(&record, "sessions").as_array().unwrap().len(), 2, "{phase}");
        let lines = |name: &str| -> Vec<serde_json::Value> {
            let text = fs::read_to_string(scratch.path(name).join("metrics.jsonl")).unwrap();
            let event = |line: &str| {
                let mut event: serde_json::Value = serde_json::from_str(line).unwrap();
                let fields = event.as_object_mut().unwrap();
                for time in ["timing", "seconds", "unix_seconds"] {
                    fields.remove(time);
                }
                event
            };
            text.lines().map(event).collect()
        };
        assert_eq!(lines(phase), lines("whole"), "{phase}: every event once");
    }
}

/// What mpirun passes on: SIGUSR1, and SIGTERM, after which it waits for a second.
#[test]
fn a_signal_to_the_launcher_stops_all_ranks() {
    common::needs_mpi!();
    let scratch = Scratch::new(6000, 300);
    for name in ["USR1", "TERM"] {
        let mut run = scratch.train(name).ranks(3).within(60).spawn();
        run.wait_for(&scratch.path(name).join("metrics.jsonl"), "\"step\":\"pretrain\"");
        signal(name, run.launcher());
        let output = run.finish();
        let record = scratch.path(name).join("run.json");
        assert!(record.exists(), "{name}: {}", printed(&output));
        assert_eq!(json(&record, "finished"), false, "{name}");
    }
}

/// The end of its time stops a run; the exit code tells where that is wanted; again and again until
/// it is done, each time on other ranks and threads.
#[test]
fn a_deadline_stops_a_run_with_its_own_code() {
    common::needs_mpi!();
    let scratch = Scratch::new(6000, 300);
    scratch.train("whole").stdout();
    let limited = |time: &str| scratch.train("run").arg("--max-time").arg(time);
    let text = limited("1").arg("--stop-exit-code").ranks(2).fails_with(75);
    assert!(text.contains("told to stop"), "{text}");
    let output = limited("1").output();
    assert!(output.status.success(), "{}", printed(&output));
    assert_eq!(json(&scratch.path("run/run.json"), "finished"), false);
    limited("1h").arg("--set").arg("run.threads=2").stdout();
    assert_eq!(scratch.result("run"), scratch.result("whole"));
    let sessions = json(&scratch.path("run/run.json"), "sessions");
    assert_eq!(sessions.as_array().unwrap().len(), 3);
    assert!(sessions[2]["changes"].to_string().contains("run.threads: 1 -> 2"), "{sessions}");
}

/// A finished run says so; another job, a foreign directory and a second process are refused.
#[test]
fn a_run_directory_belongs_to_one_run_at_a_time() {
    common::needs_mpi!();
    let scratch = Scratch::new(3000, 100);
    let mut run = scratch.train("run").ranks(2).spawn();
    run.wait_for(&scratch.path("run/metrics.jsonl"), "pretrain");
    let text = scratch.train("run").fails_with(6);
    let root = run.processes();
    assert!(root.iter().any(|id| text.contains(&format!("\"pid\":{id}"))), "{text} {root:?}");
    // The lock doesn't stay when its owner is killed.
    root.iter().for_each(|process| signal("KILL", *process));
    assert!(!run.finish().status.success());
    let changed = scratch.train("run").arg("--set").arg("experts.count=5");
    let text = changed.arg("--set").arg("run.seed=9").fails_with(6);
    assert!(text.contains("experts.count: found 5, the run has 4"), "{text}");
    assert!(text.contains("run.seed: found 9, the run has 1"), "{text}");
    scratch.train("run").ranks(3).stdout();
    let expected = scratch.result("run");
    let output = scratch.train("run").ranks(2).output();
    assert!(
        output.status.success() && printed(&output).contains(&expected),
        "{}",
        printed(&output)
    );
    assert!(printed(&output).contains("this run is finished"), "{}", printed(&output));
    // A damaged record of the job is one line.
    let begun = scratch.train("torn").arg("--max-time").arg("0").output();
    assert!(begun.status.success(), "{}", printed(&begun));
    fs::write(scratch.path("torn/job.toml"), "[[[").unwrap();
    assert_eq!(scratch.train("torn").fails_with(6).lines().count(), 1);
    // Shards that have changed since.
    let begun = scratch.train("other").arg("--max-time").arg("0").output();
    assert!(begun.status.success(), "{}", printed(&begun));
    fs::remove_dir_all(scratch.path("data")).unwrap();
    shards(&scratch.path("data"), 2999, 100, 48);
    let text = scratch.train("other").fails_with(6);
    assert!(
        text.contains("data.train: a.h5: found other rows than the checkpoint was made of"),
        "{text}"
    );
}

/// A second signal doesn't wait for anybody: here for a rank that hangs.
#[test]
fn a_second_signal_stops_at_once() {
    common::needs_mpi!();
    let scratch = Scratch::new(6000, 300);
    let mut run = scratch.train("run").ranks(2).within(60).spawn();
    run.wait_for(&scratch.path("run/metrics.jsonl"), "\"step\":\"pretrain\"");
    let processes = run.processes();
    signal("STOP", processes[1]);
    signal("TERM", processes[0]);
    // The same request twice, as Slurm makes it, is one.
    signal("TERM", processes[0]);
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(run.processes().len(), 2, "the first one waits for a checkpoint");
    let second = Instant::now();
    signal("TERM", processes[0]);
    let output = run.finish();
    assert_eq!(output.status.code(), Some(143), "{}", printed(&output));
    assert!(second.elapsed() < Duration::from_secs(5));
    scratch.train("run").stdout();
}

/// Slurm's time limit, where this Slurm exports it.
#[test]
fn the_end_of_the_allocation_is_known() {
    let scratch = Scratch::new(6000, 300);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let end = (now.as_secs() + 17).to_string();
    let started = Instant::now();
    let output = scratch.train("run").env("SLURM_JOB_END_TIME", &end).output();
    assert!(printed(&output).contains("s of time left: stopping"), "{}", printed(&output));
    assert!(output.status.success() && started.elapsed() < Duration::from_secs(6));
    assert_eq!(json(&scratch.path("run/run.json"), "finished"), false);
}

/// Memory that the system refuses: exit 9, with the rank, the bytes and what it was at.
#[test]
fn memory_that_is_refused_is_told() {
    let scratch = Scratch::new(600, 300);
    let limited = "ulimit -v 600000; exec \"$0\" \"$@\"";
    let mut command = std::process::Command::new("bash");
    command.args(["-c", limited, env!("CARGO_BIN_EXE_reelscale"), "train"]);
    command.arg(&scratch.job).arg("--output").arg(scratch.path("run"));
    let output = command.args(["--set", "experts.count=1024"]).output().unwrap();
    let text = printed(&output);
    assert_eq!(output.status.code(), Some(9), "{text}");
    assert!(text.contains("reelscale: rank 0: out of memory: "), "{text}");
    assert!(text.contains("bytes wanted in "), "{text}");
}

/// What a run would find, on several ranks, and what is wrong: a scratch folder that isn't there.
#[test]
fn the_doctor_finds_what_is_wrong() {
    common::needs_mpi!();
    let healthy = reelscale("doctor").ranks(1).stdout();
    for word in ["Open MPI", "hdf5", "kernels", "healthy", "threads"] {
        assert!(healthy.contains(word), "{word}: {healthy}");
    }
    let output = reelscale("doctor --scratch /nowhere").ranks(2).output();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("problem    rank 1: /nowhere"), "{text}");
    let found = reelscale("doctor --format json --scratch /nowhere").ranks(2).output();
    let found: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(found["ranks"].as_array().unwrap().len(), 2, "{found}");
    assert!(found["mpi"].as_str().unwrap().contains("Open MPI"), "{found}");
    let problems: Vec<String> = serde_json::from_value(found["problems"].clone()).unwrap();
    assert!(problems.iter().any(|text| text.starts_with("rank 1: /nowhere")), "{problems:?}");
    let alone = reelscale("doctor").env("SLURM_NTASKS", "4").output();
    let text = String::from_utf8_lossy(&alone.stdout).into_owned();
    assert!(text.contains("srun --mpi=pmix") && alone.status.code() == Some(3), "{text}");
}

/// Fifty stops at random moments, each start on another number of ranks: the same final model.
#[test]
fn fifty_requeues_change_nothing() {
    common::needs_mpi!();
    let scratch = Scratch::new(6000, 300);
    scratch.train("whole").ranks(2).stdout();
    let mut draw = Stream::new(50, Purpose::PlantedRows, 1 << 42);
    let (mut stops, mut before) = (0, 0);
    let left = |name: &str| fs::read_to_string(scratch.path(name).join("run.json")).is_ok();
    // Short stretches first, so that fifty of them fit into the run; what is left goes to its end.
    while stops < 50 {
        before = 1 + (before + draw.below(3) as usize) % 4;
        let run = scratch.train("run").ranks(before).spawn();
        let owned = |run: &common::Running| {
            let lock = fs::read_to_string(scratch.path("run/lock")).unwrap_or_default();
            run.processes().iter().any(|id| lock.contains(&format!("\"pid\":{id},")))
        };
        while !owned(&run) {
            assert!(run.started.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(draw.below(120)));
        let processes = run.processes();
        if let Some(process) = processes.get(draw.below(processes.len().max(1) as u64) as usize) {
            signal("USR1", *process);
        }
        let output = run.finish();
        assert!(output.status.success(), "{}", printed(&output));
        assert!(left("run"), "{}", printed(&output));
        if json(&scratch.path("run/run.json"), "finished") == true {
            break;
        }
        stops += 1;
    }
    scratch.train("run").ranks(3).stdout();
    println!("{stops} stops");
    assert_eq!(scratch.result("run"), scratch.result("whole"));
    let sessions = json(&scratch.path("run/run.json"), "sessions");
    println!("{} sessions", sessions.as_array().unwrap().len());
    assert!(stops >= 50, "the run was over after {stops} stops");
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// After a finished run nothing is left that only served to go on.
#[test]
fn a_finished_run_leaves_its_model_and_no_checkpoints() {
    common::needs_mpi!();
    let scratch = Scratch::new(500, 40);
    scratch.train("run").ranks(2).stdout();
    assert!(exists(&scratch.path("run/model/manifest.json")));
    assert!(!exists(&scratch.path("run/checkpoints")));
    reelscale("inspect").path(&scratch.path("run/model")).arg("--hash").stdout();
}
