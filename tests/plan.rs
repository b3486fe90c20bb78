//! `reelscale plan`: what it says of memory and bytes is what runs plan and ranks get; it asks for
//! no data, and not for long. And `reelscale scaling`, which measures what a plan foretells.

mod common;
#[path = "plan/devices.rs"]
mod devices;
#[path = "plan/scaling.rs"]
mod scaling;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use common::{needs_mpi, reelscale, shards};
use serde_json::Value;

/// A job with a plan for `rows` rows, and further lines.
fn job(folder: &Path, rows: usize, more: &str) -> PathBuf {
    let text = format!(
        "[data]\ntrain = [\"nowhere/*.h5\"]\n[model]\nshared = [{{ dense = 24 }}]\n[experts]\n\
         count = 2\nbatch = 64\nwindow = 256\nepochs = 2\n{more}\n[plan]\nrows = {rows}\n\
         features = 40\nclasses = 200\nlabels_per_row = 2\n"
    );
    let path = folder.join("job.toml");
    std::fs::write(&path, text).unwrap();
    path
}

fn plan(job: &Path, arguments: &str) -> Value {
    let line = format!("plan {} --format json {arguments}", job.display());
    serde_json::from_str(&reelscale(&line).stdout()).expect("an object")
}

fn step<'a>(found: &'a Value, name: &str) -> &'a Value {
    let steps = found["steps"].as_array().unwrap();
    steps.iter().find(|step| step["step"] == name).unwrap_or_else(|| panic!("{name}: {found}"))
}

#[test]
fn a_thousand_ranks_are_planned_without_data_and_at_once() {
    let began = Instant::now();
    let found = plan(Path::new("jobs/youtube8m-x100.toml"), "--ranks 1024 --threads 16");
    let seconds = began.elapsed().as_secs_f64();
    assert!(seconds < 60.0, "{seconds} s, not optimised");
    // 16,384 classes of 64 experts and a dummy on 1,025 numbers each, in panels of sixteen.
    let model = found["model_bytes"].as_u64().unwrap();
    assert!((8.6e9..9.2e9).contains(&(model as f64)), "{model}");
    let all: u64 = found["memory"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["bytes"].as_u64().unwrap())
        .max()
        .unwrap();
    assert_eq!(found["memory_bytes"].as_u64(), Some(all));
    for phase in found["memory"].as_array().unwrap() {
        let parts = phase["parts"].as_array().unwrap().iter();
        let sum: u64 = parts.map(|part| part["bytes"].as_u64().unwrap()).sum();
        assert_eq!(Some(sum), phase["bytes"].as_u64(), "{phase}");
    }
    for name in ["pretrain", "activations", "experts", "shared"] {
        let step = step(&found, name);
        let efficiency = step["efficiency"].as_f64().unwrap();
        assert!(efficiency > 0.0 && efficiency <= 1.0, "{step}");
        let parts = ["arithmetic_seconds", "host_seconds", "waiting_seconds"];
        let sum: f64 = parts.iter().map(|key| step[key].as_f64().unwrap()).sum();
        let seconds = step["seconds"].as_f64().unwrap();
        assert!((sum / seconds - 1.0).abs() < 1e-6, "{step}");
    }
    // `bench rank` finds 59 and 66 % (BENCHMARKS.md, "More ranks than are here").
    let efficiency = step(&found, "experts")["efficiency"].as_f64().unwrap();
    assert!((0.55..0.75).contains(&efficiency), "{efficiency}");
    // Most of 1,024 ranks wait while others pretrain.
    assert_eq!(step(&found, "pretrain")["limited_by"], "too few blocks");
    let curve = found["curve"].as_array().unwrap();
    let seconds: Vec<f64> = curve.iter().map(|point| point["seconds"].as_f64().unwrap()).collect();
    assert!(seconds[0] > 100.0 * seconds[10], "{seconds:?}");
}

