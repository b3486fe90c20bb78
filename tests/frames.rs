//! Frame-level input: frame networks and pooling against their float64 twin and finite differences,
//! and the program on frame-level shards.

mod common;

use common::{distance, json, reelscale, wide};
use reelscale::Annotator;
use reelscale::internals::kernel::matrix::Matrix;
use reelscale::internals::kernel::product::Workspace;
use reelscale::internals::kernel::vector::Instructions;
use reelscale::internals::model::annotator::Shape;
use reelscale::internals::model::experts::Experts;
use reelscale::internals::model::features::{Features, Frames};
use reelscale::internals::model::initial;
use reelscale::internals::model::shared::reference as shared_reference;
use reelscale::internals::model::spec::{Activation, Dummy, Layer, Normalize, Pooling};
use reelscale::internals::partition::Owners;
use reelscale::internals::rng::{Purpose, Stream};
use reelscale::internals::team::Team;

const WIDTH: usize = 7;
const SCALING: [f32; 2] = [4.0 / 255.0, 4.0 / 512.0 - 2.0];

fn annotator(frames: &[Layer], pooling: Pooling, layers: &[Layer]) -> Annotator {
    let shape = Shape {
        parts: vec![],
        class_count: 0,
        normalize: Normalize::None,
        standard: None,
        frames: frames.to_vec(),
        pooling: Some(pooling),
        layers: layers.to_vec(),
        dummy: Dummy::Learned,
        epsilon: 0.0,
        class_blocks: 0,
    };
    let layers = reelscale::internals::model::shared::SharedLayers::on_frames(
        WIDTH,
        &shape.frames,
        shape.pooling,
        &shape.layers,
    );
    let mut shared = initial::shared(&layers, 5);
    for place in &layers.places {
        // Biases that are no longer 0, so that they matter.
        shared[place.biases()][..place.outputs].iter_mut().for_each(|bias| *bias = 0.05);
    }
    let experts = Experts { layouts: vec![], owners: Owners::even(0, 1, 0), parameters: vec![] };
    Annotator { shape, layers, shared, experts, names: None }
}

/// Rows of these many frames, as bytes and as numbers.
fn ragged(counts: &[usize]) -> (Frames, Vec<Vec<Vec<f64>>>) {
    let (mut frames, mut numbers) = (Frames::new(WIDTH), Vec::new());
    for (row, count) in counts.iter().enumerate() {
        let mut stream = Stream::new(1, Purpose::PlantedRows, row as u64);
        let bytes: Vec<u8> = (0..count * WIDTH).map(|_| stream.below(256) as u8).collect();
        frames.push(&bytes, SCALING);
        let number = |byte: &u8| f64::from(f32::from(*byte) * SCALING[0] + SCALING[1]);
        let row = bytes.chunks(WIDTH).map(|frame| frame.iter().map(number).collect());
        numbers.push(row.collect());
    }
    (frames, numbers)
}

/// Forward against the twin, backward against central differences of the twin, for every frame
/// network of the method and every pooling, on rows of 0, 1 and many frames in several tiles.
#[test]
fn frames_forward_and_back_agree_with_finite_differences() {
    let dense = |units| Layer::Dense { units, activation: Activation::Tanh };
    let networks: [&[Layer]; 4] =
        [&[dense(9)], &[dense(9), Layer::Gating], &[dense(9), Layer::Residual], &[]];
    let counts = [3, 0, 1, 290, 5, 260, 2];
    let (frames, numbers) = ragged(&counts);
    for (network, pooling) in networks
        .into_iter()
        .flat_map(|network| Pooling::ALL.iter().map(move |pooling| (network, *pooling)))
    {
        for video in [&[dense(4), Layer::Gating][..], &[]] {
            let model = annotator(network, pooling, video);
            let outputs = model.layers.outputs();
            let slope = |row: usize, j: usize| ((row * 5 + j * 3) % 7) as f32 / 7.0 - 0.4;
            let value = |parameters: &[f64]| -> f64 {
                let row = |(row, frames): (usize, &Vec<Vec<f64>>)| -> f64 {
                    let v = shared_reference::forward_frames(&model.layers, parameters, frames);
                    v.iter().enumerate().map(|(j, v)| v * f64::from(slope(row, j))).sum()
                };
                numbers.iter().enumerate().map(row).sum()
            };
            let exact = wide(&model.shared);
            let mut same = Vec::new();
            for instructions in Instructions::available() {
                let mut gemm = Workspace::new(instructions);
                let tape = model.forward(&mut gemm, Features::Frames(frames.clone()));
                for (row, frames) in numbers.iter().enumerate() {
                    let v = shared_reference::forward_frames(&model.layers, &exact, frames);
                    let found = wide(&tape.output().row(row)[..outputs]);
                    assert!(distance(&found, &v) < 1e-5, "{network:?} {pooling:?} row {row}");
                }
                let slopes: Vec<f32> = (0..counts.len() * outputs)
                    .map(|at| slope(at / outputs, at % outputs))
                    .collect();
                let dv = Matrix::from_rows(&slopes, outputs);
                let transposed = model.layers.transpose(&model.shared);
                let mut gradient = vec![7.0; model.layers.parameters()];
                let mut team: Vec<Workspace> =
                    (0..3).map(|_| Workspace::new(instructions)).collect();
                let team = &mut Team::new(&mut team);
                let dx = model.layers.backward(team, &transposed, tape, dv, &mut gradient);
                if !network.is_empty() {
                    let way = (&transposed, &frames, &dx);
                    model.frame_gradient(team, way.0, way.1, way.2, 0, &mut gradient);
                }
                same.push(gradient);
            }
            assert!(same.windows(2).all(|pair| pair[0] == pair[1]), "instructions differ");
            let real = model.layers.places.iter().flat_map(|place| {
                let weights = (0..place.inputs).flat_map(move |i| {
                    (0..place.outputs).map(move |output| place.weight_at(i, output))
                });
                weights.chain(place.biases().take(place.outputs))
            });
            let real: Vec<usize> = real.step_by(3).collect();
            let slope_at = |at: &usize| {
                let moved = |by: f64| {
                    let mut parameters = exact.clone();
                    parameters[*at] += by;
                    value(&parameters)
                };
                (moved(1e-5) - moved(-1e-5)) / 2e-5
            };
            let expected: Vec<f64> = real.iter().map(slope_at).collect();
            let found: Vec<f64> = real.iter().map(|at| f64::from(same[0][*at])).collect();
            let error = distance(&found, &expected);
            assert!(error < 2e-4, "{network:?} {pooling:?} {video:?}: {error}");
        }
    }
}

