//! Calls of what `model/` does.

use std::sync::Arc;

use reelscale::Annotator;
use reelscale::internals::example::FeaturePart;
use reelscale::internals::kernel::matrix::Matrix;
use reelscale::internals::kernel::product::Workspace;
use reelscale::internals::model::annotator::Shape;
use reelscale::internals::model::bounds::FeatureBounds;
use reelscale::internals::model::experts::{Experts, Rule, layouts};
use reelscale::internals::model::features::{Features, FrameForm, Frames};
use reelscale::internals::model::initial;
use reelscale::internals::model::shared::{LayerPlace, SharedLayers, Tape, reference};
use reelscale::internals::model::spec::{Layer, Normalize, Standard};
use reelscale::internals::partition::Owners;
use reelscale::internals::rng::{Purpose, Stream};
use reelscale::internals::team::Team;

use super::Calls;
use super::draws::Draws;

pub fn call_all(draws: &mut Draws, calls: &mut Calls) {
    features(draws, calls);
    shared(draws, calls);
    references(draws, calls);
    experts(draws, calls);
    scaling(draws, calls);
    annotators(draws, calls);
}

fn some_frames(draws: &mut Draws, rows: usize, width: usize) -> Frames {
    let mut frames = Frames::new(width);
    for _ in 0..draws.length(rows) {
        let count = draws.below(4) * width;
        let bytes = draws.bytes(count);
        // A row of a broken frame may be refused.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            frames.push(&bytes, [0.01, -1.0]);
        }));
    }
    frames
}

fn features(draws: &mut Draws, calls: &mut Calls) {
    let (rows, width) = (draws.small(), 1 + draws.small());
    let (row, kernel) = (draws.near(rows / 2), draws.instructions());
    let end = draws.near(rows);
    let mut frames = some_frames(draws, rows, width);
    let bytes = draws.bytes(3 * width);
    calls.make("model::features::new", || Frames::new(draws.near(width)));
    calls.make("model::features::rows", || frames.rows());
    calls.make("model::features::push", || frames.push(&bytes, [1.0, 0.0]));
    let (number, first) = (1 << draws.below(4), 1 + draws.below(2 * width));
    let runs = vec![(first, [1.0, 0.0]), (width, [2.0, 1.0])];
    calls.make("model::features::of_bytes", || FrameForm::of_bytes(first));
    calls.make("model::features::of", || Frames::of(FrameForm::of_bytes(draws.near(width))).rows());
    calls.make("model::features::of_all", || {
        let form = FrameForm::of_all(width, [(number, runs.clone())].into_iter());
        let mut frames = Frames::of(form);
        frames.push_stored(&bytes, &[[1.0, 0.0], [2.0, 1.0]]);
        frames.numbers(kernel, &(0..1))
    });
    calls.make("model::features::push_stored", || frames.push_stored(&bytes, &[]));
    calls.make("model::features::stored", || frames.stored(row).1.len());
    calls.make("model::features::bytes", || frames.bytes(row).0.len());
    calls.make("model::features::counts", || frames.counts(&(row..end)));
    calls.make("model::features::tiles", || frames.tiles().count());
    calls.make("model::features::numbers", || frames.numbers(kernel, &(row..end)));
    let videos = draws.matrix(rows, width);
    let mut kinds = [Features::Videos(videos.clone()), Features::Frames(frames.clone())];
    let others = [Features::Frames(frames), Features::Videos(videos)];
    for (own, other) in kinds.iter_mut().zip(others) {
        let other = if draws.below(4) == 0 { other } else { own.clone() };
        calls.make("model::features::rows", || own.rows());
        calls.make("model::features::push", || own.push(&other, row));
        // The one size that is only asked for: what can't be counted, or is there.
        calls.make("model::features::reserve", || own.reserve(row));
        let stream = |row: usize| Stream::new(1, Purpose::FrameSample, row as u64);
        let count = draws.small();
        calls.make("model::features::sampled", || own.clone().sampled(count, stream));
        calls.make("model::features::append", || own.append(other));
    }
}

