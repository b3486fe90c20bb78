//! Small models without training, and what damages them.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use reelscale::internals::example::FeaturePart;
use reelscale::internals::model::annotator::Shape;
use reelscale::internals::model::experts::{Experts, layouts};
use reelscale::internals::model::initial;
use reelscale::internals::model::spec::{Activation, Dummy, Layer, Normalize, Pooling, Standard};
use reelscale::{Annotator, Comm, Error, load, save};
use serde_json::Value;

use super::common::{refit_sums, sha256};

/// Features of the models here.
pub const FEATURES: usize = 6;
/// Classes of the models here.
pub const CLASSES: usize = 20;

/// The shapes of the models here: standardised videos, frames, no shared layers at all.
pub fn shapes() -> [Shape; 3] {
    let part = |name: &str, size| FeaturePart { name: name.into(), size };
    let dense = |units, activation| Layer::Dense { units, activation };
    let videos = Shape {
        parts: vec![part("synthetic", FEATURES)],
        class_count: CLASSES,
        normalize: Normalize::Standardise,
        standard: Some(Standard {
            means: (0..FEATURES).map(|column| 0.1 + column as f32 / 3.0).collect(),
            scales: (0..FEATURES).map(|column| 2.0 / (1 + column) as f32).collect(),
        }),
        frames: Vec::new(),
        pooling: None,
        layers: vec![dense(5, Activation::Relu), Layer::Gating],
        dummy: Dummy::Learned,
        epsilon: 1e-5,
        class_blocks: 3,
    };
    let frames = Shape {
        parts: vec![part("rgb", 4), part("audio", FEATURES - 4)],
        normalize: Normalize::L2,
        standard: None,
        frames: vec![dense(7, Activation::Tanh)],
        pooling: Some(Pooling::Swap),
        layers: vec![Layer::Residual],
        dummy: Dummy::Zero,
        ..videos.clone()
    };
    let bare = Shape {
        normalize: Normalize::None,
        standard: None,
        layers: Vec::new(),
        dummy: Dummy::None,
        class_blocks: 0,
        ..videos.clone()
    };
    [videos, frames, bare]
}

/// This rank's share of a model of that shape, of 1 to 3 experts a class.
pub fn model(comm: &Comm, shape: &Shape, seed: u64) -> Annotator {
    let layers = shape.shared_layers();
    let counts: Vec<usize> = (0..shape.class_count).map(|class| 1 + class % 3).collect();
    let layouts = layouts(&counts, shape.dummy, layers.outputs(), shape.class_blocks);
    let shared = initial::shared(&layers, seed);
    let owners = comm.deal(layouts.len());
    let experts = Experts::new(layouts, owners, seed, 1);
    Annotator { shape: shape.clone(), layers, shared, experts, names: None }
}

/// Writes a model of that shape to `path` and returns it.
pub fn saved(path: &Path, shape: &Shape, seed: u64) -> Annotator {
    let model = model(&Comm::serial(), shape, seed);
    save(&Comm::serial(), path, &model).unwrap();
    model
}

/// What loading comes to. A panic fails the test, naming `what` was done to the model.
pub fn outcome(path: &Path, what: &dyn Fn() -> String) -> Result<Annotator, Error> {
    let loaded = catch_unwind(AssertUnwindSafe(|| load(&Comm::serial(), path)));
    loaded.unwrap_or_else(|_| panic!("{}: panicked", what()))
}

/// Whether two models give the same numbers. How their classes are cut decides the order of sums
/// only.
pub fn same_numbers(found: &Annotator, expected: &Annotator) -> bool {
    let numbers = |model: &Annotator| {
        let shape = Shape { class_blocks: 0, ..model.shape.clone() };
        (
            shape,
            model.shared.clone(),
            reelscale::internals::artifact::content_hash(&Comm::serial(), model),
        )
    };
    numbers(found) == numbers(expected)
}

/// Demands exit 6 or the same numbers; returns whether it was an error.
pub fn refused_or_same(path: &Path, expected: &Annotator, what: &dyn Fn() -> String) -> bool {
    match outcome(path, what) {
        Ok(found) => {
            assert!(same_numbers(&found, expected), "{}: other numbers in silence", what());
            false
        }
        Err(error) => {
            assert_eq!(error.exit as i32, 6, "{}: {}", what(), error.text);
            true
        }
    }
}

/// Makes the manifest's digests right again, and SHA256SUMS.
pub fn refit_manifest(folder: &Path) {
    let path = folder.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for entry in manifest["files"].as_array_mut().unwrap() {
        let file = folder.join(entry["name"].as_str().unwrap());
        entry["bytes"] = fs::metadata(&file).unwrap().len().into();
        entry["sha256"] = sha256(&file).into();
    }
    fs::write(&path, serde_json::to_string_pretty(&manifest).unwrap() + "\n").unwrap();
    refit_sums(folder);
}

/// Makes a model one as versions before SHA256SUMS wrote it.
pub fn without_sums(folder: &Path) {
    let path = folder.join("manifest.json");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"version\": 2"), "{text}");
    fs::write(&path, text.replace("\"version\": 2", "\"version\": 1")).unwrap();
    fs::remove_file(folder.join("SHA256SUMS")).unwrap();
}
