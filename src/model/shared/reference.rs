//! The plain twin of the shared layers: float64, one row and one output at a time.

use super::{LayerPlace, SharedLayers};
use crate::kernel::pooling::reference::pool;
use crate::model::spec::{Activation, Layer};

fn activate(activation: Activation, z: f64) -> f64 {
    match activation {
        Activation::Identity => z,
        Activation::Relu => z.max(0.0),
        Activation::Relu6 => z.clamp(0.0, 6.0),
        Activation::Sigmoid => 1.0 / (1.0 + (-z).exp()),
        Activation::Tanh => z.tanh(),
    }
}

/// df/dz, given z.
fn slope(activation: Activation, z: f64) -> f64 {
    let y = activate(activation, z);
    match activation {
        Activation::Identity => 1.0,
        Activation::Relu => f64::from(z > 0.0),
        Activation::Relu6 => f64::from(z > 0.0 && z < 6.0),
        Activation::Sigmoid => y * (1.0 - y),
        Activation::Tanh => 1.0 - y * y,
    }
}

/// z = W x + b of one row.
fn product(place: &LayerPlace, parameters: &[f64], x: &[f64]) -> Vec<f64> {
    (0..place.outputs)
        .map(|output| {
            let bias = parameters[place.biases().start + output];
            let weight = |input: usize| parameters[place.weight_at(input, output)];
            bias + (0..place.inputs).map(|input| x[input] * weight(input)).sum::<f64>()
        })
        .collect()
}

/// v of one row.
pub fn forward(layers: &SharedLayers, parameters: &[f64], features: &[f64]) -> Vec<f64> {
    through(&layers.places, parameters, features)
}

/// v of one row of frames.
pub fn forward_frames(layers: &SharedLayers, parameters: &[f64], frames: &[Vec<f64>]) -> Vec<f64> {
    let network = layers.frame_network();
    let outputs: Vec<_> = frames.iter().map(|x| through(network, parameters, x)).collect();
    let pooling = layers.pooling.expect("layers on frames");
    let element = |j: usize| pool(pooling, &outputs.iter().map(|x| x[j]).collect::<Vec<_>>());
    let pooled: Vec<f64> = (0..layers.pooled()).map(element).collect();
    through(&layers.places[network.len()..], parameters, &pooled)
}

/// What `places` make of one row.
pub fn through(places: &[LayerPlace], parameters: &[f64], features: &[f64]) -> Vec<f64> {
    places.iter().fold(features.to_vec(), |x, place| {
        let z = product(place, parameters, &x);
        match place.layer {
            Layer::Dense { activation, .. } => z.iter().map(|z| activate(activation, *z)).collect(),
            Layer::Gating => {
                x.iter().zip(z).map(|(x, z)| x * activate(Activation::Sigmoid, z)).collect()
            }
            Layer::Residual => {
                x.iter().zip(z).map(|(x, z)| x + activate(Activation::Relu, z)).collect()
            }
        }
    })
}

/// Adds the gradient of one row, given dL/dv, to `gradient`.
pub fn backward(
    layers: &SharedLayers,
    parameters: &[f64],
    features: &[f64],
    dv: &[f64],
    gradient: &mut [f64],
) {
    let inputs: Vec<Vec<f64>> = (0..layers.places.len())
        .map(|count| through(&layers.places[..count], parameters, features))
        .collect();
    let mut dy = dv.to_vec();
    for (place, x) in layers.places.iter().zip(&inputs).rev() {
        let z = product(place, parameters, x);
        let mut dx = vec![0.0; place.inputs];
        for output in 0..place.outputs {
            let dz = match place.layer {
                Layer::Dense { activation, .. } => dy[output] * slope(activation, z[output]),
                Layer::Gating => {
                    dx[output] += dy[output] * activate(Activation::Sigmoid, z[output]);
                    dy[output] * x[output] * slope(Activation::Sigmoid, z[output])
                }
                Layer::Residual => {
                    dx[output] += dy[output];
                    dy[output] * slope(Activation::Relu, z[output])
                }
            };
            gradient[place.biases().start + output] += dz;
            for input in 0..place.inputs {
                gradient[place.weight_at(input, output)] += dz * x[input];
                dx[input] += dz * parameters[place.weight_at(input, output)];
            }
        }
        dy = dx;
    }
}
