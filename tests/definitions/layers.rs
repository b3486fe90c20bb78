//! Dense layers, gating and residual blocks, one by one and as a model runs them.

use reelscale::internals::kernel::dense::{self, Activation, Back, Gradient, Weights};
use reelscale::internals::kernel::matrix::Matrix;
use reelscale::internals::kernel::mixture::transpose_panels;
use reelscale::internals::kernel::product::Workspace;
use reelscale::internals::kernel::vector::{Instructions, LANES};
use reelscale::internals::kernel::{gating, residual};
use reelscale::internals::model::shared::{LayerPlace, SharedLayers};
use reelscale::internals::model::spec::Layer;
use reelscale::internals::team::Team;

use super::draws::Draws;
use super::{cases, kernels, same};

const ACTIVATIONS: [Activation; 5] = [
    Activation::Identity,
    Activation::Relu,
    Activation::Relu6,
    Activation::Sigmoid,
    Activation::Tanh,
];

/// y of one row by definition, and what a gating layer or a residual block keeps of it.
fn defined_forward(layer: Layer, weights: Weights, x: &[f32]) -> (Vec<f32>, Vec<f32>) {
    match layer {
        Layer::Dense { activation, .. } => {
            (dense::definition::forward(weights, activation, x), vec![])
        }
        Layer::Gating => gating::definition::forward(weights, x),
        Layer::Residual => residual::definition::forward(weights, x),
    }
}

/// dL/dx of one row by definition; adds to the layer's gradient.
fn defined_backward(
    layer: Layer,
    weights: Weights,
    [x, y, kept, dy]: [&[f32]; 4],
    gradient: &mut [f32],
) -> Vec<f32> {
    let (by_weight, by_bias) = gradient.split_at_mut(weights.weights.len());
    match layer {
        Layer::Dense { activation, .. } => {
            dense::definition::backward(weights, activation, [x, y, dy], by_weight, by_bias)
        }
        Layer::Gating => gating::definition::backward(weights, [x, kept, dy], by_weight, by_bias),
        Layer::Residual => {
            residual::definition::backward(weights, [x, kept, dy], by_weight, by_bias)
        }
    }
}

fn some_layer(draws: &mut Draws) -> Layer {
    match draws.below(7) {
        0 => Layer::Gating,
        1 => Layer::Residual,
        kind => Layer::Dense { units: draws.some(), activation: ACTIVATIONS[kind - 2] },
    }
}

/// Parameters whose filling is 0.
fn some_parameters(draws: &mut Draws, layers: &SharedLayers, size: f32) -> Vec<f32> {
    let mut parameters = vec![0.0; layers.parameters()];
    for place in &layers.places {
        for output in 0..place.outputs {
            for input in 0..place.inputs {
                parameters[place.weight_at(input, output)] = draws.number(size);
            }
            parameters[place.biases().start + output] = draws.number(size);
        }
    }
    parameters
}

/// All instructions, each with a thread alone and with teams of two, three and up to seventeen.
fn kernels_and_teams(case: u64) -> impl Iterator<Item = (Instructions, usize)> {
    let teams = [1, 2, 3, 4 + case as usize % 14];
    kernels().into_iter().flat_map(move |kernel| teams.map(|members| (kernel, members)))
}

fn members_of(kernel: Instructions, members: usize) -> Vec<Workspace> {
    (0..members).map(|_| Workspace::new(kernel)).collect()
}