#[test]
fn bytes_are_those_that_a_rank_gets() {
    let folder = tempfile::tempdir().unwrap();
    let slices = "row_slices = 4\n[run]\ngrid = \"2x1\"";
    for (more, ranks) in [("", 2), ("", 3), (slices, 2)] {
        let job = job(folder.path(), 3000, more);
        let planned = plan(&job, &format!("--ranks {ranks} --threads 1"));
        let line =
            format!("bench rank {} --ranks {ranks} --windows 6 --format json", job.display());
        let measured: Value = serde_json::from_str(&reelscale(&line).stdout()).unwrap();
        let of = |step: &Value| step["bytes_received"].as_f64().unwrap();
        let (planned, measured) = (of(step(&planned, "experts")), of(&measured["steps"][0]));
        let ratio = planned / measured;
        assert!((0.95..1.05).contains(&ratio), "{more} {ranks}: {planned} {measured}");
    }
}

/// What Slurm says of an allocation concerns the ranks that are meant, not the plan.
#[test]
fn a_plan_is_made_alone_within_an_allocation() {
    let folder = tempfile::tempdir().unwrap();
    let job = job(folder.path(), 3000, "");
    let line = format!("plan {} --ranks 4", job.display());
    let outside = reelscale(&line).stdout();
    let within = reelscale(&line).env("SLURM_JOB_ID", "5").env("SLURM_NTASKS", "4");
    assert_eq!(within.stdout(), outside);
    // Steps of Slurm start processes, also without a PMI by which they would find one another.
    let step = |tasks: &str| reelscale(&line).env("SLURM_STEP_NUM_TASKS", tasks);
    assert_eq!(step("1").env("SLURM_NTASKS", "4").stdout(), outside);
    let started = step("4").fails_with(2);
    assert!(started.contains("found 4 ranks, expected one process"), "{started}");
    needs_mpi!();
    let started = reelscale(&line).ranks(2).fails_with(2);
    assert!(started.contains("found 2 ranks, expected one process"), "{started}");
}

/// Storage limits steps where it is said, and times checkpoints always; a node takes what its ranks
/// get from others.
#[test]
fn storage_and_nodes_have_their_share() {
    let folder = tempfile::tempdir().unwrap();
    let job = job(folder.path(), 4_000_000, "");
    let of = |found: &Value, name: &str, key: &str| step(found, name)[key].as_f64().unwrap();
    let free = plan(&job, "--ranks 8 --ranks-per-node 2");
    let slow = plan(&job, "--ranks 8 --ranks-per-node 8 --storage 1MB/s");
    assert_eq!(step(&slow, "pretrain")["limited_by"], "input");
    let [rate, at] = ["input_bytes_per_second", "checkpoint_seconds"];
    assert_eq!(free[rate], slow[rate]);
    let bytes = free["checkpoint_bytes"].as_f64().unwrap();
    assert!((free[at].as_f64().unwrap() / (bytes / 8e9) - 1.0).abs() < 1e-9, "{free}");
    assert!((slow[at].as_f64().unwrap() / (bytes / 8e6) - 1.0).abs() < 1e-9, "{slow}");
    for name in ["pretrain", "experts", "shared"] {
        let [before, after] = [&free, &slow].map(|found| of(found, name, "seconds"));
        let late = of(&slow, name, "input_waiting_seconds");
        assert!((after - late - before).abs() < 1e-9 * after, "{name}: {before} {after} {late}");
        assert_eq!(of(&free, name, "input_waiting_seconds"), 0.0);
        let [rank, node] = ["bytes_received", "node_bytes_received"];
        let [rank, node] = [rank, node].map(|key| of(&free, name, key));
        // Two ranks, to which six of seven others are far.
        assert!((node - rank * 2.0 * 6.0 / 7.0).abs() < 1.0, "{name}: {rank} {node}");
        assert_eq!(of(&slow, name, "node_bytes_received"), 0.0);
        assert!(of(&free, name, "messages") > 0.0);
    }
}

