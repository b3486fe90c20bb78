//! What the bits of a class block are: one row after the other, all columns of the block's layout,
//! filling included (docs/method.md, section 3). Rows of a mini-batch come in order; that tiles,
//! panels and threads cut them can't be seen.
//!
//! A column is a lane of a panel. Weight k of a column stands at
//! `layout.weight_at(panel, lane, k)`, its bias at `layout.bias_at(panel, lane)`, its logit at
//! panel * 16 + lane.

use super::layout::Layout;
use crate::kernel::sweep::definition::{Given, class};
use crate::kernel::vector::LANES;

/// Z = V W + b of one row, `[columns]`: each a chain of fused multiply-adds over the d activations
/// `v` in order, beginning with the bias.
pub fn logits(layout: &Layout, parameters: &[f32], v: &[f32]) -> Vec<f32> {
    let mut logits = vec![0.0; layout.columns()];
    for (column, logit) in logits.iter_mut().enumerate() {
        let (panel, lane) = (column / LANES, column % LANES);
        *logit = parameters[layout.bias_at(panel, lane)];
        for k in 0..layout.width {
            *logit = v[k].mul_add(parameters[layout.weight_at(panel, lane, k)], *logit);
        }
    }
    logits
}

/// Takes all classes of one row through the sweep, filling lanes too, and hands p and the loss of
/// each to `found` by its place among the block's lanes.
fn sweep(
    layout: &Layout,
    logits: &mut [f32],
    labels: &[u32],
    weight: f32,
    epsilon: f32,
    mut found: impl FnMut(usize, f32, f32),
) {
    for (index, group) in layout.groups.iter().enumerate() {
        for lane in 0..LANES {
            let number = layout.classes.start + index * LANES + lane;
            // A label of the block after this one isn't one of a filling lane.
            let positive = number < layout.classes.end && labels.contains(&(number as u32));
            let at = |offset: usize| (group.first_panel + offset) * LANES + lane;
            let mut a: Vec<f32> = (0..group.gates).map(|gate| logits[at(gate)]).collect();
            let mut z: Vec<f32> = (0..group.experts).map(|h| logits[at(group.gates + h)]).collect();
            let mask = group.mask[lane];
            let given = Given { dummy: layout.dummy, epsilon, positive, mask, weight };
            let class = class(&mut a, &mut z, given);
            for (offset, slope) in a.iter().chain(&z).enumerate() {
                logits[at(offset)] = *slope;
            }
            found(index * LANES + lane, class.p, class.loss);
        }
    }
}

/// Puts the gradients of one row's logits in their place and adds its losses, widened to 64 bits,
/// to `class_loss` `[groups][16]`. `labels` are all of the row's; `weight` is what the row counts.
pub fn logit_gradients(
    layout: &Layout,
    logits: &mut [f32],
    labels: &[u32],
    weight: f32,
    epsilon: f32,
    class_loss: &mut [f64],
) {
    sweep(layout, logits, labels, weight, epsilon, |lane, _, loss| {
        class_loss[lane] += f64::from(loss);
    });
}

/// p of one row and the block's classes into `scores` `[classes]`. Returns `row_loss` with the
/// row's losses added: group after group the sum of its sixteen by halves (8 + 8, 4 + 4, 2 + 2,
/// 1 + 1), widened to 64 bits. Uses up the logits.
pub fn scores(
    layout: &Layout,
    logits: &mut [f32],
    labels: &[u32],
    epsilon: f32,
    scores: &mut [f32],
    mut row_loss: f64,
) -> f64 {
    let mut losses = vec![[0.0f32; LANES]; layout.groups.len()];
    sweep(layout, logits, labels, 1.0, epsilon, |lane, p, loss| {
        losses[lane / LANES][lane % LANES] = loss;
        if lane < layout.classes.len() {
            scores[lane] = p;
        }
    });
    for mut sums in losses {
        for half in [8, 4, 2, 1] {
            for lane in 0..half {
                sums[lane] += sums[lane + half];
            }
        }
        row_loss += f64::from(sums[0]);
    }
    row_loss
}

/// Adds one row's gradient to that of the parameters: a fused multiply-add for each weight, a plain
/// sum for the biases of experts; gates' biases aren't learned and stay as they are. A mini-batch's
/// gradient begins with +0 everywhere, one that is added to with what is there.
pub fn add_expert_gradient(layout: &Layout, v: &[f32], slopes: &[f32], gradient: &mut [f32]) {
    for group in &layout.groups {
        for panel in group.first_panel..group.end() {
            for lane in 0..LANES {
                let slope = slopes[panel * LANES + lane];
                for k in 0..layout.width {
                    let sum = &mut gradient[layout.weight_at(panel, lane, k)];
                    *sum = v[k].mul_add(slope, *sum);
                }
                if panel >= group.first_panel + group.gates {
                    gradient[layout.bias_at(panel, lane)] += slope;
                }
            }
        }
    }
}

/// Adds one row's gradient to `dv` `[d]`: a chain of fused multiply-adds over all columns in order,
/// filling included (a chain that is at -0 leaves it there), beginning with what `dv` holds.
pub fn add_activation_gradient(
    layout: &Layout,
    parameters: &[f32],
    slopes: &[f32],
    dv: &mut [f32],
) {
    for (k, sum) in dv.iter_mut().take(layout.width).enumerate() {
        for (column, slope) in slopes.iter().enumerate() {
            let (panel, lane) = (column / LANES, column % LANES);
            *sum = slope.mul_add(parameters[layout.weight_at(panel, lane, k)], *sum);
        }
    }
}
