//! Random shared layers, there and back, beside the processor's.

use std::rc::Rc;

use crate::cases::size;
use crate::compared::Compared;
use crate::device::gpu::check::numbers;
use crate::device::gpu::layers::{Back, Layers, Scaling};
use crate::device::gpu::queue::Queue;
use crate::kernel::dense::Activation;
use crate::kernel::normalise::normalise_l2;
use crate::kernel::pooling::Pooling;
use crate::kernel::product::Workspace;
use crate::kernel::standardise::standardise;
use crate::kernel::text::calls::Start;
use crate::kernel::text::layers::Place;
use crate::kernel::vector::Instructions;
use crate::model::Matrix;
use crate::model::shared::SharedLayers;
use crate::model::spec::{Layer, Normalize, Standard};
use crate::rng::Stream;
use crate::team::Team;

type Outcome = Result<(), String>;

/// Up to three layers of random kinds.
pub fn layers(stream: &mut Stream) -> Vec<Layer> {
    use Activation::{Identity, Relu, Relu6, Sigmoid, Tanh};
    let count = stream.below(4);
    let layer = |_| match stream.below(3) {
        0 => Layer::Gating,
        1 => Layer::Residual,
        _ => Layer::Dense {
            units: size(stream, &[1, 3, 16, 17, 48, 67, 130]),
            activation: [Identity, Relu, Relu6, Sigmoid, Tanh][stream.below(5) as usize],
        },
    };
    (0..count).map(layer).collect()
}

/// Weights and biases, up to `most` / 2 and 1 / 2.
pub fn weights(stream: &mut Stream, shared: &SharedLayers, most: f32) -> Vec<f32> {
    let mut weights = vec![0.0; shared.parameters()];
    for place in &shared.places {
        for output in 0..place.outputs {
            for input in 0..place.inputs {
                weights[place.weight_at(input, output)] = most * (stream.uniform() - 0.5);
            }
            weights[place.biases().start + output] = stream.uniform() - 0.5;
        }
    }
    weights
}

/// A way to scale features, and what standardising goes by.
pub fn scaling(stream: &mut Stream, inputs: usize) -> (Normalize, Standard) {
    let scales = (0..inputs).map(|_| 0.1 + stream.uniform()).collect();
    let standard = Standard { means: numbers(stream, inputs), scales };
    let all = [Normalize::None, Normalize::L2, Normalize::Standardise];
    (all[stream.below(3) as usize], standard)
}

/// Features as the processor scales them.
pub fn scale(features: &mut Matrix, normalize: Normalize, standard: &Standard) {
    match normalize {
        Normalize::None => {}
        Normalize::L2 => normalise_l2(Instructions::detect(), features),
        Normalize::Standardise => standardise(features, &standard.means, &standard.scales),
    }
}

/// Ends of row blocks of so many rows in all, some of them empty.
pub fn bounds(stream: &mut Stream, rows: usize) -> Vec<usize> {
    let cuts = stream.below(5);
    let mut bounds: Vec<usize> =
        (0..cuts).map(|_| stream.below(rows as u64 + 1) as usize).collect();
    bounds.extend([0, rows]);
    bounds.sort_unstable();
    bounds
}

/// Rows of several row blocks to activations, and the gradient of each block.
pub fn case(queue: &Queue, stream: &mut Stream, compared: &mut Compared) -> Outcome {
    let inputs = size(stream, &[1, 7, 16, 31, 64, 100]);
    let rows = size(stream, &[0, 1, 2, 13, 37, 64, 130]);
    let own = layers(stream);
    // Where there is a network of frames the processor gives dL/d of what the others take, too.
    let pooling = Some(Pooling::Average);
    let shared = SharedLayers::on_frames(inputs, &[Layer::Gating], pooling, &own);
    // The last saturates what can be.
    let most = [0.5, 2.0, 50.0][stream.below(3) as usize];
    let weights = weights(stream, &shared, most);
    let matrix = |stream: &mut Stream, width: usize| {
        let mut matrix = Matrix::zeros(rows, width);
        for row in 0..rows {
            matrix.row_mut(row)[..width].copy_from_slice(&numbers(stream, width));
        }
        matrix
    };
    let (mut features, dv) = (matrix(stream, inputs), matrix(stream, shared.outputs()));
    let (normalize, standard) = scaling(stream, inputs);
    let case = format!("{rows} x {inputs}, {own:?}, {normalize:?}, weights {most}");

    let places = (inputs, shared.video_network());
    let first = places.1.first().map_or(weights.len(), |place| place.start);
    let scaling = Scaling::of(queue, normalize, Some(&standard))?;
    let device_weights = Rc::new(queue.upload(&weights)?);
    let back = [Back::Nothing, Back::Slopes][stream.below(2) as usize];
    let device = Layers::new(queue, places, scaling, device_weights, back);
    let tape = device.forward(rows, queue.upload(&features.data)?)?;
    scale(&mut features, normalize, &standard);
    let mut gemm = Workspace::new(Instructions::detect());
    let team = &mut Team::alone(&mut gemm);
    let host = shared.forward(team, &weights, features.clone()).into_output().data;
    compared.floats("activations", &case, &host, &tape.output().read(0, host.len())?);

    let (slopes, room) = (queue.upload(&dv.data)?, device.room(rows)?);
    let (turned, gradient) = (shared.transpose(&weights), queue.make(4 * weights.len())?);
    for ends in bounds(stream, rows).windows(2) {
        let own = ends[0]..ends[1];
        let mut host = vec![f32::NAN; weights.len()];
        let dv_here = Place { buffer: slopes.buffer(), from: own.start * dv.stride() };
        device.backward(&tape, &own, dv_here, &room, (&gradient, Start::Zero))?;
        let found: Vec<f32> = gradient.read(0, weights.len())?;
        let part = |all: &Matrix| {
            let mut part = Matrix::zeros(own.len(), all.width());
            part.data.copy_from_slice(all.run(own.clone()));
            part
        };
        let tape = shared.forward(team, &weights, part(&features));
        let dx = shared.backward(team, &turned, tape, part(&dv), &mut host);
        compared.floats("gradient of shared layers", &case, &host[first..], &found[first..]);
        if back == Back::Slopes && !shared.video_network().is_empty() {
            let found = room.0[0].read(0, dx.data.len())?;
            compared.floats("slopes of shared layers", &case, &dx.data, &found);
        }
    }
    Ok(())
}
