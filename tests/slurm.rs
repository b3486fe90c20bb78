//! The scripts in slurm/ on a real Slurm of four nodes on this machine, which is started for it and
//! stopped again. Skipped, and said so, where Slurm isn't installed.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use common::{json, reelscale, shards};

/// Several seconds on one rank.
const JOB: &str = "
[data]
train = [\"TRAIN\"]
validation_fraction = 0.2
[model]
shared = [{ dense = 96, activation = \"relu\" }, { gating = true }]
[pretrain]
ranks = 4096
epochs = 2
batch = 256
[experts]
count = 8
epochs = EPOCHS
batch = 64
window = 512
[shared]
iterations = 4
[rounds]
count = 2
[checkpoint]
minutes = 0.02
[run]
threads = 1
row_blocks = 40
";

/// What a test waits for something of Slurm's at most.
const LIMIT: Duration = Duration::from_secs(150);

/// Clusters so far.
static CLUSTERS: AtomicU32 = AtomicU32::new(0);
/// Of a cluster.
const PORTS: u32 = 120;

/// A cluster and a folder for what runs on it. Stopped when it is dropped.
struct Cluster {
    folder: tempfile::TempDir,
    /// The first one of its ports.
    port: u32,
}

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

impl Cluster {
    /// Nothing where there is no Slurm.
    fn up() -> Option<Cluster> {
        let found = |name: &str| {
            ["/usr/sbin", "/usr/bin"].iter().any(|dir| Path::new(dir).join(name).exists())
        };
        if !found("slurmctld") || !found("munged") {
            println!("skipped: slurm-wlm and munge aren't installed");
            return None;
        }
        let port = 20_000 + std::process::id() % 20_000 + PORTS * CLUSTERS.fetch_add(1, Relaxed);
        let cluster = Cluster { folder: tempfile::tempdir().unwrap(), port };
        let output = cluster.script("up");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(cluster)
    }

    fn script(&self, what: &str) -> Output {
        let mut command = Command::new(project("tests/slurm/cluster.sh"));
        command.arg(what).arg(self.path("cluster")).args(["4", &self.port.to_string()]);
        command.output().unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// One of Slurm's commands, as on a login node.
    fn slurm(&self, name: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(name);
        command.args(arguments).current_dir(self.folder.path());
        command.env("SLURM_CONF", self.path("cluster/slurm.conf"));
        command.env("REELSCALE", env!("CARGO_BIN_EXE_reelscale"));
        command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
        command.env("OMPI_MCA_mpi_yield_when_idle", "1");
        // All nodes have one host name here, which mixes up what Open MPI shares within a node.
        command.env("OMPI_MCA_btl", "self,tcp");
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SLURM_")) {
            if name != "SLURM_CONF" {
                command.env_remove(name);
            }
        }
        // A rank gets a message while it is still in the first fence of MPI_Init (slurm/README.md).
        command.env("SLURM_PMIX_FENCE", "tree");
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).trim().to_string();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name} {arguments:?}: {text} {errors}");
        text
    }

    /// Submits one of the scripts in slurm/; returns the job's number.
    fn submit(&self, options: &[&str], script: &str, arguments: &[&Path]) -> String {
        let script = project(&format!("slurm/{script}"));
        let mut all = vec!["--parsable", "--cpus-per-task=1"];
        all.extend(options);
        all.push(script.to_str().unwrap());
        all.extend(arguments.iter().map(|path| path.to_str().unwrap()));
        self.slurm("sbatch", &all)
    }

    /// What Slurm says of a job: its state, how often it was started again, its nodes.
    fn show(&self, job: &str, field: &str) -> String {
        let text = self.slurm("scontrol", &["show", "job", job]);
        let words =
            text.split_whitespace().find_map(|word| word.strip_prefix(&format!("{field}=")));
        words.unwrap_or_default().to_string()
    }

    fn wait_until(&self, what: &str, done: impl Fn() -> bool) {
        let started = Instant::now();
        while !done() {
            if started.elapsed() > LIMIT {
                let queue = self.slurm("squeue", &[]);
                panic!("{what}: not after {LIMIT:?}\n{queue}\n{}", self.logs());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until no job is left in the queue.
    fn wait_for_all(&self) {
        self.wait_until("jobs", || {
            self.slurm("squeue", &["-h", "-t", "all", "-o", "%T"]).lines().all(|state| {
                ["COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL"].contains(&state)
            })
        });
    }

    /// What jobs have written.
    fn logs(&self) -> String {
        let mut text = String::new();
        for entry in fs::read_dir(self.folder.path()).unwrap().flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "log") {
                text += &format!(
                    "{}:\n{}",
                    entry.path().display(),
                    fs::read_to_string(entry.path()).unwrap()
                );
            }
        }
        text
    }

    fn job(&self, epochs: usize) -> PathBuf {
        if !self.path("data").exists() {
            shards(&self.path("data"), 6000, 300, 48);
        }
        let path = self.path(&format!("job{epochs}.toml"));
        let glob = format!("{}/*.h5", self.path("data").display());
        let text = JOB.replace("TRAIN", &glob).replace("EPOCHS", &epochs.to_string());
        fs::write(&path, text).unwrap();
        path
    }

    fn result(&self, run: &Path) -> String {
        let record = run.join("run.json");
        assert_eq!(json(&record, "finished"), true, "{}", self.logs());
        json(&record, "result_hash").as_str().unwrap().to_string()
    }

    /// Ranks of each start of a run.
    fn ranks(&self, run: &Path) -> Vec<u64> {
        let sessions = json(&run.join("run.json"), "sessions");
        sessions.as_array().unwrap().iter().map(|one| one["ranks"].as_u64().unwrap()).collect()
    }

    fn told_in(&self, run: &Path, text: &str) -> bool {
        fs::read_to_string(run.join("metrics.jsonl")).is_ok_and(|events| events.contains(text))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.script("down");
        assert!(!self.path("cluster").exists() || std::thread::panicking(), "daemons are left");
    }
}

const EXPERTS: &str = "\"step\":\"experts\",\"round\":1,\"epoch\":2";

/// Submitted, cancelled, submitted again; a node taken down under it; told to stop before its time
/// is over: each ends as an undisturbed run of one rank on this machine.
#[test]
fn runs_survive_what_slurm_does_to_them() {
    if common::without_mpi() {
        return;
    }
    let Some(cluster) = Cluster::up() else { return };
    let job = cluster.job(12);
    let whole = cluster.path("whole");
    reelscale("train").path(&job).arg("--output").path(&whole).stdout();
    let expected = cluster.result(&whole);
    println!("whole run: {:.1} s", json(&whole.join("run.json"), "seconds").as_f64().unwrap());
    let run = |name: &str| cluster.path(name);

    // Cancelled, then submitted again on another number of nodes.
    let first = cluster.submit(&["--nodes=2"], "train.sbatch", &[&job, &run("cancel")]);
    cluster.wait_until("experts", || cluster.told_in(&run("cancel"), EXPERTS));
    let cancelled = Instant::now();
    cluster.slurm("scancel", &[&first]);
    cluster.wait_until("cancelled", || cluster.show(&first, "JobState") == "CANCELLED");
    cluster.wait_until("a record", || run("cancel").join("run.json").exists());
    println!("scancel: stopped after {:.1} s", cancelled.elapsed().as_secs_f64());
    assert_eq!(json(&run("cancel").join("run.json"), "finished"), false);
    cluster.wait_for_all();
    let again = cluster.submit(&["--nodes=3"], "train.sbatch", &[&job, &run("cancel")]);
    cluster.wait_for_all();
    assert_eq!(cluster.show(&again, "JobState"), "COMPLETED", "{}", cluster.logs());
    assert_eq!(cluster.result(&run("cancel")), expected);
    assert_eq!(cluster.ranks(&run("cancel")), [2, 3]);

    // A node goes down in the middle: Slurm starts the job again on others.
    let down = |node: &str| {
        let name = format!("nodename={node}");
        cluster.slurm("scontrol", &["update", &name, "state=down", "reason=test"]);
    };
    let lost = cluster.submit(&["--nodes=2"], "train.sbatch", &[&job, &run("lost")]);
    cluster.wait_until("experts", || cluster.told_in(&run("lost"), EXPERTS));
    down("n2");
    cluster.wait_until("requeued", || cluster.show(&lost, "Restarts") == "1");
    cluster.wait_for_all();
    assert_eq!(cluster.show(&lost, "JobState"), "COMPLETED", "{}", cluster.logs());
    assert_eq!(cluster.result(&run("lost")), expected);
    println!("node lost: gone on with on {}", cluster.show(&lost, "NodeList"));

    // Another one does, under a job that isn't started again: gone on with on the two nodes left.
    let options = ["--nodes=3", "--no-requeue"];
    let failed = cluster.submit(&options, "train.sbatch", &[&job, &run("fewer")]);
    cluster.wait_until("experts", || cluster.told_in(&run("fewer"), EXPERTS));
    down("n3");
    cluster.wait_until("failed", || cluster.show(&failed, "JobState") == "NODE_FAIL");
    let fewer = cluster.submit(&["--nodes=2"], "train.sbatch", &[&job, &run("fewer")]);
    cluster.wait_for_all();
    assert_eq!(cluster.show(&fewer, "JobState"), "COMPLETED", "{}", cluster.logs());
    assert_eq!(cluster.result(&run("fewer")), expected);
    assert_eq!(cluster.ranks(&run("fewer")), [3, 2]);
    for node in ["nodename=n2", "nodename=n3"] {
        cluster.slurm("scontrol", &["update", node, "state=resume"]);
    }

    // Told to stop before its limit of a minute, it puts itself back into the queue. (Slurm looks
    // at limits twice a minute, so it must work for longer than 40 seconds.) Meanwhile the same
    // runs undisturbed.
    let long = cluster.job(100);
    let whole = cluster.path("whole-long");
    let threads = ["--set", "run.threads=2"];
    let options = ["--nodes=1", "--time=1", "--signal=USR1@50"];
    std::thread::scope(|scope| {
        let command = reelscale("train").path(&long).arg("--output").path(&whole);
        let command = threads.iter().fold(command, |command, word| command.arg(*word));
        scope.spawn(move || command.stdout());
        let limited = cluster.submit(&options, "train.sbatch", &[&long, &run("limited")]);
        cluster.wait_for_all();
        assert_eq!(cluster.show(&limited, "JobState"), "COMPLETED", "{}", cluster.logs());
        let restarts = cluster.show(&limited, "Restarts");
        println!("time limit: {restarts} restarts");
        assert_ne!(restarts, "0", "{}", cluster.logs());
    });
    assert_eq!(cluster.result(&run("limited")), cluster.result(&whole));
}

/// Arrays, chains and the scaling scripts.
#[test]
fn every_script_does_what_it_says() {
    let Some(cluster) = Cluster::up() else { return };
    let job = cluster.job(2);
    let run = cluster.path("run");

    // Ranks of a node find each other and share its cores, which srun doesn't bind here.
    // They know how long they may run, which this Slurm doesn't export.
    let program = env!("CARGO_BIN_EXE_reelscale");
    let doctor = ["-N1", "-n2", "--time=5", "--mpi=pmix", program, "doctor"];
    let text = cluster.slurm("srun", &doctor);
    assert!(text.contains("launcher   srun") && text.contains("healthy"), "{text}");
    assert!(text.contains("time left 0:04:") || text.contains("time left 0:05:"), "{text}");

    // A chain: the first job is stopped before it is done, the next ones go on.
    let chain = project("slurm/chain.sh");
    let options = ["--cpus-per-task=1", "--nodes=1"];
    let mut arguments = vec!["3", job.to_str().unwrap(), run.to_str().unwrap()];
    arguments.extend(options);
    let jobs = cluster.slurm(chain.to_str().unwrap(), &arguments);
    let jobs: Vec<&str> = jobs.lines().collect();
    assert_eq!(jobs.len(), 3);
    cluster.wait_until("pretrain", || cluster.told_in(&run, "pretrain"));
    cluster.slurm("scancel", &["--signal=USR1", jobs[0]]);
    cluster.wait_for_all();
    assert_eq!(cluster.show(jobs[1], "JobState"), "COMPLETED", "{}", cluster.logs());
    assert_eq!(cluster.show(jobs[2], "JobState"), "COMPLETED");
    cluster.result(&run);
    assert!(cluster.logs().contains("this run is finished"), "the last job has nothing to do");

    // A rank a GPU. There are none: the job says so, and ends; on processors it has the same bits.
    let gpus = "train-gpu.sbatch";
    let refused = cluster.submit(&["--output=refused.log"], gpus, &[&job, &cluster.path("gpus")]);
    let host = ["--export=ALL,REELSCALE_DEVICE=host"];
    let on_host = cluster.submit(&host, gpus, &[&job, &cluster.path("on-host")]);
    cluster.wait_for_all();
    let of_a_task = cluster.show(&refused, "TresPerTask");
    assert!(of_a_task.ends_with("gpu:1"), "a GPU for each rank: {of_a_task}");
    assert_eq!(cluster.show(&refused, "ExitCode"), "3:0", "{}", cluster.logs());
    let text = fs::read_to_string(cluster.path("refused.log")).unwrap();
    assert!(text.contains("run.device = \"cuda\": CUDA: no GPU found"), "{text}");
    assert_eq!(cluster.show(&on_host, "ExitCode"), "0:0", "{}", cluster.logs());
    assert_eq!(cluster.result(&cluster.path("on-host")), cluster.result(&run));
    assert_eq!(cluster.ranks(&cluster.path("on-host")), [4]);

    // Shards annotated by the ranks of one job.
    fs::copy(cluster.path("data/a.h5"), cluster.path("data/b.h5")).unwrap();
    fs::copy(cluster.path("data/a.h5"), cluster.path("data/c.h5")).unwrap();
    let (model, output) = (run.join("model"), cluster.path("annotations"));
    let shards = ["a", "b", "c"].map(|name| cluster.path(&format!("data/{name}.h5")));
    let arguments = [&*model, &*output, &*shards[0], &*shards[1], &*shards[2]];
    cluster.submit(&[], "annotate.sbatch", &arguments);

    // Settings swept by another.
    let settings = cluster.path("settings");
    fs::write(&settings, "experts.count=1 rounds.count=1\nexperts.count=2\nrun.seed=7\n").unwrap();
    let sweep = cluster.path("sweep");
    cluster.submit(&["--array=0-1"], "sweep.sbatch", &[&job, &sweep, &settings]);
    cluster.wait_for_all();
    let part = |shard: usize| {
        let name = format!("{shard:06}-0000000000.csv");
        fs::read(output.join(name)).unwrap_or_else(|_| panic!("{}", cluster.logs()))
    };
    assert!(part(0).len() > 1000 && part(0) == part(1) && part(1) == part(2));
    assert!(output.join("manifest.json").is_file(), "{}", cluster.logs());
    let results: Vec<String> =
        (0..3).map(|line| cluster.result(&sweep.join(line.to_string()))).collect();
    assert!(results[0] != results[1] && results[1] != results[2]);
    let text = fs::read_to_string(sweep.join("0/job.toml")).unwrap();
    assert!(text.contains("count = 1"), "{text}");

    // Scaling, on a job that shows only that it works, and one with a typo, which fails.
    let [strong, weak] = ["strong", "weak"].map(|name| cluster.path(name));
    let words = ["--repeat", "1", "300", "--set", "rounds.count=1"].map(Path::new);
    let [repeat, one, per_rank, set, round] = words;
    let arguments = [&*job, &*strong, repeat, one, set, round];
    let options = ["--nodes=2", "--output=strong.log"];
    let measured = cluster.submit(&options, "strong_scaling.sbatch", &arguments);
    let arguments = [&*job, &*weak, per_rank, repeat, one, set, round];
    cluster.submit(&["--nodes=4", "--output=weak.log"], "weak_scaling.sbatch", &arguments);
    let folder = cluster.path("typo");
    let arguments = [&*job, &*folder, set, Path::new("experts.cuont=1")];
    let refused = cluster.submit(&["--nodes=2"], "strong_scaling.sbatch", &arguments);
    cluster.wait_for_all();
    assert_eq!(cluster.show(&measured, "JobState"), "COMPLETED", "{}", cluster.logs());
    assert_eq!(cluster.show(&refused, "ExitCode"), "2:0", "{}", cluster.logs());
    for (study, ranks) in [(strong, &[1, 2][..]), (weak, &[1, 2, 4])] {
        let sizes = json(&study.join("result.json"), "sizes");
        let sizes = sizes.as_array().unwrap().iter();
        let found: Vec<u64> = sizes.map(|size| size["ranks"].as_u64().unwrap()).collect();
        assert_eq!(found, ranks, "{}", cluster.logs());
        for ranks in ranks {
            let record = study.join(format!("runs/{ranks}-ranks-1.json"));
            assert_eq!(json(&record, "ranks"), *ranks, "{}", cluster.logs());
        }
    }
}