/// The memory is what `train` says that it plans, for the same shards.
#[test]
fn memory_is_what_training_plans() {
    let folder = tempfile::tempdir().unwrap();
    shards(folder.path(), 700, 20, 12);
    let text = format!(
        "[data]\ntrain = [\"{}/*.h5\"]\n[pretrain]\nepochs = 1\n[experts]\ncount = 3\nepochs = 1\n\
         [shared]\niterations = 1\n[model]\nshared = [{{ dense = 8 }}]\n[run]\nthreads = 1\n",
        folder.path().display()
    );
    let job = folder.path().join("job.toml");
    std::fs::write(&job, text).unwrap();
    for ranks in [1, 2] {
        let line = format!("--comm threads={ranks} train {} --output", job.display());
        let output = folder.path().join(format!("run{ranks}"));
        let trained = reelscale(&line).path(&output).output();
        let told = String::from_utf8_lossy(&trained.stderr).into_owned();
        assert!(trained.status.success(), "{told}");
        let printed = reelscale(&format!("plan {} --ranks {ranks}", job.display())).stdout();
        let memory = told.split("memory planned ").nth(1).unwrap_or_else(|| panic!("{told}"));
        let memory = memory.lines().next().unwrap().trim();
        let expected = format!("a rank takes {memory} of memory");
        assert!(printed.contains(&expected), "{expected}:\n{printed}");
    }
}

/// Options go before what the shards say, each for itself.
#[test]
fn sizes_of_shards_are_overridden_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    shards(folder.path(), 700, 20, 12);
    let job = folder.path().join("job.toml");
    let train = |globs: &str| {
        let text = format!("[data]\ntrain = [\"{}/{globs}\"]\n", folder.path().display());
        std::fs::write(&job, text).unwrap();
    };
    train("*.h5");
    let sizes = |arguments: &str| {
        let found = plan(&job, arguments);
        ["rows", "features", "classes", "frames"].map(|key| found[key].as_u64().unwrap())
    };
    assert_eq!(sizes(""), [700, 12, 20, 0]);
    assert_eq!(sizes("--classes 500"), [700, 12, 500, 0]);
    assert_eq!(sizes("--rows 9e6 --frames 30"), [9_000_000, 12, 20, 30]);
    assert_eq!(sizes("--set plan.features=64"), [700, 64, 20, 0]);
    assert_eq!(sizes("--set plan.rows=9000"), [9000, 12, 20, 0]);
    // Records of runs name all keys, of those of a plan that isn't there the defaults.
    let text = std::fs::read_to_string(&job).unwrap();
    let none = "[plan]\nrows = 0\nfeatures = 1024\nclasses = 1000\nframes = 0\n";
    std::fs::write(&job, text + none).unwrap();
    assert_eq!(sizes(""), [700, 12, 20, 0]);
    assert_eq!(sizes("--rows 5e6"), [5_000_000, 12, 20, 0]);
    // What validates is held back of the rows, or said.
    train("*.h5\"]\nvalidation_fraction = 0.1 # [\"");
    assert_eq!(sizes("--rows 9e6"), [8_100_000, 12, 20, 0]);
    assert_eq!(sizes("--rows 9e6 --validation-rows 1000"), [9_000_000, 12, 20, 0]);
    assert_eq!(sizes("--validation-rows 1000"), [630, 12, 20, 0]);
    let refused = |arguments: &str, code: i32, text: &str| {
        let told = reelscale(&format!("plan {} {arguments}", job.display())).fails_with(code);
        assert!(told.contains(text), "{told}");
    };
    // Shards that training would refuse are refused.
    shards(&folder.path().join("other"), 30, 8, 12);
    train("**/*.h5");
    refused("", 4, "expected video-level");
    // Without shards rows alone are too little.
    train("nowhere/*.h5");
    refused("--rows 1e6", 2, "its shards aren't here");
    assert_eq!(sizes("--rows 1e6 --features 8 --classes 5"), [1_000_000, 8, 5, 0]);
}