#[test]
fn single_layers_are_their_definition() {
    for case in 0..cases(150) {
        let mut draws = Draws::new(case);
        let (inputs, layer) = (draws.some(), some_layer(&mut draws));
        let layers = SharedLayers::new(inputs, &[layer]);
        let place = &layers.places[0];
        let rows = draws.far(115);
        let size = draws.one_of(&[1.0, 1e4]);
        let parameters = some_parameters(&mut draws, &layers, size);
        let weights = place.of(&parameters);
        let x = draws.matrix(rows, inputs, 1.0);
        let dy = draws.matrix(rows, place.outputs, 1.0);
        let before = draws.numbers(parameters.len(), 1.0);
        let turned = transpose_panels(weights.weights, inputs, weights.panels());
        for (kernel, members) in kernels_and_teams(case) {
            let what = || {
                format!("case {case}: {layer:?} of {inputs}, {rows} rows, {kernel:?} x {members}")
            };
            let mut team = members_of(kernel, members);
            let team = &mut Team::new(&mut team);
            let (y, kept) = match layer {
                Layer::Dense { activation, .. } => {
                    (dense::forward(team, weights, activation, &x), Matrix::default())
                }
                Layer::Gating => gating::forward(team, weights, &x),
                Layer::Residual => residual::forward(team, weights, &x),
            };
            for whole in [true, false] {
                let mut gradient = before.clone();
                let (by_weight, by_bias) = gradient.split_at_mut(weights.weights.len());
                let back = Back {
                    gradient: Gradient { weights: by_weight, biases: by_bias },
                    transposed: whole.then_some(&turned[..]),
                };
                let dx = match layer {
                    Layer::Dense { activation, .. } => {
                        dense::backward(team, activation, &x, &y, dy.clone(), back)
                    }
                    Layer::Gating => gating::backward(team, &x, &kept, dy.clone(), back),
                    Layer::Residual => residual::backward(team, &x, &kept, dy.clone(), back),
                };
                let mut expected = before.clone();
                for row in 0..rows {
                    let x = x.row(row);
                    let (y_row, kept_row) = defined_forward(layer, weights, x);
                    same(y.row(row), &y_row, &|| format!("y, {}", what()));
                    let numbers = [x, &y_row, &kept_row, dy.row(row)];
                    let dx_row = defined_backward(layer, weights, numbers, &mut expected);
                    if whole {
                        same(dx.row(row), &dx_row, &|| format!("dx, {}", what()));
                    }
                }
                same(&gradient, &expected, &|| format!("gradient, {}", what()));
            }
        }
    }
}

/// One row through all layers and back by definition; adds to the gradient, returns y and dL/dx.
fn defined_network(
    places: &[LayerPlace],
    parameters: &[f32],
    x: &[f32],
    dv: &[f32],
    gradient: &mut [f32],
) -> [Vec<f32>; 2] {
    let Some((place, rest)) = places.split_first() else { return [x.to_vec(), dv.to_vec()] };
    let weights = place.of(parameters);
    let (y, kept) = defined_forward(place.layer, weights, x);
    let [v, dy] = defined_network(rest, parameters, &y, dv, gradient);
    let own = &mut gradient[place.start..place.biases().end];
    [v, defined_backward(place.layer, weights, [x, &y, &kept, &dy], own)]
}

/// Frame layers, whose gradient with respect to their input is whole, too.
#[test]
fn networks_are_their_definition() {
    for case in 0..cases(60) {
        let mut draws = Draws::new(case);
        let inputs = draws.some();
        let choice: Vec<Layer> = (0..draws.below(4)).map(|_| some_layer(&mut draws)).collect();
        let layers = SharedLayers::new(inputs, &choice);
        let rows = draws.far(115);
        let parameters = some_parameters(&mut draws, &layers, 1.0);
        let x = draws.matrix(rows, inputs, 1.0);
        let dv = draws.matrix(rows, layers.outputs(), 1.0);
        let mut expected = vec![0.0; parameters.len()];
        let outputs: Vec<Vec<f32>> = (0..rows)
            .map(|row| {
                let [v, _] = defined_network(
                    &layers.places,
                    &parameters,
                    x.row(row),
                    dv.row(row),
                    &mut expected,
                );
                v
            })
            .collect();
        for (kernel, members) in kernels_and_teams(case) {
            let what = || {
                format!("case {case}: {choice:?} of {inputs}, {rows} rows, {kernel:?} x {members}")
            };
            let mut team = members_of(kernel, members);
            let team = &mut Team::new(&mut team);
            let tape = layers.forward(team, &parameters, x.clone());
            same(&tape.output().data, &outputs.concat(), &|| format!("v, {}", what()));
            let transposed = layers.transpose(&parameters);
            let mut gradient = vec![7.0; parameters.len()];
            layers.backward(team, &transposed, tape, dv.clone(), &mut gradient);
            same(&gradient, &expected, &|| format!("gradient, {}", what()));
        }
        assert!(parameters.len().is_multiple_of(LANES));
    }
}
