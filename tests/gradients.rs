//! The arithmetic: finite differences in float64 hold the plain twins, the twins hold the kernels.

mod common;

use common::{distance, wide};
use proptest::prelude::*;
use reelscale::internals::kernel::matrix::Matrix;
use reelscale::internals::kernel::mixture::layout::Layout;
use reelscale::internals::kernel::mixture::reference as mixture_reference;
use reelscale::internals::kernel::mixture::{
    Block, Kernel, Passing, activation_gradient, both_gradients, expert_gradient, transpose,
};
use reelscale::internals::kernel::vector::Instructions;
use reelscale::internals::labels::Labels;
use reelscale::internals::model::initial;
use reelscale::internals::model::shared::SharedLayers;
use reelscale::internals::model::shared::reference as shared_reference;
use reelscale::internals::model::spec::{Activation, Dummy, Layer};
use reelscale::internals::rng::{Purpose, Stream};
use reelscale::internals::team::Team;

const DUMMIES: [Dummy; 3] = [Dummy::Learned, Dummy::Zero, Dummy::None];

fn numbers(seed: u64, count: usize, size: f32) -> Vec<f32> {
    let mut stream = Stream::new(seed, Purpose::PlantedRows, 1);
    (0..count).map(|_| (2.0 * stream.uniform() - 1.0) * size).collect()
}

fn some_labels(seed: u64, rows: usize, classes: usize) -> Labels {
    let mut stream = Stream::new(seed, Purpose::PlantedRows, 2);
    let mut labels = Labels::new();
    for _ in 0..rows {
        let row: Vec<u32> = (0..classes as u32).filter(|_| stream.uniform() < 0.3).collect();
        labels.push(&row);
    }
    labels
}

/// Central differences of `f` at `at`, fourth order.
fn differences(at: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let step = 1e-3;
    let moved = |index: usize, by: f64| {
        let mut point = at.to_vec();
        point[index] += by;
        f(&point)
    };
    (0..at.len())
        .map(|index| {
            let near = moved(index, step) - moved(index, -step);
            let far = moved(index, 2.0 * step) - moved(index, -2.0 * step);
            (8.0 * near - far) / (12.0 * step)
        })
        .collect()
}

/// A class block of random weights and the rows that pass it.
struct Case {
    layout: Layout,
    parameters: Vec<f32>,
    rows: Vec<f32>,
    labels: Labels,
}

fn case(seed: u64, experts: &[usize], dummy: Dummy, width: usize, rows: usize, size: f32) -> Case {
    let layout = Layout::new(5..5 + experts.len(), experts.to_vec(), dummy, width);
    let mut parameters = initial::experts(&layout, 1, seed, 0);
    for (_, role, panel, lane) in layout.real_columns() {
        if matches!(role, reelscale::internals::kernel::mixture::layout::Role::Expert(_)) {
            parameters[layout.bias_at(panel, lane)] = numbers(seed + panel as u64, 1, 1.0)[0];
        }
    }
    parameters.iter_mut().filter(|weight| weight.abs() < 10.0).for_each(|weight| *weight *= size);
    let labels = some_labels(seed, rows, 5 + experts.len() + 2);
    Case { layout, parameters, rows: numbers(seed, rows * width, 1.0), labels }
}

#[test]
fn the_mixture_twin_agrees_with_finite_differences() {
    for dummy in DUMMIES {
        for (experts, epsilon) in [(vec![2, 1, 3], 1e-5), (vec![1, 1], 0.0), (vec![3, 1, 2], 0.0)] {
            let case = case(4, &experts, dummy, 3, 4, 1.0);
            let (parameters, rows) = (wide(&case.parameters), wide(&case.rows));
            let at = |p: &[f64], v: &[f64]| {
                mixture_reference::block(&case.layout, p, v, &case.labels, epsilon)
            };
            let twin = at(&parameters, &rows);
            let by_rows = differences(&rows, |v| at(&parameters, v).loss);
            assert!(distance(&twin.activations, &by_rows) < 1e-6, "{dummy:?} {experts:?}");
            let learned: Vec<usize> =
                (0..parameters.len()).filter(|i| twin.parameters[*i] != 0.0).collect();
            let point: Vec<f64> = learned.iter().map(|index| parameters[*index]).collect();
            let by_weights = differences(&point, |point| {
                let mut moved = parameters.clone();
                learned.iter().zip(point).for_each(|(index, value)| moved[*index] = *value);
                at(&moved, &rows).loss
            });
            let exact: Vec<f64> = learned.iter().map(|index| twin.parameters[*index]).collect();
            let error = distance(&exact, &by_weights);
            assert!(error < 1e-6, "{dummy:?} {experts:?} {error}");
        }
    }
}

