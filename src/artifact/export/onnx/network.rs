//! From features to activations (docs/method.md, section 2), as nodes.

use super::graph::{Graph, Holds, Number, Side};
use crate::artifact::export::source::Source;
use crate::artifact::files::weights_of;
use crate::error::{Error, Result};
use crate::model::features::FRAMES_MAX;
use crate::model::shared::LayerPlace;
use crate::model::spec::{Activation, Layer, Normalize, Pooling};

/// The rows of a batch.
pub(super) const BATCH: Side = Side::Any("batch");

/// Adds what makes activations [batch, d] of the inputs; returns their name.
///
/// # Errors
/// Exit 2: no node pools frames as this model does.
pub(super) fn activations(graph: &mut Graph, source: &Source) -> Result<String> {
    let (shape, layers) = (&source.shape, source.shape.shared_layers());
    let features = Side::Fixed(shape.features());
    let pooled = match shape.pooling {
        None => {
            graph.input("features", Number::Float, &[BATCH, features]);
            normalised(graph, source, "features")
        }
        Some(pooling) => {
            graph.input("frames", Number::Float, &[BATCH, Side::Any("frame"), features]);
            graph.input("counts", Number::Whole, &[BATCH]);
            let mut frames = normalised(graph, source, "frames");
            for (index, place) in layers.frame_network().iter().enumerate() {
                frames = layer(graph, source, (&format!("frames.{index}"), place), &frames);
            }
            pool(graph, pooling, &frames)?
        }
    };
    let network = layers.video_network().iter().enumerate();
    Ok(network.fold(pooled, |x, (index, place)| {
        layer(graph, source, (&format!("layers.{index}"), place), &x)
    }))
}

fn normalised(graph: &mut Graph, source: &Source, x: &str) -> String {
    match (source.shape.normalize, &source.shape.standard) {
        (Normalize::L2, _) => {
            let axes: &[_] = &[("axes", &[-1][..]), ("keepdims", &[1])];
            let squares = graph.node_with("ReduceSumSquare", &[x], axes);
            let least = graph.number(1e-12);
            let squares = graph.node("Max", &[&squares, &least]);
            let length = graph.node("Sqrt", &[&squares]);
            graph.node("Div", &[x, &length])
        }
        (Normalize::Standardise, Some(standard)) => {
            let sides = [standard.means.len()];
            let [means, scales] = [("means", &standard.means), ("scales", &standard.scales)]
                .map(|(name, numbers)| (format!("standard.{name}"), numbers.clone()))
                .map(|(name, numbers)| graph.weights(&name, &sides, Holds::Numbers(numbers)));
            let distance = graph.node("Sub", &[x, &means]);
            graph.node("Mul", &[&distance, &scales])
        }
        (Normalize::Standardise, None) => panic!("a standard to go by"),
        (Normalize::None, _) => x.into(),
    }
}

fn layer(
    graph: &mut Graph,
    source: &Source,
    (name, place): (&str, &LayerPlace),
    x: &str,
) -> String {
    let (weights, biases) = weights_of(place, &source.shared);
    let sides = [place.inputs, place.outputs];
    let weights = graph.weights(&format!("{name}.weights"), &sides, Holds::Numbers(weights));
    let biases = graph.weights(&format!("{name}.biases"), &sides[1..], Holds::Numbers(biases));
    let z = graph.node("MatMul", &[x, &weights]);
    let z = graph.node("Add", &[&z, &biases]);
    match place.layer {
        Layer::Dense { activation, .. } => match activation {
            Activation::Identity => z,
            Activation::Relu => graph.node("Relu", &[&z]),
            Activation::Relu6 => {
                let bounds = [graph.number(0.0), graph.number(6.0)];
                graph.node("Clip", &[&z, &bounds[0], &bounds[1]])
            }
            Activation::Sigmoid => graph.node("Sigmoid", &[&z]),
            Activation::Tanh => graph.node("Tanh", &[&z]),
        },
        Layer::Gating => {
            let gate = graph.node("Sigmoid", &[&z]);
            graph.node("Mul", &[x, &gate])
        }
        Layer::Residual => {
            let added = graph.node("Relu", &[&z]);
            graph.node("Add", &[x, &added])
        }
    }
}

/// Pools `frames` [batch, frame, F] over the frames that count to [batch, F].
fn pool(graph: &mut Graph, pooling: Pooling, frames: &str) -> Result<String> {
    let (first, second) = (graph.whole_numbers(&[1]), graph.whole_numbers(&[2]));
    let there = graph.node_with("Shape", &["frames"], &[("start", &[1]), ("end", &[2])]);
    let most = graph.whole_numbers(&[FRAMES_MAX as i64]);
    let none = graph.whole_numbers(&[0]);
    let counts = graph.node("Min", &["counts", &most, &there]);
    let counts = graph.node("Max", &[&counts, &none]);
    let counts = graph.node("Unsqueeze", &[&counts, &first]);
    let (zero, one) = (graph.whole_number(0), graph.whole_number(1));
    let there = graph.node("Squeeze", &[&there]);
    let numbers = graph.node("Range", &[&zero, &there, &one]);
    let mask = graph.node("Less", &[&numbers, &counts]);
    let mask = graph.node("Unsqueeze", &[&mask, &second]);
    let some = graph.node("Greater", &[&counts, &none]);
    let counts = graph.node_with("Cast", &[&counts], &[("to", &[Number::Float as i64])]);
    let one = graph.number(1.0);
    let divisor = graph.node("Max", &[&counts, &one]);

    // What stands behind a video's frames may be anything.
    let zero = graph.number(0.0);
    let filling =
        if pooling == Pooling::Max { graph.number(f32::NEG_INFINITY) } else { zero.clone() };
    let x = graph.node("Where", &[&mask, frames, &filling]);
    let sum = |graph: &mut Graph, x: &str| {
        graph.node_with("ReduceSum", &[x, &first], &[("keepdims", &[0])])
    };
    // By name: a pooling that is new to this list is refused.
    Ok(match pooling.name() {
        "average" => {
            let sum = sum(graph, &x);
            graph.node("Div", &[&sum, &divisor])
        }
        "l2" => {
            let squares = graph.node("Mul", &[&x, &x]);
            let sum = sum(graph, &squares);
            let mean = graph.node("Div", &[&sum, &divisor]);
            graph.node("Sqrt", &[&mean])
        }
        "max" => {
            let axes: &[_] = &[("axes", &[1][..]), ("keepdims", &[0])];
            let largest = graph.node_with("ReduceMax", &[&x], axes);
            graph.node("Where", &[&some, &largest, &zero])
        }
        "swap" => {
            let weights = graph.node("Abs", &[&x]);
            let weighted = graph.node("Mul", &[&x, &weights]);
            let (sum, weights) = (sum(graph, &weighted), sum(graph, &weights));
            // Where weights add up to less, their squares add up to 0.
            let least = graph.number(f32::MIN_POSITIVE);
            let weights = graph.node("Max", &[&weights, &least]);
            graph.node("Div", &[&sum, &weights])
        }
        other => {
            let error = Error::usage(format!("--to onnx: the pooling {other:?} has no nodes"));
            return Err(error.hint("--to safetensors or --to numpy"));
        }
    })
}