#[test]
fn what_can_not_be_planned_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = job(folder.path(), 0, "");
    let refused = |arguments: &str, code: i32, text: &str| {
        let line = format!("plan {} {arguments}", path.display());
        let printed = reelscale(&line).fails_with(code);
        assert!(printed.contains(text), "{printed}");
    };
    refused("", 2, "has no [plan], and its shards aren't here");
    refused("--rows 1e3 --features nothing", 2, "--features: found");
    refused("--rows 1e3 --features rgb:1024,rgb:128", 2, "--features: found");
    let sizes = "--rows 1e6 --features 40 --classes 200";
    refused(&format!("{sizes} --set run.memory_gib=0.0001"), 9, "run.memory_gib: found 0.0001");
    refused(&format!("{sizes} --sbatch --format json"), 2, "--sbatch: found --format json");
    refused("--rows 0 --features 40 --classes 200", 2, "--rows: found 0");
    let rates = folder.path().join("rates.json");
    std::fs::write(&rates, "{\"format\":\"other\"}").unwrap();
    let elsewhere = folder.path().join("nowhere/rates.json");
    for (file, code) in [(&rates, 2), (&path, 2), (&elsewhere, 5)] {
        let line = format!("{sizes} --calibrate {}", file.display());
        let text = if code == 2 { "exists and isn't a file of rates" } else { "nowhere: No such" };
        refused(&line, code, text);
    }
    refused(&format!("{sizes} --rates {}", rates.display()), 2, "--rates");
    let line = format!("--comm threads=2 plan {} --rows 1e6", path.display());
    let printed = reelscale(&line).fails_with(2);
    assert!(printed.contains("expected one process"), "{printed}");
    for seconds in ["nan", "0", "1e9"] {
        let line = format!("plan {} --rehearse --rehearse-seconds {seconds}", path.display());
        let output = reelscale(&line).output();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains("expected more than 0 and at most 86400"), "{told}");
    }
}

#[test]
fn a_setting_that_would_help_is_named_and_helps() {
    let folder = tempfile::tempdir().unwrap();
    let job = job(folder.path(), 4_000_000, "");
    let wide = "--set model.shared=[{dense=1024}] --set experts.batch=4096 --set \
                experts.window=8192 --classes 3862 --threads 16";
    let before = plan(&job, &format!("--ranks 1024 {wide}"));
    assert_eq!(step(&before, "experts")["limited_by"], "too few blocks");
    assert!(step(&before, "experts")["idle_ranks"].as_u64().unwrap() > 500);
    let advice = before["advice"][0].as_str().unwrap();
    let setting = advice.split(": ").next().unwrap().replace(" = ", "=");
    let sets: Vec<String> = setting.split(", ").map(|one| format!("--set {one}")).collect();
    let after = plan(&job, &format!("--ranks 1024 {wide} {}", sets.join(" ")));
    let seconds = |found: &Value| found["seconds"].as_f64().unwrap();
    let gain = 1.0 - seconds(&after) / seconds(&before);
    let told: f64 = advice.split(": ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!((100.0 * gain - told).abs() < 1.0 && told > 5.0, "{advice}: {gain}");
    // Few classes in many blocks fill up groups of sixteen: of each setting the best is named.
    let few = plan(Path::new("jobs/quickstart.toml"), "--rows 1e5 --features 128 --classes 20");
    let few: Vec<&str> = few["advice"].as_array().unwrap().iter().flat_map(Value::as_str).collect();
    assert!(few[0].starts_with("run.class_blocks = 1: "), "{few:?}");
    assert_eq!(few.iter().filter(|line| line.contains("class_blocks")).count(), 1, "{few:?}");
    // Where all is well nothing is advised.
    let one = plan(&job, "--ranks 1 --threads 1");
    assert_eq!(one["advice"], Value::Array(Vec::new()), "{one}");
}

#[test]
fn a_script_asks_for_what_is_planned() {
    let folder = tempfile::tempdir().unwrap();
    let job = job(folder.path(), 4_000_000, "");
    let line = format!("plan {} --ranks 8 --ranks-per-node 3 --threads 3 --sbatch", job.display());
    let printed = reelscale(&line).stdout();
    for line in [
        "--nodes=3",
        "--ntasks=8",
        "--ntasks-per-node=3",
        "--cpus-per-task=3",
        "--mem=",
        "--time=0-",
    ] {
        assert!(printed.contains(&format!("#SBATCH {line}")), "{printed}");
    }
}

/// A rank of each kind is measured; what it takes of memory and time stands beside what is planned.
#[test]
fn a_rehearsal_measures_each_kind_of_rank() {
    let folder = tempfile::tempdir().unwrap();
    let job = job(folder.path(), 40_000, "[shared]\niterations = 2");
    let line = "--ranks 5 --threads 1 --rehearse --rehearse-seconds 0.3";
    let found = plan(&job, line);
    let rows = found["rehearsed"]["steps"].as_array().unwrap();
    let ranks: BTreeMap<u64, u64> = rows
        .iter()
        .map(|row| (row["rank"].as_u64().unwrap(), row["ranks_like_it"].as_u64().unwrap()))
        .collect();
    assert!(ranks.len() > 1 && ranks.values().sum::<u64>() <= 5, "{ranks:?}");
    for row in rows {
        let [peak, planned] = ["peak_bytes", "planned_peak_bytes"]
            .map(|key| row[key].as_u64().unwrap_or_else(|| panic!("{key}: {row}")) as f64);
        // The measure itself holds some of a job as small as this one.
        assert!(peak > 0.0 && peak < 1.1 * planned + f64::from(2 << 20), "{row}");
        assert!(row["seconds"].as_f64().unwrap() > 0.0, "{row}");
    }
    // Of the fullest rank the plan says the seconds.
    for name in ["pretrain", "experts", "shared"] {
        let planned = step(&found, name)["seconds"].as_f64().unwrap();
        let beside = |row: &&Value| row["step"] == name && row["planned_seconds"] == planned;
        assert_eq!(rows.iter().filter(beside).count(), 1, "{name}: {found}");
    }
    assert!(!found["rehearsed"]["unseen"].as_array().unwrap().is_empty());
    let one = plan(&job, &format!("{line} --rank 3"));
    let rows = one["rehearsed"]["steps"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["rank"] == 3), "{one}");
    let refused = format!("plan {} {line} --rank 5", job.display());
    assert!(reelscale(&refused).fails_with(2).contains("--rank: found 5, expected below 5"));
}

