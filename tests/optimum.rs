//! A mixture with one expert, whose gate is switched off, is logistic regression: L-BFGS must come
//! to the objectives that an independent float64 solver found on real data.

mod common;

use std::path::Path;

use common::{json, real_data, reelscale};
use reelscale::Comm;
use reelscale::internals::artifact;
use reelscale::internals::data::{Dataset, Kind, ShardHeader, ShardInfo, ShardWriter, find};
use reelscale::internals::example::FeaturePart;
use reelscale::internals::formats::tf_example::{self, Wanted};
use reelscale::internals::formats::tfrecord;
use reelscale::internals::labels::Labels;
use reelscale::internals::model::spec::Normalize;

/// Relative distance from the optimum that is allowed.
const TOLERANCE: f64 = 1e-5;

/// Trains on the shards in `folder`/data and returns each class's objective, computed here in
/// float64 from the model's weights, and the number of full-batch passes.
fn solve(folder: &Path, normalize: &str, l2: f64) -> (Vec<f64>, usize) {
    let job = format!(
        "[data]\ntrain = [\"{}/data/*.h5\"]\nnormalize = \"{normalize}\"\n\
         [model]\ndummy = \"none\"\nepsilon = 0\n[pretrain]\nepochs = 0\n\
         [experts]\ncount = 1\nsolver = \"lbfgs\"\nepochs = 1000\ntolerance = 1e-8\nl2 = {l2:e}\n\
         [shared]\niterations = 0\n[rounds]\ncount = 1\n",
        folder.display()
    );
    std::fs::write(folder.join("job.toml"), job).unwrap();
    let run = folder.join("run");
    let train = reelscale("train").path(&folder.join("job.toml")).arg("--output").path(&run);
    train.ranks(2).within(600).stdout();
    let passes = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let passes = passes.lines().filter(|line| line.contains("\"epoch\"")).count();
    (objectives(folder, &run.join("model"), l2), passes)
}

fn objectives(folder: &Path, model: &Path, l2: f64) -> Vec<f64> {
    let annotator = artifact::load(&Comm::serial(), model).unwrap();
    let paths = find(&[format!("{}/data/*.h5", folder.display())]).unwrap();
    let infos = paths.iter().map(|path| ShardInfo::read(path).unwrap()).collect();
    let dataset = Dataset::new(infos).unwrap();
    let (rows, width) = (dataset.rows(), dataset.width());
    let (mut features, mut labels) = (vec![0.0; rows * width], Labels::new());
    dataset.reader().read(0..rows, &mut features, &mut labels).unwrap();
    let mut features: Vec<f64> = features.into_iter().map(f64::from).collect();
    if annotator.shape.normalize == Normalize::L2 {
        for row in features.chunks_mut(width) {
            let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
            row.iter_mut().for_each(|x| *x /= norm);
        }
    }
    let experts = &annotator.experts;
    let blocks = experts.own().map(|block| experts.block(block));
    blocks
        .flat_map(|block| {
            (0..block.layout.classes.len()).map(move |class| {
                let (places, weights) = block.layout.places_of(class);
                let all: Vec<f64> =
                    places.iter().map(|place| f64::from(block.parameters[*place])).collect();
                (block.layout.classes.start + class, all, weights)
            })
        })
        .map(|(class, all, count)| {
            let (weights, bias) = (&all[..count], all[count]);
            let loss: f64 = (0..rows)
                .map(|row| {
                    let x = &features[row * width..(row + 1) * width];
                    let z = bias + x.iter().zip(weights).map(|(x, w)| x * w).sum::<f64>();
                    let z = if labels.row(row).contains(&(class as u32)) { z } else { -z };
                    (-z).max(0.0) + (-z.abs()).exp().ln_1p()
                })
                .sum();
            loss / rows as f64 + 0.5 * l2 * weights.iter().map(|w| w * w).sum::<f64>()
        })
        .collect()
}

fn check(name: &str, found: &[f64], classes: &serde_json::Value, passes: usize) {
    let classes = classes.as_array().expect("a list of classes");
    assert_eq!(found.len(), classes.len());
    let mut worst = 0.0f64;
    for (found, class) in found.iter().zip(classes) {
        let expected = class["objective"].as_f64().expect("an objective");
        worst = worst.max((found / expected - 1.0).abs());
        assert!((found / expected - 1.0).abs() < TOLERANCE, "{name}: {found} {class}");
    }
    println!(
        "{name}: {} classes, {passes} passes, worst relative distance {worst:.1e}",
        found.len()
    );
}

#[test]
fn mulan_sets_reach_their_optimum() {
    if common::without_mpi() {
        return;
    }
    let Some(real) = real_data() else { return };
    for (name, rows) in [("yeast", 1500.0), ("scene", 1211.0)] {
        let folder = tempfile::tempdir().unwrap();
        let file = real.join(format!("svmlight/{name}-train.svm"));
        let convert =
            reelscale("convert --from svmlight --output").path(&folder.path().join("data"));
        convert.path(&file).stdout();
        let (found, passes) = solve(folder.path(), "none", 1.0 / rows);
        let oracle = json(&real.join("oracle/mulan_logistic_optimum.json"), name);
        check(name, &found, &oracle["classes"], passes);
    }
}

#[test]
fn twelve_classes_of_youtube8m_reach_their_optimum() {
    if common::without_mpi() {
        return;
    }
    let Some(real) = real_data() else { return };
    let folder = tempfile::tempdir().unwrap();
    let classes = json(&real.join("oracle/per_class_logistic_optimum.json"), "classes");
    let wanted: Vec<u32> = classes
        .as_array()
        .expect("a list of classes")
        .iter()
        .map(|class| class["cls"].as_u64().expect("a class") as u32)
        .collect();
    let part = |name: &str, size| FeaturePart { name: name.into(), size };
    let parts = vec![part("rgb", 1024), part("audio", 128)];
    std::fs::create_dir(folder.path().join("data")).unwrap();
    let header = ShardHeader {
        parts: parts.clone(),
        class_count: wanted.len(),
        kind: Kind::Video,
        source: "twelve classes".into(),
    };
    let mut writer = ShardWriter::create(&folder.path().join("data/a.h5"), &header).unwrap();
    let all = Wanted { parts: &parts, class_count: 3862, ..Wanted::default() };
    for shard in 0..24 {
        let path = real.join(format!("youtube8m/validate{shard:04}.tfrecord"));
        let mut records = tfrecord::Records::open(&path).unwrap();
        while let Some(data) = records.next().unwrap() {
            let mut example = tf_example::parse(data, &all).unwrap().example;
            let place = |label: &u32| wanted.iter().position(|class| class == label);
            let mut labels: Vec<u32> =
                example.labels.iter().filter_map(place).map(|at| at as u32).collect();
            labels.sort_unstable();
            example.labels = labels;
            writer.push(&example).unwrap();
        }
    }
    writer.finish().unwrap();
    let (found, passes) = solve(folder.path(), "l2", 1e-5);
    check("YouTube-8M", &found, &classes, passes);
}
