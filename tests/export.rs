//! Exported models: the same scores as `annotate` by other programs, the Python package among
//! them, whatever the model is made of (skips where pip brings no ONNX Runtime), and the same
//! numbers from a model, a run and a checkpoint.

mod common;
#[path = "export/package.rs"]
mod package;
#[path = "common/packages.rs"]
mod packages;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use common::{reelscale, shards};
use reelscale::internals::data::{Kind, ShardHeader, ShardWriter};
use reelscale::internals::example::{Example, Values};
use reelscale::internals::model::experts::{Experts, layouts};
use reelscale::internals::model::initial;
use reelscale::internals::rng::{Purpose, Stream};
use reelscale::{
    Activation, Annotator, Checkpoints, Comm, Data, Dummy, FeaturePart, Job, Layer, Normalize,
    Pooling, Report, Shape, Standard, save, train,
};

const FEATURES: usize = 24;
const CLASSES: usize = 40;
const ROWS: usize = 60;
const NEEDED: [&str; 9] = [
    "numpy==2.2.6",
    "onnxruntime==1.22.1",
    "safetensors==0.5.3",
    "h5py==3.14.0",
    "pandas==2.3.3",
    "python-dateutil==2.9.0.post0",
    "pytz==2025.2",
    "six==1.17.0",
    "tzdata==2025.2",
];

/// The folder, kept between builds, of what Python needs here.
fn needed() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("export-python")
}

/// Python with what is needed and the project's own package.
fn python() -> Option<Command> {
    let imports = "h5py, numpy, onnxruntime, pandas, safetensors";
    let mut python = packages::python("export-python", &NEEDED, imports)?;
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("python");
    python.env("PYTHONPATH", std::env::join_paths([&needed(), &package]).unwrap());
    python.env("PYTHONDONTWRITEBYTECODE", "1");
    python.env("REELSCALE_PROGRAM", env!("CARGO_BIN_EXE_reelscale"));
    Some(python)
}

/// A model of this shape with so many experts of each class, whose scores are far apart.
fn model(shape: Shape, experts: impl Fn(usize) -> usize) -> Annotator {
    let comm = Comm::serial();
    let layers = shape.shared_layers();
    let counts: Vec<usize> = (0..CLASSES).map(experts).collect();
    let layouts = layouts(&counts, shape.dummy, layers.outputs(), shape.class_blocks);
    let owners = comm.deal(layouts.len());
    let mut experts = Experts::new(layouts, owners, 5, 1);
    experts.set_biases(&(0..CLASSES).map(|class| (class % 7) as f32 - 3.0).collect::<Vec<_>>());
    for block in &mut experts.parameters {
        // Not what switches gates off.
        let weights = Arc::make_mut(block).iter_mut().filter(|weight| **weight > -1e29);
        weights.for_each(|weight| *weight *= 6.0);
    }
    let mut shared = initial::shared(&layers, 5);
    for place in &layers.places {
        let biases = place.biases().take(place.outputs);
        biases.enumerate().for_each(|(at, place)| shared[place] = 0.1 * (at % 5) as f32 - 0.2);
    }
    Annotator { shape, layers, shared, experts, names: None }
}

fn shape(normalize: Normalize, dummy: Dummy) -> Shape {
    let standard = Standard {
        means: (0..FEATURES).map(|column| 0.1 - column as f32 / 50.0).collect(),
        scales: (0..FEATURES).map(|column| (column % 4) as f32 / 2.0).collect(),
    };
    let part = |name: &str, size| FeaturePart { name: name.into(), size };
    Shape {
        parts: vec![part("rgb", FEATURES - 4), part("audio", 4)],
        class_count: CLASSES,
        normalize,
        standard: (normalize == Normalize::Standardise).then_some(standard),
        frames: Vec::new(),
        pooling: None,
        layers: Vec::new(),
        dummy,
        epsilon: 1e-5,
        class_blocks: 0,
    }
}

