//! Initial values: Glorot uniform weights, zero biases (docs/method.md, sections 2.5 and 3.4).
//!
//! Every class draws from a stream of its own and every shared layer from its own, so that nothing
//! depends on how classes are cut into blocks or dealt to ranks.

use super::shared::SharedLayers;
use super::spec::Layer;
use crate::kernel::functions::log;
use crate::kernel::mixture::layout::Layout;
use crate::rng::{Purpose, Stream};

/// Uniform in +-sqrt(6 / (fan_in + fan_out)).
fn glorot(fan_in: usize, fan_out: usize) -> f32 {
    (6.0 / (fan_in + fan_out) as f64).sqrt() as f32
}

fn symmetric(stream: &mut Stream, limit: f32) -> f32 {
    (2.0 * stream.uniform() - 1.0) * limit
}

/// New parameters of the shared layers. A dense layer that is the first on frames draws with the
/// variance 1 / D, every other one from Glorot's interval.
pub fn shared(layers: &SharedLayers, seed: u64) -> Vec<f32> {
    let mut parameters = vec![0.0; layers.parameters()];
    for (index, place) in layers.places.iter().enumerate() {
        let mut stream = Stream::new(seed, Purpose::SharedLayers, index as u64);
        let limit = glorot(place.inputs, place.outputs);
        let projects = index == 0
            && !layers.frame_network().is_empty()
            && matches!(place.layer, Layer::Dense { .. });
        let deviation = 1.0 / (place.inputs as f32).sqrt();
        let mut draw = || match projects {
            true => stream.normal() * deviation,
            false => symmetric(&mut stream, limit),
        };
        for output in 0..place.outputs {
            for input in 0..place.inputs {
                parameters[place.weight_at(input, output)] = draw();
            }
        }
    }
    parameters
}

/// New parameters of one class block. `columns` is the number of real columns (gates and experts)
/// of all K classes; `generation` is 0 for pretraining and r for round r.
pub fn experts(layout: &Layout, columns: usize, seed: u64, generation: u64) -> Vec<f32> {
    let mut parameters = layout.empty_parameters();
    let limit = glorot(layout.width, columns);
    let mut stream = Stream::new(seed, Purpose::Experts, 0);
    let mut current = None;
    for (class, _, panel, lane) in layout.real_columns() {
        if current != Some(class) {
            let name = generation << 32 | (layout.classes.start + class) as u64;
            stream = Stream::new(seed, Purpose::Experts, name);
            current = Some(class);
        }
        for k in 0..layout.width {
            parameters[layout.weight_at(panel, lane, k)] = symmetric(&mut stream, limit);
        }
    }
    parameters
}

/// The log odds of a class that `positives` of `rows` rows have, with half a row added to both
/// sides so that it stays finite; as f32, from our own logarithm, whose bits are the same anywhere.
pub fn log_odds(positives: u64, rows: usize) -> f32 {
    let (with, without) = (positives as f32 + 0.5, (rows as u64 - positives) as f32 + 0.5);
    log(with) - log(without)
}
