//! The program from shards to metrics, on real ranks: same bits for any number of them.

mod common;

use std::path::{Path, PathBuf};

use common::shards::labels_csv;
use common::{TestCommand, json, real_data, reelscale};
use reelscale::internals::kernel::vector::Instructions;

/// A small job over everything: shared layers of two kinds, pretraining, two rounds.
const JOB: &str = "
[data]
train = [\"TRAIN\"]
validation_fraction = 0.2
normalize = \"NORMALIZE\"
[model]
shared = [{ dense = 24, activation = \"relu\" }, { gating = true }]
initial_biases = \"frequency\"
[pretrain]
ranks = 4096
dropout = 0.2
epochs = 2
batch = 96
[experts]
count = 5
positives_per_expert = 20
averaging = 0.9
dropout = 0.3
epochs = 2
solver = \"SOLVER\"
batch = 64
window = 300
[shared]
solver = \"SHARED\"
iterations = 3
[run]
row_blocks = 29
class_blocks = 7
";

struct Scratch {
    folder: tempfile::TempDir,
}

impl Scratch {
    /// A folder with synthesized shards in `data`.
    fn with_data(rows: usize, classes: usize) -> Scratch {
        let scratch = Scratch { folder: tempfile::tempdir().unwrap() };
        let arguments =
            format!("synthesize --rows {rows} --classes {classes} --features 20 --seed 4");
        reelscale(&arguments)
            .arg("--rows-per-shard")
            .arg("500")
            .arg("--output")
            .path(&scratch.path("data"))
            .stdout();
        scratch
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn job(&self, name: &str, solver: &str) -> PathBuf {
        let glob = format!("{}/*.h5", self.path("data").display());
        let path = self.path(name);
        let normalize = if solver == "lbfgs" { "standardise" } else { "l2" };
        let text = JOB.replace("TRAIN", &glob).replace("SOLVER", solver);
        let shared = if solver == "lbfgs" { "adam" } else { "irprop" };
        let text = text.replace("NORMALIZE", normalize).replace("SHARED", shared);
        std::fs::write(&path, text).unwrap();
        path
    }
}

fn train(job: &Path, output: &Path) -> TestCommand {
    reelscale("train").path(job).arg("--output").path(output)
}

fn result(output: &Path) -> String {
    json(&output.join("run.json"), "result_hash").as_str().expect("a hash").to_string()
}

/// `mpirun -n 1..4`, serial, thread ranks, threads within a rank, every kernel: one result.
#[test]
fn a_run_has_the_same_bits_on_any_ranks_and_threads() {
    if common::without_mpi() {
        return;
    }
    let scratch = Scratch::with_data(1700, 70);
    for solver in ["adam", "lbfgs"] {
        let job = scratch.job(solver, solver);
        let output = |name: &str| scratch.path(&format!("{solver}-{name}"));
        train(&job, &output("serial")).arg("--set").arg("run.threads=1").stdout();
        let expected = result(&output("serial"));
        train(&job, &output("2t")).arg("--set").arg("run.threads=2").stdout();
        assert_eq!(result(&output("2t")), expected, "{solver}: two threads");
        for kernel in Instructions::available() {
            let path = output(kernel.name());
            train(&job, &path).arg("--set").arg(format!("run.kernel={}", kernel.name())).stdout();
            assert_eq!(result(&path), expected, "{solver}: {} kernel", kernel.name());
        }
        let limited = |name: &str, gib: &str| {
            let sets = format!("--set run.threads=1 --set run.memory_gib={gib}");
            sets.split(' ').fold(train(&job, &output(name)), |command, arg| command.arg(arg))
        };
        let refused = limited("limited", "1e-9").fails_with(9);
        let (_, least) = refused.split_once("needs ").expect("the least that works");
        let run = limited("limited", least.split_once(' ').expect("a number").0).output();
        let printed = String::from_utf8(run.stderr).unwrap();
        assert!(printed.contains("in a scratch file"), "{refused}\n{printed}");
        assert_eq!(result(&output("limited")), expected, "{solver}: least memory");
        for ranks in [2, 3, 5, 8] {
            let path = output(&format!("thread{ranks}"));
            train(&job, &path).arg("--comm").arg(format!("threads={ranks}")).stdout();
            assert_eq!(result(&path), expected, "{solver}: {ranks} thread ranks");
        }
        for ranks in 1..=4 {
            let path = output(&format!("mpi{ranks}"));
            train(&job, &path).ranks(ranks).stdout();
            assert_eq!(result(&path), expected, "{solver}: mpirun -n {ranks}");
        }
        let model = output("mpi3").join("model");
        let data = scratch.path("data/*.h5");
        let evaluate =
            || reelscale("evaluate --format json --model").path(&model).arg("--data").path(&data);
        let metrics = evaluate().stdout();
        for ranks in 1..=4 {
            assert_eq!(evaluate().ranks(ranks).stdout(), metrics, "{solver}: mpirun -n {ranks}");
        }
        assert_eq!(evaluate().arg("--comm").arg("threads=5").stdout(), metrics);
        let limited = |gib: &str| evaluate().arg("--memory-gib").arg(gib);
        let refused = limited("1e-9").fails_with(9);
        let (_, least) = refused.split_once("needs ").expect("the least that works");
        let least = least.split_once(' ').expect("a number").0;
        assert_eq!(limited(least).stdout(), metrics, "{solver}: evaluate in {least} GiB");
    }
}

#[test]
fn annotations_are_what_evaluation_measures() {
    if common::without_mpi() {
        return;
    }
    let scratch = Scratch::with_data(900, 30);
    train(&scratch.job("job", "adagrad"), &scratch.path("run")).stdout();
    let (model, data) = (scratch.path("run/model"), scratch.path("data/*.h5"));
    let annotate = |name: &str, ranks: usize| {
        let output = scratch.path(name);
        let command = reelscale("annotate --model").path(&model).arg("--data").path(&data);
        command.arg("--output").path(&output).ranks(ranks).stdout();
        std::fs::read(output).unwrap()
    };
    let csv = annotate("a.csv", 1);
    assert_eq!(annotate("b.csv", 3), csv, "three ranks");
    assert_eq!(annotate("a.h5", 1), annotate("b.h5", 2), "HDF5 on two ranks");
    let text = String::from_utf8(csv).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("VideoId,LabelConfidencePairs"));
    assert_eq!(lines.clone().count(), 900);
    for line in lines {
        let (_, pairs) = line.split_once(',').unwrap();
        let words: Vec<f32> = pairs.split(' ').map(|word| word.parse().unwrap()).collect();
        assert_eq!(words.len(), 40);
        assert!(
            words.chunks(2).collect::<Vec<_>>().windows(2).all(|w| w[0][1] >= w[1][1]),
            "{line}"
        );
    }
    // The same metrics from the csv as from the model, but for the six figures of the scores.
    let labels = scratch.path("labels.csv");
    std::fs::write(&labels, labels_csv(&data)).unwrap();
    let from_csv = reelscale("evaluate --format json --predictions").path(&scratch.path("a.csv"));
    let from_csv = parse(&from_csv.arg("--labels").path(&labels).stdout());
    let from_model =
        reelscale("evaluate --format json --model").path(&model).arg("--data").path(&data);
    let from_model = parse(&from_model.stdout());
    for key in ["gap_at_20", "map_at_20", "hit_at_1", "perr", "videos", "positives"] {
        let (a, b) = (from_csv[key].as_f64().unwrap(), from_model[key].as_f64().unwrap());
        assert!((a - b).abs() < 1e-4, "{key}: {a} {b}");
    }
}

fn parse(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn synthesized_shards_have_the_same_bytes_on_any_ranks() {
    if common::without_mpi() {
        return;
    }
    let scratch = Scratch::with_data(2300, 40);
    let one = scratch.path("data");
    for ranks in [2, 3] {
        let output = scratch.path(&format!("data{ranks}"));
        let arguments = "synthesize --rows 2300 --classes 40 --features 20 --seed 4 \
                         --rows-per-shard 500 --output";
        reelscale(arguments).path(&output).ranks(ranks).stdout();
        for entry in std::fs::read_dir(&one).unwrap() {
            let name = entry.unwrap().file_name();
            let bytes = |folder: &Path| std::fs::read(folder.join(&name)).unwrap();
            assert!(bytes(&one) == bytes(&output), "{name:?} on {ranks} ranks");
        }
    }
    let hash = |path: &Path| reelscale("inspect --hash").path(path).stdout();
    let arguments =
        "synthesize --rows 2300 --classes 40 --features 20 --seed 4 --rows-per-shard 999 --output";
    reelscale(arguments).path(&scratch.path("cut")).stdout();
    assert_eq!(hash(&one), hash(&scratch.path("cut")), "cut otherwise, the same content");
}

#[test]
fn a_model_says_what_it_is_and_opens_in_h5py() {
    if common::without_mpi() {
        return;
    }
    let scratch = Scratch::with_data(600, 20);
    // Without validation rows the last model is kept, not the best.
    let job = scratch.job("job", "adam");
    let text = std::fs::read_to_string(&job).unwrap();
    let text = text.replace("validation_fraction = 0.2", "").replace("count = 5", "count = 3");
    std::fs::write(&job, text.replace("positives_per_expert = 20", "")).unwrap();
    train(&job, &scratch.path("run")).ranks(2).stdout();
    let model = scratch.path("run/model");
    let text = reelscale("inspect").path(&model).stdout();
    assert!(text.contains("classes    20") && text.contains("experts    60 in all"), "{text}");
    let hash = reelscale("inspect --hash").path(&model).stdout();
    assert_eq!(hash.trim(), json(&scratch.path("run/run.json"), "model_hash").as_str().unwrap());
    assert_eq!(reelscale("inspect --hash").path(&model).ranks(3).stdout(), hash);
    let script = "import h5py, sys\n\
                  e = h5py.File(sys.argv[1] + '/experts-00000.h5')\n\
                  assert e['expert_weights'].shape == (60, 24)\n\
                   assert e['gate_weights'].shape == (80, 24)\n\
                  assert list(e['expert_offsets'][:3]) == [0, 3, 6]\n\
                   assert e['expert_biases'].shape == (60,)\n\
                  s = h5py.File(sys.argv[1] + '/shared.h5')\n\
                  assert s['layer_0/weights'].shape == (20, 24)\n\
                   assert 'relu' in s['layer_0'].attrs['layer']\n";
    for python in ["python3", "/usr/bin/python3"] {
        let run = |code: &str| {
            std::process::Command::new(python).args(["-c", code]).arg(&model).output().unwrap()
        };
        if run("import h5py").status.success() {
            let output = run(script);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            return;
        }
    }
    println!("skipped: no python3 with h5py");
}

/// `RUN/job.toml` is a job file: of the same run, what `--set` changed included.
#[test]
fn the_record_of_a_job_gives_the_same_run() {
    let scratch = Scratch::with_data(600, 20);
    let set = |command: TestCommand| command.arg("--set").arg("experts.learning_rate=0.037");
    set(train(&scratch.job("job", "adam"), &scratch.path("run"))).stdout();
    train(&scratch.path("run/job.toml"), &scratch.path("again")).ranks(2).stdout();
    for key in ["model_hash", "result_hash", "job"] {
        let of = |run: &str| json(&scratch.path(run).join("run.json"), key);
        assert_eq!(of("run"), of("again"), "{key}");
    }
    let text = |run: &str| std::fs::read_to_string(scratch.path(run).join("job.toml")).unwrap();
    assert_eq!(text("run"), text("again"));
    // A run goes on, or here is told to be finished, from its own record.
    let again = train(&scratch.path("run/job.toml"), &scratch.path("run")).output();
    let printed = String::from_utf8_lossy(&again.stderr);
    assert!(again.status.success() && printed.contains("this run is finished"), "{printed}");
}

/// Every file of a model is checked against its checksum before it is used.
#[test]
fn a_changed_model_is_refused() {
    if common::without_mpi() {
        return;
    }
    let scratch = Scratch::with_data(300, 10);
    train(&scratch.job("job", "adam"), &scratch.path("run")).stdout();
    let file = scratch.path("run/model/experts-00000.h5");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&file, bytes).unwrap();
    let evaluate = reelscale("evaluate --model").path(&scratch.path("run/model"));
    let text = evaluate.arg("--data").path(&scratch.path("data/*.h5")).ranks(2).fails_with(6);
    assert!(text.contains("experts-00000.h5") && text.contains("SHA-256"), "{text}");
}

/// The same bits on real videos, and a model that knows something after one epoch.
#[test]
fn a_real_run_has_the_same_bits() {
    if common::without_mpi() {
        return;
    }
    let Some(real) = real_data() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (name, shard) in [("train", "validate0000"), ("test", "validate0024")] {
        let convert =
            "convert --from tfrecord --features rgb:1024,audio:128 --classes 3862 --output";
        let file = real.join(format!("youtube8m/{shard}.tfrecord"));
        reelscale(convert).path(&path(name)).path(&file).stdout();
    }
    let job = path("job.toml");
    let text = format!(
        "[data]\ntrain = [\"{}/train/*.h5\"]\nvalidation = [\"{}/test/*.h5\"]\n\
         [model]\nshared = [{{ gating = true }}]\n\
         [pretrain]\nranks = 4096\nepochs = 1\nbatch = 64\nlearning_rate = 0.1\n\
         [experts]\ncount = 2\nepochs = 2\nsolver = \"adam\"\nbatch = 64\nlearning_rate = 0.1\n\
         [shared]\niterations = 1\n[rounds]\ncount = 2\n",
        folder.path().display(),
        folder.path().display()
    );
    std::fs::write(&job, text).unwrap();
    train(&job, &path("one")).within(600).stdout();
    for (name, ranks) in [("two", 2), ("three", 3), ("four", 4)] {
        train(&job, &path(name)).ranks(ranks).within(600).stdout();
        assert_eq!(result(&path(name)), result(&path("one")), "mpirun -n {ranks}");
    }
    let evaluate = reelscale("evaluate --format json --model").path(&path("one/model"));
    let metrics = parse(&evaluate.arg("--data").path(&path("test/*.h5")).stdout());
    // 288 videos and a dozen steps teach the large classes only.
    assert!(metrics["hit_at_1"].as_f64().unwrap() > 0.4, "{metrics}");
}