/// Layers of a few units; one in three has been tampered with.
fn some_layers(draws: &mut Draws) -> (SharedLayers, Vec<f32>) {
    let some =
        |draws: &mut Draws| -> Vec<Layer> { (0..draws.below(3)).map(|_| draws.layer()).collect() };
    let (frames, layers) = (some(draws), some(draws));
    let pooling = Some(draws.pooling());
    let mut layers = SharedLayers::on_frames(1 + draws.small(), &frames, pooling, &layers);
    let count = layers.parameters();
    let parameters = draws.numbers(count);
    let places = layers.places.len();
    if places > 0 && draws.below(3) == 0 {
        let place = draws.below(places);
        match draws.below(5) {
            0 => layers.places[place].inputs = draws.small(),
            1 => layers.places[place].outputs = draws.small(),
            2 => layers.places[place].start = draws.near(16),
            3 => layers.inputs = draws.near(layers.inputs),
            _ => layers.places.swap(0, places - 1),
        }
    }
    (layers, parameters)
}

fn places(draws: &mut Draws, calls: &mut Calls, layers: &SharedLayers, parameters: &[f32]) {
    for place in &layers.places {
        let odd = LayerPlace { inputs: draws.near(place.inputs), ..place.clone() };
        let (input, output) = (draws.near(1), draws.near(2));
        calls.make("model::shared::panels", || odd.panels());
        calls.make("model::shared::weights", || odd.weights());
        calls.make("model::shared::biases", || odd.biases());
        calls.make("model::shared::of", || odd.of(parameters).panels());
        calls.make("model::shared::weight_at", || odd.weight_at(input, output));
    }
    calls.make("model::shared::frame_network", || layers.frame_network().len());
    calls.make("model::shared::pooled", || layers.pooled());
    calls.make("model::shared::frame_tape_width", || layers.frame_tape_width());
    calls.make("model::shared::outputs", || layers.outputs());
    calls.make("model::shared::parameters", || layers.parameters());
    calls.make("model::shared::tape_width", || layers.tape_width());
    calls.make("model::shared::odd_layer", || layers.odd_layer(parameters));
}

fn shared(draws: &mut Draws, calls: &mut Calls) {
    let (inputs, units) = (draws.near(5), draws.near(7));
    let activation = draws.activation();
    let layer = Layer::Dense { units, activation };
    calls.make("model::shared::new", || SharedLayers::new(inputs, &[layer, Layer::Gating]));
    let pooling = (draws.below(3) > 0).then(|| draws.pooling());
    calls.make("model::shared::on_frames", || {
        SharedLayers::on_frames(inputs, &[layer], pooling, &[layer])
    });
    let (layers, parameters) = some_layers(draws);
    places(draws, calls, &layers, &parameters);
    let rows = draws.small();
    let kernel = draws.instructions();
    let mut team: Vec<Workspace> =
        (0..1 + draws.below(3)).map(|_| Workspace::new(kernel)).collect();
    let team = &mut Team::new(&mut team);
    let turned: Vec<Vec<f32>> = layers
        .places
        .iter()
        .map(|place| draws.numbers(place.inputs.next_multiple_of(16).min(99) * 48))
        .collect();
    calls.make("model::shared::transpose", || layers.transpose(&parameters));
    let (mut gradient, seed) = (draws.numbers(parameters.len()), draws.below(9) as u64);
    let widths = [layers.inputs.min(99), layers.pooled().min(99)];
    let [x, pooled] = widths.map(|width| draws.matrix(rows, width));
    let mut tapes = [Tape::default(), Tape::default()];
    calls.make("model::shared::forward_frames", || {
        tapes[0] = layers.forward_frames(team, &parameters, x);
    });
    calls.make("model::shared::forward", || {
        tapes[1] = layers.forward(team, &parameters, pooled);
    });
    let [of_frames, of_videos] = tapes;
    calls.make("model::shared::output", || of_videos.output().rows());
    calls.make("model::shared::into_output", || of_videos.clone().into_output());
    let slopes = [layers.pooled().min(99), layers.outputs().min(99)];
    let [dy, dv] = slopes.map(|width| draws.matrix(rows, width));
    let transposed = layers_turned(draws, &layers, &parameters, turned);
    calls.make("model::shared::backward", || {
        layers.backward(team, &transposed, of_videos, dv, &mut gradient)
    });
    calls.make("model::shared::backward_frames", || {
        layers.backward_frames(team, &transposed, of_frames, dy, &mut gradient);
    });
    if layers.places.iter().all(|place| place.start < 1 << 16) {
        calls.make("model::initial::shared", || initial::shared(&layers, seed));
    }
}