fn layers_of(choice: &[(u8, usize)]) -> Vec<Layer> {
    use Activation::*;
    let one = |(kind, units): &(u8, usize)| match kind {
        0 => Layer::Gating,
        6 => Layer::Residual,
        kind => Layer::Dense {
            units: *units,
            activation: [Identity, Relu, Relu6, Sigmoid, Tanh][*kind as usize % 5],
        },
    };
    choice.iter().map(one).collect()
}

#[test]
fn the_layer_twins_agree_with_finite_differences() {
    for kind in 0..7 {
        let layers = SharedLayers::new(4, &layers_of(&[(kind, 5), (0, 0), (kind, 3)]));
        let mut parameters = wide(&initial::shared(&layers, 9));
        parameters.iter_mut().for_each(|weight| *weight += 0.01);
        let (x, slopes) = (wide(&numbers(2, 4, 1.0)), [1.0, -0.5, 2.0, 0.3, 0.7]);
        let value = |parameters: &[f64]| {
            let v = shared_reference::forward(&layers, parameters, &x);
            v.iter().zip(slopes).map(|(v, slope)| v * slope).sum::<f64>()
        };
        let mut gradient = vec![0.0; parameters.len()];
        let dv = &slopes[..layers.outputs()];
        shared_reference::backward(&layers, &parameters, &x, dv, &mut gradient);
        let error = distance(&gradient, &differences(&parameters, value));
        assert!(error < 1e-6, "kind {kind}: {error}");
    }
}

/// The kernel's results on one set of instructions.
struct Found {
    scores: Vec<f32>,
    loss: Vec<f64>,
    parameters: Vec<f32>,
    activations: Vec<f32>,
}

fn kernel(case: &Case, epsilon: f32, instructions: Instructions) -> Found {
    let layout = &case.layout;
    let activations = Matrix::from_rows(&case.rows, layout.width);
    let block = Block { layout, parameters: &case.parameters };
    let passing = Passing { activations: &activations, labels: &case.labels, weights: &[] };
    let rows = 0..activations.rows();
    let mut team: Vec<Kernel> = (0..5).map(|_| Kernel::new(instructions, epsilon)).collect();
    let mut found = Found {
        scores: vec![0.0; rows.len() * layout.classes.len()],
        loss: vec![0.0; layout.groups.len() * 16],
        parameters: vec![0.0; layout.parameters()],
        activations: vec![0.0; activations.data.len()],
    };
    let turned = transpose(block);
    let (mut once, mut dv) = (found.parameters.clone(), found.activations.clone());
    let mut losses = found.loss.clone();
    let (gradient, loss) = (&mut found.parameters, &mut found.loss);
    expert_gradient(&mut Team::alone(&mut team[0]), block, passing, rows.clone(), gradient, loss);
    activation_gradient(
        &mut Team::alone(&mut team[0]),
        block,
        &turned,
        passing,
        rows.clone(),
        &mut found.activations,
        &mut losses,
    );
    assert_eq!(losses, found.loss);
    let mut row_losses = vec![0.0; rows.len()];
    team[0].scores(block, passing, rows.clone(), &mut found.scores, &mut row_losses);
    let (by_row, by_class) = (row_losses.iter().sum::<f64>(), losses.iter().sum::<f64>());
    assert!((by_row - by_class).abs() <= 1e-6 * by_class, "{by_row} {by_class}");
    for members in 1..=team.len() {
        let (team, once) = (&mut Team::new(&mut team[..members]), &mut once);
        dv.fill(0.0);
        losses.fill(0.0);
        both_gradients(team, block, passing, rows.clone(), once, (&turned, &mut dv), &mut losses);
        assert!(*once == found.parameters, "both at once equal one by one, team of {members}");
        assert!(dv == found.activations && losses == found.loss, "team of {members}");
        once.fill(0.0);
        losses.fill(0.0);
        expert_gradient(team, block, passing, rows.clone(), once, &mut losses);
        assert!(*once == found.parameters && losses == found.loss, "team of {members}");
    }
    found
}