/// The largest checkpoint that a run leaves is the planned one: weights, what learns and the best
/// models to a number, and beside them the job, events, lists and digests.
#[test]
fn checkpoints_are_as_large_as_planned() {
    let folder = tempfile::tempdir().unwrap();
    shards(folder.path(), 300, 128, 12);
    let validated = "validation_fraction = 0.2\n";
    let cases = [
        ("", ""),
        ("", "rounds.count=2 experts.averaging=0.9"),
        ("", "pretrain.epochs=2 rounds.count=0"),
        ("", "experts.solver=adam shared.iterations=0"),
        ("", "experts.count=8 experts.positives_per_expert=2"),
        ("", "experts.solver=lbfgs experts.epochs=4 shared.solver=adam"),
        ("", "model.shared=[]"),
        (validated, "experts.patience=2"),
        (validated, "experts.class_patience=2 rounds.count=2"),
    ];
    for (number, (data, set)) in cases.into_iter().enumerate() {
        let text = format!(
            "[data]\ntrain = [\"{}/*.h5\"]\n{data}[pretrain]\nepochs = 1\nbatch = 64\n[experts]\n\
             count = 3\nepochs = 2\n[shared]\niterations = 2\n[rounds]\ncount = 1\n[checkpoint]\n\
             every = 1\n[model]\nshared = [{{ dense = 96 }}, {{ gating = true }}]\n",
            folder.path().display()
        );
        let job = folder.path().join("job.toml");
        std::fs::write(&job, text).unwrap();
        let sets: String = set.split_whitespace().map(|set| format!(" --set {set}")).collect();
        let line = format!("--comm threads=2 train {}{sets} --output", job.display());
        let output = folder.path().join(format!("run{number}"));
        reelscale(&line).path(&output).stdout();
        let planned = plan(&job, &format!("--ranks 2{sets}"));
        let planned = planned["checkpoint_bytes"].as_u64().unwrap();
        let record = std::fs::read_to_string(output.join("run.json")).unwrap();
        let record: Value = serde_json::from_str(&record).unwrap();
        let found = record["report"]["checkpoint_bytes"].as_u64().unwrap();
        assert!((planned..planned + 16_000).contains(&found), "{set}: {found}, planned {planned}");
    }
}