/// The layers' weights turned, or where they can't be or by chance numbers that may not fit.
fn layers_turned(
    draws: &mut Draws,
    layers: &SharedLayers,
    parameters: &[f32],
    otherwise: Vec<Vec<f32>>,
) -> Vec<Vec<f32>> {
    let turn = std::panic::AssertUnwindSafe(|| layers.transpose(parameters));
    match draws.below(4) {
        0 => otherwise,
        _ => std::panic::catch_unwind(turn).unwrap_or(otherwise),
    }
}

fn references(draws: &mut Draws, calls: &mut Calls) {
    let (layers, parameters) = some_layers(draws);
    let parameters = draws.wide(parameters.len());
    let (x, dv) = (draws.wide(layers.inputs.min(99)), draws.wide(layers.outputs()));
    let mut gradient = draws.wide(parameters.len());
    calls
        .make("model::shared::reference::forward", || reference::forward(&layers, &parameters, &x));
    calls.make("model::shared::reference::forward_frames", || {
        reference::forward_frames(&layers, &parameters, &[x.clone(), x.clone()])
    });
    calls.make("model::shared::reference::through", || {
        reference::through(&layers.places, &parameters, &x)
    });
    calls.make("model::shared::reference::backward", || {
        reference::backward(&layers, &parameters, &x, &dv, &mut gradient);
    });
}

fn experts(draws: &mut Draws, calls: &mut Calls) {
    let (count, width) = (1 + draws.small(), 1 + draws.small());
    let counts: Vec<usize> = (0..count).map(|_| draws.below(4).max(1)).collect();
    let odd: Vec<usize> = counts.iter().map(|count| draws.near(*count)).collect();
    let (dummy, blocks) = (draws.dummy(), draws.small());
    let [max, positives_per_expert] = [draws.near(4), draws.near(10)];
    let positives = [3, 0, u64::MAX];
    let rule = Rule::Adaptive { positives_per_expert: positives_per_expert as u64, max };
    calls.make("model::experts::counts", || rule.counts(&positives));
    calls.make("model::experts::layouts", || layouts(&odd, dummy, draws.near(width), blocks));
    let cut = layouts(&counts, dummy, width, blocks);
    let seed = draws.below(9) as u64;
    let others = Owners::even(draws.length(cut.len()), 1 + draws.below(2), 0);
    calls.make("model::experts::new", || Experts::new(cut.clone(), others.clone(), seed, 1));
    let layout = draws.layout();
    if layout.panels < 1 << 16
        && layout.width < 1 << 16
        && layout.groups.iter().all(|group| group.gates < 1 << 16 && group.experts < 1 << 16)
    {
        let columns = draws.near(30);
        calls.make("model::initial::experts", || initial::experts(&layout, columns, seed, 1));
    }
    let (positives, rows) = (draws.near(3), draws.near(9));
    calls.make("model::initial::log_odds", || initial::log_odds(positives as u64, rows));
    let alone = Owners::even(cut.len(), 1, 0);
    let mut experts = Experts::new(cut, alone, seed, 1);
    let biases = draws.numbers(count);
    if draws.below(3) == 0 {
        match draws.below(4) {
            0 => experts.owners = others,
            1 => drop(experts.layouts.pop()),
            2 => drop(experts.parameters.pop()),
            _ => experts.parameters[0] = Arc::new(draws.numbers(77)),
        }
    }
    calls.make("model::experts::set_biases", || experts.set_biases(&biases));
    calls.make("model::experts::own", || experts.own());
    calls.make("model::experts::own_layouts", || experts.own_layouts().len());
    calls.make("model::experts::classes", || experts.classes());
    calls.make("model::experts::width", || experts.width());
    calls.make("model::experts::counts", || experts.counts());
    let block = draws.near(1);
    calls.make("model::experts::block", || experts.block(block).parameters.len());
    calls.make("model::experts::odd_class", || experts.odd_class());
    calls.make("model::experts::bytes", || experts.bytes());
}