fn dense(units: usize, activation: Activation) -> Layer {
    Layer::Dense { units, activation }
}

/// Rows of that kind, of 0, 1, few and more than 300 frames.
fn write_rows(path: &Path, shape: &Shape) {
    let kind = if shape.pooling.is_some() { Kind::Frames } else { Kind::Video };
    let (parts, source) = (shape.parts.clone(), "test".to_string());
    let header = ShardHeader { parts, class_count: CLASSES, kind, source };
    let mut writer = ShardWriter::create(path, &header).unwrap();
    for row in 0..ROWS {
        let mut stream = Stream::new(7, Purpose::PlantedRows, row as u64);
        let values = match kind {
            Kind::Video => {
                Values::Video((0..FEATURES).map(|_| 4.0 * stream.uniform() - 2.0).collect())
            }
            Kind::Frames => {
                let frames = [0, 1, 2, 9, 310][row % 5];
                let bytes = (0..frames * FEATURES).map(|_| stream.below(256) as u8);
                Values::Frames(bytes.collect())
            }
        };
        let id = format!("v{row}").into_bytes();
        writer.push(&Example { id, labels: vec![row as u32 % 40], values }).unwrap();
    }
    writer.finish().unwrap();
}

/// Videos of all normalisations, layers and dummy states; frames of all poolings.
fn cases() -> Vec<(&'static str, Annotator)> {
    let ragged = |class: usize| 1 + class % 3;
    // Some of them filled up, and many groups.
    let many = |class: usize| [1, 2, 8, 15, 16, 29, 30, 31, 32][class * 5 % 9];
    let gated = Shape {
        layers: vec![dense(32, Activation::Relu), Layer::Gating, Layer::Residual],
        ..shape(Normalize::L2, Dummy::Learned)
    };
    let activations = [Activation::Relu6, Activation::Sigmoid, Activation::Identity];
    let deep = Shape {
        layers: activations.map(|activation| dense(20, activation)).to_vec(),
        ..shape(Normalize::Standardise, Dummy::Zero)
    };
    let exact = Shape { epsilon: 0.0, ..shape(Normalize::None, Dummy::None) };
    let frames = |pooling, normalize, frames: &[Layer]| Shape {
        pooling: Some(pooling),
        frames: frames.to_vec(),
        layers: vec![Layer::Residual],
        ..shape(normalize, Dummy::Learned)
    };
    let tanh = [dense(28, Activation::Tanh), Layer::Gating];
    vec![
        ("gated", model(gated.clone(), ragged)),
        ("many", model(gated, many)),
        ("deep", model(deep, many)),
        ("exact", model(exact.clone(), ragged)),
        ("single", model(exact, |_| 1)),
        ("swap", model(frames(Pooling::Swap, Normalize::L2, &tanh), ragged)),
        ("average", model(frames(Pooling::Average, Normalize::Standardise, &tanh), ragged)),
        ("max", model(frames(Pooling::Max, Normalize::None, &[]), ragged)),
        ("l2", model(frames(Pooling::L2, Normalize::L2, &[Layer::Residual]), many)),
    ]
}