/// Frame-level shards through the whole program: the same bits on any ranks and threads; adding in
/// pieces and in tiles doesn't show.
#[test]
fn a_run_on_frames_has_the_same_bits_on_any_ranks_and_threads() {
    if common::without_mpi() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let arguments = "synthesize --rows 700 --classes 30 --features 20 --frames 9 --output";
    reelscale(arguments).path(&path("data")).stdout();
    let job = format!(
        "[data]\ntrain = [\"{}/*.h5\"]\nvalidation_fraction = 0.2\n\
         [model]\nframes = [{{ dense = 24 }}, {{ residual = true }}]\npooling = \"swap\"\n\
         shared = [{{ gating = true }}]\n[pretrain]\nranks = 4096\n\
              epochs = 2\nbatch = 96\nframes = 4\n\
         [experts]\nepochs = 2\nbatch = 64\n[shared]\niterations = 3\n[run]\nrow_blocks = 7\n",
        path("data").display()
    );
    std::fs::write(path("job.toml"), job).unwrap();
    let train =
        |name: &str| reelscale("train").path(&path("job.toml")).arg("--output").path(&path(name));
    let hash = |name: &str| json(&path(name).join("run.json"), "result_hash").to_string();
    train("one").arg("--set").arg("run.threads=1").stdout();
    train("threads").arg("--set").arg("run.threads=3").stdout();
    assert_eq!(hash("threads"), hash("one"), "three threads");
    train("plain").arg("--set").arg("run.kernel=plain").stdout();
    assert_eq!(hash("plain"), hash("one"), "plain kernel");
    train("ranks").arg("--comm").arg("threads=4").stdout();
    assert_eq!(hash("ranks"), hash("one"), "four thread ranks");
    train("mpi").ranks(2).stdout();
    assert_eq!(hash("mpi"), hash("one"), "mpirun -n 2");
    let losses = std::fs::read_to_string(path("one/metrics.jsonl")).unwrap();
    let shared: Vec<f64> = losses
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|event| event["step"] == "shared" && event["iteration"].is_u64())
        .map(|event| event["loss"].as_f64().unwrap())
        .collect();
    assert!(shared.len() == 6 && shared[2] < shared[0] && shared[5] < shared[3], "{shared:?}");
    let evaluate = |data: &str| {
        let command = reelscale("evaluate --format json --model").path(&path("one/model"));
        command.arg("--data").path(&path(data))
    };
    let metrics = evaluate("data/*.h5").stdout();
    assert_eq!(evaluate("data/*.h5").ranks(3).stdout(), metrics);
    let text = reelscale("inspect").path(&path("one/model")).stdout();
    assert!(text.contains("pooling swap") && text.contains("\"kind\":\"residual\""), "{text}");
    let csv = |name: &str, ranks: usize| {
        let command = reelscale("annotate --model").path(&path("one/model")).arg("--data");
        let command = command.path(&path("data/*.h5")).arg("--output").path(&path(name));
        command.ranks(ranks).stdout();
        std::fs::read_to_string(path(name)).unwrap()
    };
    let annotated = csv("a.csv", 1);
    assert!(annotated.lines().count() == 701 && annotated == csv("b.csv", 2));
    // Video-level shards aren't what this model takes.
    let arguments = "synthesize --rows 50 --classes 30 --features 20 --output";
    reelscale(arguments).path(&path("videos")).stdout();
    let text = evaluate("videos/*.h5").fails_with(4);
    assert!(text.contains("expected frames of synthetic:20"), "{text}");
}