/// Stated bound of the float32 kernels: 2e-5 of the norm, for logits of ordinary size.
fn check_kernel(case: &Case, epsilon: f32) {
    let layout = &case.layout;
    let twin = mixture_reference::block_of(
        Block { layout, parameters: &case.parameters },
        &wide(&case.rows),
        &case.labels,
        f64::from(epsilon),
    );
    let mut first: Option<Found> = None;
    for instructions in Instructions::available() {
        let found = kernel(case, epsilon, instructions);
        let stride = layout.width.next_multiple_of(16);
        let dv: Vec<f64> =
            found.activations.chunks(stride).flat_map(|row| wide(&row[..layout.width])).collect();
        let loss = found.loss.iter().sum::<f64>();
        assert!(distance(&wide(&found.scores), &twin.scores) < 2e-5);
        assert!((loss - twin.loss).abs() < 2e-5 * twin.loss.abs(), "{loss} {}", twin.loss);
        let error = distance(&wide(&found.parameters), &twin.parameters);
        assert!(error < 2e-5, "parameters {error}");
        let error = distance(&dv, &twin.activations);
        assert!(error < 2e-5, "activations {error}");
        if let Some(first) = &first {
            let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(first.loss, found.loss, "loss on {instructions:?}");
            assert_eq!(bits(&first.scores), bits(&found.scores), "scores on {instructions:?}");
            assert_eq!(bits(&first.parameters), bits(&found.parameters), "on {instructions:?}");
            assert_eq!(bits(&first.activations), bits(&found.activations), "on {instructions:?}");
        } else {
            first = Some(found);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn kernels_equal_their_twins_on_random_shapes(
        seed in 0u64..1000,
        experts in prop::collection::vec(1usize..5, 1..37),
        dummy in 0usize..3,
        width in 1usize..70,
        rows in 1usize..90,
        exact in any::<bool>(),
    ) {
        let case = case(seed, &experts, DUMMIES[dummy], width, rows, 1.0);
        check_kernel(&case, if exact { 0.0 } else { 1e-5 });
    }

    #[test]
    fn layers_equal_their_twins_on_random_shapes(
        seed in 0u64..1000,
        inputs in 1usize..40,
        choice in prop::collection::vec((0u8..7, 1usize..40), 0..4),
        rows in 1usize..20,
    ) {
        let layers = SharedLayers::new(inputs, &layers_of(&choice));
        let parameters = initial::shared(&layers, seed);
        let (wide_parameters, x) = (wide(&parameters), numbers(seed, rows * inputs, 1.0));
        let dv = numbers(seed + 1, rows * layers.outputs(), 1.0);
        let mut exact = vec![0.0; parameters.len()];
        let mut outputs = Vec::new();
        for row in 0..rows {
            let x = wide(&x[row * inputs..(row + 1) * inputs]);
            let dv = wide(&dv[row * layers.outputs()..(row + 1) * layers.outputs()]);
            outputs.extend(shared_reference::forward(&layers, &wide_parameters, &x));
            shared_reference::backward(&layers, &wide_parameters, &x, &dv, &mut exact);
        }
        for instructions in Instructions::available() {
            let mut gemm = reelscale::internals::kernel::product::Workspace::new(instructions);
            let team = &mut Team::alone(&mut gemm);
            let tape = layers.forward(team, &parameters, Matrix::from_rows(&x, inputs));
            let v: Vec<f64> =
                (0..rows)
                    .flat_map(|row| wide(&tape.output().row(row)[..layers.outputs()]))
                    .collect();
            prop_assert!(distance(&v, &outputs) < 1e-5);
            let mut gradient = vec![0.0; parameters.len()];
            let transposed = layers.transpose(&parameters);
            let dv = Matrix::from_rows(&dv, layers.outputs());
            layers.backward(team, &transposed, tape, dv, &mut gradient);
            let vanishes = exact.iter().all(|x| x.abs() < 1e-9);
            prop_assert!(vanishes || distance(&wide(&gradient), &exact) < 1e-4);
        }
    }
}

#[test]
fn kernels_stay_finite_at_logits_of_ten_thousand() {
    for dummy in DUMMIES {
        for epsilon in [0.0, 1e-5] {
            for experts in [vec![1; 20], vec![3, 1, 2, 4]] {
                let case = case(8, &experts, dummy, 4, 9, 1e4);
                for instructions in Instructions::available() {
                    let found = kernel(&case, epsilon, instructions);
                    assert!(found.scores.iter().all(|p| (0.0..=1.000001).contains(p)));
                    assert!(found.loss.iter().all(|loss| loss.is_finite()), "{dummy:?} {epsilon}");
                    assert!(
                        found.parameters.iter().chain(&found.activations).all(|x| x.is_finite())
                    );
                }
            }
        }
    }
}

/// One expert without a gate and eps = 0: the loss is the softplus of the logit, however large.
#[test]
fn the_exact_loss_follows_its_asymptote() {
    let layout = Layout::new(0..2, vec![1, 1], Dummy::None, 1);
    let mut parameters = layout.empty_parameters();
    parameters[layout.weight_at(0, 0, 0)] = 1.0;
    parameters[layout.weight_at(0, 1, 0)] = -1.0;
    let mut labels = Labels::new();
    labels.push(&[0]);
    for logit in [-1e4f32, -100.0, -40.0, -3.0, 0.0, 3.0, 50.0, 1e4] {
        let case = Case {
            layout: layout.clone(),
            parameters: parameters.clone(),
            rows: vec![logit],
            labels: labels.clone(),
        };
        let found = kernel(&case, 0.0, Instructions::detect());
        let z = f64::from(logit);
        let softplus = (-z).max(0.0) + (-z.abs()).exp().ln_1p();
        for lane in 0..2 {
            let error = (found.loss[lane] - softplus).abs();
            assert!(
                error <= 1e-6 * softplus.max(1e-6),
                "logit {logit}: {} {softplus}",
                found.loss[lane]
            );
        }
    }
}

#[test]
fn a_row_of_weight_three_counts_as_three_rows() {
    let case = case(11, &[2; 20], Dummy::Learned, 9, 3, 1.0);
    let block = Block { layout: &case.layout, parameters: &case.parameters };
    let gradient = |order: &[usize], weights: &[f32]| {
        let rows: Vec<f32> =
            order.iter().flat_map(|row| case.rows[row * 9..(row + 1) * 9].to_vec()).collect();
        let mut labels = Labels::new();
        order.iter().for_each(|row| labels.push(case.labels.row(*row)));
        let activations = Matrix::from_rows(&rows, 9);
        let passing = Passing { activations: &activations, labels: &labels, weights };
        let mut kernel = [Kernel::new(Instructions::detect(), 1e-5)];
        let (mut found, mut loss) = (vec![0.0; case.layout.parameters()], vec![0.0; 32]);
        let team = &mut Team::new(&mut kernel);
        expert_gradient(team, block, passing, 0..order.len(), &mut found, &mut loss);
        (wide(&found), loss)
    };
    let (weighted, loss) = gradient(&[0, 1, 2], &[3.0, 0.0, 1.0]);
    let (repeated, expected) = gradient(&[0, 0, 0, 2], &[]);
    assert!(distance(&weighted, &repeated) < 1e-6 && distance(&loss, &expected) < 1e-6);
}