#[test]
fn other_programs_give_the_scores_of_annotate() {
    let Some(mut python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/export/compare.py");
    python.args([script, concat!(env!("CARGO_MANIFEST_DIR"), "/docs/model-format.md")]);
    for (index, (name, model)) in cases().into_iter().enumerate() {
        let path = |file: &str| folder.path().join(name).join(file);
        fs::create_dir(folder.path().join(name)).unwrap();
        save(&Comm::serial(), &path("model"), &model).unwrap();
        write_rows(&path("data.h5"), &model.shape);
        let annotate = reelscale("annotate --threads 1 --top 40 --model").path(&path("model"));
        let annotate = annotate.arg("--data").path(&path("data.h5"));
        annotate.arg("--output").path(&path("annotations.h5")).stdout();
        // Every other one with its weights in a second file, and mixtures cut into pieces.
        let apart = if index % 2 == 0 { "--inside-max 0 --piece-max 9000" } else { "" };
        for (to, file) in [
            ("numpy", "model.npz"),
            ("safetensors", "model.safetensors"),
            (&format!("onnx {apart}"), "model.onnx"),
            ("onnx --top 7", "top.onnx"),
        ] {
            let export = reelscale(&format!("export --to {to} --model")).path(&path("model"));
            let told = export.arg("--output").path(&path(file)).stdout();
            assert!(told.contains("40 classes of "), "{told}");
        }
        assert_eq!(path("model.onnx.data").exists(), !apart.is_empty());
        python.arg(folder.path().join(name));
    }
    let output = python.output().unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What `export --to TO` writes of `model`, on so many ranks.
fn exported(to: &str, model: &Path, folder: &Path, ranks: usize) -> Vec<u8> {
    let output = folder.join("exported");
    let command = reelscale(&format!("export --comm threads={ranks} --to {to} --model"));
    command.path(model).arg("--output").path(&output).stdout();
    let bytes = fs::read(&output).unwrap();
    fs::remove_file(output).unwrap();
    bytes
}

/// A run that isn't finished gives the best model of its newest checkpoint: that of the first
/// epoch, where the second has begun.
#[test]
fn a_run_and_its_checkpoints_give_their_best_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    shards(&path("data"), 500, 20, 12);
    let text = "[data]\ntrain = [\"DATA\"]\nnormalize = \"standardise\"\n\
                [model]\nshared = [{ dense = 9 }]\n[pretrain]\nepochs = 2\nexperts = 3\n\
                [rounds]\ncount = 0\n[checkpoint]\nevery = 1\n"
        .replace("DATA", path("data/a.h5").to_str().unwrap());
    let comm = Comm::serial();
    let model = |epochs: &str, kept: bool| {
        let job = Job::parse(&text, "job", &[format!("pretrain.epochs={epochs}")]).unwrap();
        let data = Data::open(&comm, &job).unwrap();
        let checkpoints = || Checkpoints::in_folder(&comm, &path("run/checkpoints"), &job, &data);
        let checkpoints = kept.then(checkpoints);
        train(&comm, &job, data, &mut Report::silent(), checkpoints).unwrap().annotator
    };
    fs::create_dir(path("run")).unwrap();
    fs::write(path("run/job.toml"), &text).unwrap();
    save(&comm, &path("last"), &model("2", true)).unwrap();
    save(&comm, &path("first"), &model("1", false)).unwrap();
    let names = fs::read_dir(path("run/checkpoints")).unwrap();
    let newest: PathBuf = names.map(|name| name.unwrap().path()).max().unwrap();

    // A checkpoint doesn't know its model's hash, and numbers are all that is left.
    let numbers = |npz: Vec<u8>| {
        let of_first = b"gates.offsets.npy";
        let at = npz.windows(of_first.len()).position(|name| name == of_first).unwrap();
        let end = npz.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
        npz[at..end].to_vec()
    };
    let of = |model: &Path, ranks| numbers(exported("numpy", model, folder.path(), ranks));
    let [first, last] = ["first", "last"].map(|name| of(&path(name), 1));
    assert!(first != last, "two epochs learn more than one");
    assert!(of(&newest, 1) == first, "of a checkpoint");
    assert!(of(&path("run"), 2) == first, "of a run that isn't finished");
    // Whoever measures and annotates by a run or a checkpoint gets the same one.
    let by = |what: &str, model: &Path, ranks: usize| {
        let command = reelscale(&format!("{what} --comm threads={ranks} --data"));
        command.path(&path("data/a.h5")).arg("--model").path(model)
    };
    let measured = |model: &Path, ranks, which| {
        by("evaluate --format json", model, ranks).arg("--which").arg(which).stdout()
    };
    let of_first = measured(&path("first"), 1, "best");
    assert_eq!(measured(&newest, 2, "best"), of_first);
    assert_eq!(measured(&path("run"), 1, "best"), of_first);
    let of_now = measured(&path("run"), 2, "last");
    assert!(of_now != of_first && of_now == measured(&newest, 1, "last"), "{of_now}");
    let annotated = |model: &Path, name: &str| {
        by("annotate", model, 2).arg("--output").path(&path(name)).stdout();
        fs::read(path(name)).unwrap()
    };
    assert_eq!(annotated(&path("run"), "run.csv"), annotated(&path("first"), "first.csv"));
    let told = by("evaluate --which last", &path("first"), 1).fails_with(2);
    assert!(told.contains("--which last: expected a run or a checkpoint"), "{told}");
    fs::rename(path("last"), path("run/model")).unwrap();
    assert!(of(&path("run"), 1) == last, "of a run that is done");
    let all = |ranks| exported("onnx", &path("run"), folder.path(), ranks);
    assert!(all(1) == all(3), "the same on any ranks");
}

#[test]
fn what_cannot_be_exported_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    save(&Comm::serial(), &path("model"), &cases()[0].1).unwrap();
    let export = |to: &str, model: &str, output: &str| {
        let command = reelscale(&format!("export --to {to} --model")).path(&path(model));
        command.arg("--output").path(&path(output))
    };
    fs::write(path("there"), "mine").unwrap();
    for to in ["numpy", "safetensors", "onnx"] {
        let line = export(to, "model", "there").fails_with(2);
        assert!(line.contains("there: exists already"), "{line}");
    }
    assert_eq!(fs::read(path("there")).unwrap(), b"mine");
    fs::write(path("graph.data"), "mine").unwrap();
    assert!(export("onnx --inside-max 0", "model", "graph").fails_with(2).contains("graph.data"));
    assert!(export("numpy --top 3", "model", "new").fails_with(2).contains("--top"));
    assert!(export("numpy", "nothing", "new").fails_with(6).contains("nothing"));
    assert!(export("numpy", "model", "no/folder").fails_with(5).contains("no/folder"));
    let file = path("model/experts-00000.h5");
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert!(export("numpy", "model", "new").fails_with(6).contains("experts-00000.h5"));
    let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|one| one.unwrap()).collect();
    left.retain(|one| {
        !["model", "there", "graph.data"].iter().any(|name| one.file_name() == *name)
    });
    assert!(left.is_empty(), "{left:?}");
}

