//! The plain twin of the kernels: the formulas of docs/method.md, section 3, in float64, one class
//! of one row at a time. It checks the fast code and is checked itself by finite differences.

use super::Block;
use super::layout::Dummy;
use super::layout::{Layout, Role};
use crate::labels::Labels;

/// Loss, p and logit gradients of one row and class.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixed {
    pub(crate) p: f64,
    pub(crate) loss: f64,
    /// dL/da of the gates, the dummy's first where it is learned.
    pub(crate) gates: Vec<f64>,
    /// dL/dz of the experts.
    pub(crate) experts: Vec<f64>,
}

fn log_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = values.clone().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    largest + values.map(|value| (value - largest).exp()).sum::<f64>().ln()
}

/// log(1 / (1 + exp(-z))) without overflow.
fn log_sigmoid(z: f64) -> f64 {
    -((-z.abs()).exp().ln_1p() + (-z).max(0.0))
}

/// The mixture of gate logits `a` (the dummy's first where it is learned) and expert logits `z`.
pub fn mixture(a: &[f64], z: &[f64], dummy: Dummy, epsilon: f64, positive: bool) -> Mixed {
    let gates = &a[a.len().saturating_sub(z.len())..];
    let gate = |h: usize| if gates.is_empty() { 0.0 } else { gates[h] };
    let absent = match dummy {
        Dummy::Learned => Some(a[0]),
        Dummy::Zero => Some(0.0),
        Dummy::None => None,
    };
    let log_total = log_sum_exp((0..z.len()).map(gate).chain(absent));
    let log_p = log_sum_exp((0..z.len()).map(|h| gate(h) + log_sigmoid(z[h]))) - log_total;
    let log_q =
        log_sum_exp((0..z.len()).map(|h| gate(h) + log_sigmoid(-z[h])).chain(absent)) - log_total;
    let log_truth = if positive { log_p } else { log_q };
    let (p, truth) = (log_p.exp(), log_truth.exp());
    let loss = if epsilon == 0.0 { -log_truth } else { -(truth + epsilon).ln() };
    // dL/da = g (truth - own) / (truth + eps), own = what the state itself gives to the truth; its
    // share of the truth, own / truth, is taken in log space so that eps = 0 never divides by zero.
    let weight = truth / (truth + epsilon);
    let weight = if epsilon == 0.0 { 1.0 } else { weight };
    let gradient = |a: f64, log_own: f64| {
        let log_g = a - log_total;
        weight * (log_g.exp() - (log_g + log_own - log_truth).exp())
    };
    let own = |h: usize| log_sigmoid(if positive { z[h] } else { -z[h] });
    let dummy_gradient = (dummy == Dummy::Learned)
        .then(|| gradient(a[0], if positive { f64::NEG_INFINITY } else { 0.0 }));
    let experts = (0..z.len()).map(|h| {
        let other = log_sigmoid(if positive { -z[h] } else { z[h] });
        let size = weight * (gate(h) - log_total + own(h) + other - log_truth).exp();
        if positive { -size } else { size }
    });
    Mixed {
        p,
        loss,
        gates: dummy_gradient
            .into_iter()
            .chain((0..gates.len()).map(|h| gradient(gate(h), own(h))))
            .collect(),
        experts: experts.collect(),
    }
}

/// What the kernels give for a class block: scores `[row][class]`, the summed loss, and both
/// gradients (of parameters in the layout's order, of activations `[row][d]`).
pub struct Reference {
    pub scores: Vec<f64>,
    pub loss: f64,
    pub parameters: Vec<f64>,
    pub activations: Vec<f64>,
}

/// The class block evaluated at float64 copies of `parameters` and `activations` `[rows][d]`.
pub fn block(
    layout: &Layout,
    parameters: &[f64],
    activations: &[f64],
    labels: &Labels,
    epsilon: f64,
) -> Reference {
    let width = layout.width;
    let rows = labels.rows();
    let mut result = Reference {
        scores: Vec::new(),
        loss: 0.0,
        parameters: vec![0.0; parameters.len()],
        activations: vec![0.0; rows * width],
    };
    let columns = layout.real_columns();
    for row in 0..rows {
        let v = &activations[row * width..(row + 1) * width];
        for class in 0..layout.classes.len() {
            let own: Vec<_> = columns.iter().filter(|column| column.0 == class).collect();
            let logit = |panel: usize, lane: usize| {
                let at = |k: usize| parameters[layout.weight_at(panel, lane, k)];
                (0..width).map(|k| v[k] * at(k)).sum::<f64>()
                    + parameters[layout.bias_at(panel, lane)]
            };
            let logits_of = |experts: bool| -> Vec<f64> {
                own.iter()
                    .filter(|column| matches!(column.1, Role::Expert(_)) == experts)
                    .map(|column| logit(column.2, column.3))
                    .collect()
            };
            let label = (layout.classes.start + class) as u32;
            let positive = labels.row(row).contains(&label);
            let mixed =
                mixture(&logits_of(false), &logits_of(true), layout.dummy, epsilon, positive);
            result.scores.push(mixed.p);
            result.loss += mixed.loss;
            for (column, slope) in own.iter().zip(mixed.gates.iter().chain(&mixed.experts)) {
                let (panel, lane) = (column.2, column.3);
                for k in 0..width {
                    let at = layout.weight_at(panel, lane, k);
                    result.parameters[at] += slope * v[k];
                    result.activations[row * width + k] += slope * parameters[at];
                }
                if matches!(column.1, Role::Expert(_)) {
                    result.parameters[layout.bias_at(panel, lane)] += slope;
                }
            }
        }
    }
    result
}

/// As `block`, for weights at rest in float32.
pub fn block_of(block: Block, activations: &[f64], labels: &Labels, epsilon: f64) -> Reference {
    let parameters: Vec<f64> = block.parameters.iter().map(|weight| f64::from(*weight)).collect();
    self::block(block.layout, &parameters, activations, labels, epsilon)
}
