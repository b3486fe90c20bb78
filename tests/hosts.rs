//! Runs on four hosts that talk over TCP alone (network namespaces, tests/hosts/hosts.sh), whose
//! links are slowed and cut. `make test-hosts`; as root only, and skipped elsewhere.

mod common;

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use common::{HOSTS, Running, TestCommand, json, reelscale};

/// Some ten seconds on four ranks of a core each.
const JOB: &str = "
[data]
train = [\"TRAIN\"]
validation_fraction = 0.2
[model]
shared = [{ dense = 64, activation = \"relu\" }, { gating = true }]
[pretrain]
ranks = 4096
epochs = 4
patience = 0
batch = 256
[experts]
count = 8
epochs = 12
batch = 64
window = 512
[shared]
iterations = 6
[rounds]
count = 2
[checkpoint]
minutes = 0.02
[run]
threads = 1
row_blocks = 40
";

/// One set of hosts at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Four hosts, and a folder for what runs on them. Removed when they are dropped.
struct Hosts {
    folder: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

fn script(arguments: &[&str]) {
    let status = Command::new(HOSTS).args(arguments).status().expect("bash");
    assert!(status.success(), "hosts.sh {arguments:?}");
}

impl Hosts {
    /// Nothing where they weren't asked for.
    fn up() -> Option<Hosts> {
        if std::env::var_os("REELSCALE_HOSTS").is_none() {
            println!("skipped: `make test-hosts` runs it, as root");
            return None;
        }
        let alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        script(&["down", "4"]);
        script(&["up", "4"]);
        let hosts = Hosts { folder: tempfile::tempdir().unwrap(), _alone: alone };
        let data = hosts.path("data");
        reelscale("synthesize --rows 6000 --classes 200 --features 64 --rows-per-shard 1000")
            .arg("--output")
            .path(&data)
            .stdout();
        let job = JOB.replace("TRAIN", data.join("*.h5").to_str().unwrap());
        std::fs::write(hosts.path("job.toml"), job).unwrap();
        Some(hosts)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn train(&self, run: &str) -> TestCommand {
        let command = reelscale("train").path(&self.path("job.toml")).arg("--output");
        command.path(&self.path(run)).within(400)
    }

    /// The result of a run that nobody disturbs, on this host alone.
    fn undisturbed(&self) -> String {
        self.train("undisturbed").stdout();
        self.result("undisturbed")
    }

    fn result(&self, run: &str) -> String {
        json(&self.path(run).join("run.json"), "result_hash").as_str().unwrap().to_string()
    }

    /// The longest that a rank has waited for others, in seconds.
    fn waited(&self, run: &str) -> f64 {
        let timers = json(&self.path(run).join("run.json"), "timers");
        let ranks = timers["communication wait"].as_array().unwrap();
        ranks.iter().map(|seconds| seconds.as_f64().unwrap()).fold(0.0, f64::max)
    }

    /// A run on four hosts that has begun its first round.
    fn under_way(&self, run: &str) -> Running {
        let mut running = self.train(run).hosts(4).spawn();
        running.wait_for(&self.path(run).join("metrics.jsonl"), "\"experts\"");
        running
    }

    /// Demands that a run ends well, with this result.
    fn ends_with(&self, running: Running, run: &str, result: &str) {
        let output = running.finish();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(self.result(run), result);
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        script(&["down", "4"]);
    }
}

#[test]
fn four_hosts_give_the_result_of_one_also_over_a_slow_link() {
    if common::without_mpi() {
        return;
    }
    let Some(hosts) = Hosts::up() else { return };
    let result = hosts.undisturbed();
    hosts.ends_with(hosts.train("four").hosts(4).spawn(), "four", &result);
    script(&["rate", "reel3", "20mbit"]);
    let started = Instant::now();
    // However soon ranks would be missed: a slow link is no stall.
    let slow = hosts.train("slow").arg("--set").arg("run.stall_seconds=2").hosts(4);
    hosts.ends_with(slow.spawn(), "slow", &result);
    let (slow, four) = (hosts.waited("slow"), hosts.waited("four"));
    println!("at 20 Mbit/s: {:.1?}, waited {slow:.1} s; else {four:.1} s", started.elapsed());
    assert!(slow > four + 2.0, "waiting for a slow link is in the report: {slow} s, else {four} s");
}

#[test]
fn a_link_that_comes_back_after_five_seconds_changes_nothing() {
    if common::without_mpi() {
        return;
    }
    let Some(hosts) = Hosts::up() else { return };
    let result = hosts.undisturbed();
    let running = hosts.under_way("cut");
    script(&["cut", "reel3"]);
    std::thread::sleep(Duration::from_secs(5));
    script(&["heal", "reel3"]);
    hosts.ends_with(running, "cut", &result);
}

/// At the default of run.stall_seconds.
#[test]
fn a_link_that_is_cut_for_good_ends_all_ranks_and_three_hosts_go_on() {
    if common::without_mpi() {
        return;
    }
    let Some(hosts) = Hosts::up() else { return };
    let result = hosts.undisturbed();
    let running = hosts.under_way("lost");
    script(&["cut", "reel4"]);
    let cut = Instant::now();
    while !running.processes().is_empty() {
        assert!(cut.elapsed() < Duration::from_secs(60), "ranks are left after a minute");
        std::thread::sleep(Duration::from_millis(50));
    }
    println!("ranks gone {:.1?} after the cut", cut.elapsed());
    // Open MPI's launcher waits for the daemon on the lost host for as long as TCP lets it.
    script(&["end", "4"]);
    let printed = String::from_utf8_lossy(&running.finish().stderr).into_owned();
    let lines = printed.lines().filter(|line| line.starts_with("reelscale: "));
    let lines: Vec<&str> = lines.collect();
    assert!(lines.iter().any(|line| line.contains("reel4")), "{printed}");
    let again = hosts.train("lost").hosts(3).spawn();
    hosts.ends_with(again, "lost", &result);
}