/// The most memory that a process has taken so far, in bytes, where the system tells.
fn peak(process: u32) -> Option<usize> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<usize>().ok()? << 10)
}

/// Mixtures pass by: an export takes less memory than they have.
#[test]
fn memory_does_not_grow_with_the_mixtures() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let wide = Shape {
        parts: vec![FeaturePart { name: "rgb".into(), size: 4096 }],
        ..shape(Normalize::L2, Dummy::Learned)
    };
    save(&Comm::serial(), &path("model"), &model(wide, |class| 120 + class)).unwrap();
    for to in ["numpy", "safetensors", "onnx --inside-max 0", "onnx"] {
        let export = reelscale(&format!("export --comm serial --to {to} --model"));
        let export = export.path(&path("model")).arg("--output").path(&path("exported"));
        let running = export.spawn();
        let (mut most, process) = (0, running.launcher());
        while let Some(now) = peak(process) {
            most = most.max(now);
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert!(running.finish().status.success(), "{to}");
        let lengths = ["exported", "exported.data"].map(|name| {
            let length = fs::metadata(path(name)).map_or(0, |found| found.len());
            let _ = fs::remove_file(path(name));
            length
        });
        let bytes = lengths.iter().sum::<u64>();
        println!("{to}: {} MiB for a file of {} MiB", most >> 20, bytes >> 20);
        assert!(most < 128 << 20 && bytes > 150 << 20, "{to}: {most} bytes");
    }
}