fn scaling(draws: &mut Draws, calls: &mut Calls) {
    let width = draws.small();
    let standard = Standard { means: draws.numbers(width), scales: draws.numbers(width) };
    let normalize = draws.one_of(&[Normalize::L2, Normalize::Standardise, Normalize::None]);
    let (sums, squares, row) = (draws.wide(width), draws.wide(width), draws.numbers(width));
    let wide = draws.near(width);
    calls.make("model::spec::units", || draws.layer().units());
    calls.make("model::spec::from_sums", || Standard::from_sums(0.0, &sums, &squares));
    calls.make("model::spec::fault", || standard.fault(wide));
    calls.make("model::bounds::none", FeatureBounds::none);
    calls.make("model::bounds::new", || FeatureBounds::new(normalize, Some(&standard), wide));
    let bounds = FeatureBounds::new(normalize, Some(&standard), width);
    calls.make("model::bounds::too_large", || bounds.too_large(&row));
}

fn annotators(draws: &mut Draws, calls: &mut Calls) {
    let (layers, shared) = some_layers(draws);
    let rows = draws.small();
    let normalize = draws.one_of(&[Normalize::L2, Normalize::Standardise, Normalize::None]);
    let width = layers.inputs.min(99);
    let standard = Standard { means: draws.numbers(width), scales: draws.numbers(width) };
    let part = |size| FeaturePart { name: "synthetic".into(), size };
    let shape = Shape {
        parts: vec![part(draws.near(width)), part(draws.near(3))],
        class_count: draws.near(20),
        normalize,
        standard: (draws.below(4) > 0).then_some(standard),
        frames: (0..draws.below(3)).map(|_| draws.layer()).collect(),
        pooling: (draws.below(2) == 0).then(|| draws.pooling()),
        layers: vec![Layer::Dense { units: draws.near(5), activation: draws.activation() }],
        dummy: draws.dummy(),
        epsilon: draws.number(),
        class_blocks: draws.near(3),
    };
    calls.make("model::annotator::features", || shape.features());
    calls.make("model::annotator::outputs", || shape.outputs());
    calls.make("model::annotator::shared_numbers", || shape.shared_numbers());
    calls.make("model::annotator::fault", || shape.fault());
    calls.make("model::annotator::shared_layers", || shape.shared_layers());
    let experts = Experts { layouts: vec![], owners: Owners::even(0, 1, 0), parameters: vec![] };
    let transposed = layers_turned(draws, &layers, &shared, vec![]);
    let mut gradient = draws.numbers(shared.len());
    let dv = draws.matrix(rows, layers.pooled().min(99));
    let model = Annotator { shape, layers, shared, experts, names: None };
    let kernel = draws.instructions();
    let mut team: Vec<Workspace> =
        (0..1 + draws.below(3)).map(|_| Workspace::new(kernel)).collect();
    let gemm = &mut team[0];
    let frames = some_frames(draws, rows, width.max(1));
    let videos: Matrix = draws.matrix(rows, model.layers.pooled().min(99));
    let features = [Features::Videos(videos), Features::Frames(frames.clone())];
    for features in features {
        calls.make("model::annotator::input", || model.input(gemm, features.clone()));
        calls.make("model::annotator::forward", || model.forward(gemm, features));
    }
    let from = draws.near(0);
    calls.make("model::annotator::frame_gradient", || {
        let team = &mut Team::new(&mut team);
        model.frame_gradient(team, &transposed, &frames, &dv, from, &mut gradient);
    });
}
