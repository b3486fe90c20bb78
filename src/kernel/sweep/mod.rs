//! One vectorised sweep over a tile of logits: softmax, sigmoid, mixture, loss and the gradients of
//! the logits in place (docs/method.md, section 3).
//!
//! With e_h = exp(a_h - max a), S = sum of e over all gate states, s_h = sigmoid(z_h),
//! t_h = 1 - s_h:
//!
//! ```text
//!   p = sum e_h s_h / S      q = 1 - p = (e_dummy + sum e_h t_h) / S     both sums of positives
//!   y = 0:  L = -log(q + eps)
//!           dL/da_h = g_h (q - t_h) / (q + eps)   dL/dz_h =  g_h s_h t_h / (q + eps)
//!   y = 1:  L = -log(p + eps)
//!           dL/da_h = g_h (p - s_h) / (p + eps)   dL/dz_h = -g_h s_h t_h / (p + eps)
//! ```
//!
//! The dummy has t = 1, s = 0. Neither p nor q is made by subtraction, so that small ones keep
//! their accuracy. With eps = 0 gate ratios stop at e^-40 and expert logits at +-40 within the
//! sweep (so p and q stay above e^-81 and everything is finite); beyond, the loss goes on along
//! its asymptote.

pub mod definition;

use std::ops::Range;

use super::functions::{exp, log, smaller_sigmoid};
use super::mixture::layout::Dummy;
use super::mixture::layout::{Group, Layout};
use super::vector::{Instructions, LANES, Lanes, load, map, map2, store, sum, vectorised};
use crate::labels::Labels;

/// Where logits stop in the exact (eps = 0) form.
const SATURATED: f32 = 40.0;

/// What of a tile a sweep looks at.
pub struct Tile<'a> {
    pub layout: &'a Layout,
    /// `[rows][columns]` logits with their biases; a gradient sweep leaves their gradients here.
    pub logits: &'a mut [f32],
    /// The rows' labels among all labels given: row i of the tile is `rows.start + i`.
    pub labels: &'a Labels,
    /// What each of all rows counts in a gradient sweep; empty where all count 1.
    pub weights: &'a [f32],
    pub rows: Range<usize>,
    /// eps of the loss.
    pub epsilon: f32,
}

impl Tile<'_> {
    /// That there are logits and labels of all of its rows.
    fn check(&self) {
        let numbers = self.layout.columns().checked_mul(self.rows.len());
        assert_eq!(numbers, Some(self.logits.len()), "logits of each row");
        let labelled = self.rows.end <= self.labels.rows() || self.rows.is_empty();
        assert!(labelled, "labels of each row");
    }
}

/// Turns logits into their gradients (of the summed, not averaged, loss) and puts each class's loss
/// of each row into `losses` `[rows][groups][16]`.
pub fn gradients(instructions: Instructions, tile: &mut Tile, losses: &mut [f32]) {
    tile.check();
    let lanes = tile.layout.groups.len() * LANES;
    assert_eq!(losses.len(), tile.rows.len() * lanes, "a loss for each row and lane");
    vectorised!(
        instructions,
        |tile: &mut Tile, losses: &mut [f32]| rows::<true, true>(tile, losses, &mut []);
        tile, losses
    );
}

/// Puts p of every row and class into `scores` [rows][classes of the block] and adds each row's
/// loss over the block's classes to `row_losses` `[rows]`. The logits are used up.
pub fn scores(
    instructions: Instructions,
    tile: &mut Tile,
    scores: &mut [f32],
    row_losses: &mut [f64],
) {
    tile.check();
    let classes = tile.layout.classes.len();
    assert_eq!(scores.len(), tile.rows.len() * classes, "a score for each row and class");
    assert_eq!(row_losses.len(), tile.rows.len(), "a loss for each row");
    vectorised!(
        instructions,
        |tile: &mut Tile, scores: &mut [f32], losses: &mut [f64]| {
            rows::<false, true>(tile, scores, losses)
        };
        tile, scores, row_losses
    );
}

/// As `scores`, of rows whose labels nobody looks at: the same p, without a loss.
pub(crate) fn probabilities(instructions: Instructions, tile: &mut Tile, scores: &mut [f32]) {
    let numbers = tile.layout.columns().checked_mul(tile.rows.len());
    assert_eq!(numbers, Some(tile.logits.len()), "logits of each row");
    let classes = tile.layout.classes.len();
    assert_eq!(scores.len(), tile.rows.len() * classes, "a score for each row and class");
    vectorised!(
        instructions,
        |tile: &mut Tile, scores: &mut [f32]| rows::<false, false>(tile, scores, &mut []);
        tile, scores
    );
}

/// `found` takes the losses of a gradient sweep or the scores of a score sweep.
#[inline(always)]
fn rows<const GRADIENTS: bool, const LOSSES: bool>(
    tile: &mut Tile,
    found: &mut [f32],
    row_losses: &mut [f64],
) {
    let layout = tile.layout;
    let (columns, classes) = (layout.columns(), layout.classes.len());
    for row in 0..tile.rows.len() {
        let mut positives = match LOSSES {
            true => tile.labels.row_within(tile.rows.start + row, &layout.classes),
            false => &[],
        };
        let weight = tile.weights.get(tile.rows.start + row).copied();
        let logits = &mut tile.logits[row * columns..(row + 1) * columns];
        for (index, group) in layout.groups.iter().enumerate() {
            let at = group.first_panel * LANES;
            let logits = &mut logits[at..at + (group.gates + group.experts) * LANES];
            let next = layout.classes.start + (index + 1) * LANES;
            let here = positives.iter().take_while(|class| (**class as usize) < next).count();
            let mut state = if here == 0 {
                mixture::<false, LOSSES>(logits, group, layout.dummy, tile.epsilon, [0.0; LANES])
            } else {
                let mut y = [0.0; LANES];
                for class in &positives[..here] {
                    y[*class as usize + LANES - next] = 1.0;
                }
                positives = &positives[here..];
                mixture::<true, LOSSES>(logits, group, layout.dummy, tile.epsilon, y)
            };
            if GRADIENTS && let Some(weight) = weight {
                state.loss = map(state.loss, |loss| loss * weight);
                state.factor = map(state.factor, |factor| factor * weight);
            }
            let loss = map2(state.loss, group.mask, |loss, mask| loss * mask);
            if GRADIENTS {
                store(found, (row * layout.groups.len() + index) * LANES, loss);
                logit_gradients(logits, group, layout.dummy, &state);
            } else {
                if LOSSES {
                    row_losses[row] += f64::from(sum(loss));
                }
                let live = LANES.min(classes - index * LANES);
                let to = row * classes + index * LANES;
                found[to..to + live].copy_from_slice(&state.p[..live]);
            }
        }
    }
}

/// What the second half of the sweep needs of the first.
struct Mixed {
    /// p of each class.
    p: Lanes,
    /// p of a positive, q of a negative: the probability of what is true.
    truth: Lanes,
    /// mask / (S (truth + eps)).
    factor: Lanes,
    loss: Lanes,
    /// 1 for positives, 0 for negatives.
    y: Lanes,
}

/// Gates become their e_h; experts become +-min(s, t), the sign telling which of both s is.
#[inline(always)]
fn mixture<const POSITIVES: bool, const LOSSES: bool>(
    logits: &mut [f32],
    group: &Group,
    dummy: Dummy,
    epsilon: f32,
    y: Lanes,
) -> Mixed {
    let exact = epsilon == 0.0;
    let learned = usize::from(dummy == Dummy::Learned);
    let mut largest = [if dummy == Dummy::Zero { 0.0 } else { f32::NEG_INFINITY }; LANES];
    for gate in 0..group.gates {
        largest = map2(largest, load(logits, gate * LANES), |m, a| if a > m { a } else { m });
    }
    let weight = |a: f32, m: f32| {
        let below = a - m;
        let stopped = exact && below < -SATURATED && below > -1e29;
        exp(if stopped { -SATURATED } else { below })
    };
    let mut absent = match dummy {
        Dummy::Zero => map(largest, |m| weight(0.0, m)),
        _ => [0.0; LANES],
    };
    let mut total = absent;
    for gate in 0..group.gates {
        let e = map2(load(logits, gate * LANES), largest, weight);
        store(logits, gate * LANES, e);
        total = map2(total, e, |total, e| total + e);
        if gate < learned {
            absent = e;
        }
    }
    if group.gates == 0 {
        total = [1.0; LANES];
    }
    let (mut p, mut q) = ([0.0; LANES], absent);
    let mut beyond_q = [if dummy == Dummy::None { f32::INFINITY } else { 0.0 }; LANES];
    let mut beyond_p = [f32::INFINITY; LANES];
    for expert in 0..group.experts {
        let at = (group.gates + expert) * LANES;
        let mut z = load(logits, at);
        let e = match group.gates {
            0 => [1.0; LANES],
            _ => load(logits, (learned + expert) * LANES),
        };
        if exact {
            for lane in 0..LANES {
                // An expert that its class doesn't have says nothing about the asymptote.
                let present = if e[lane] > 0.0 { 0.0 } else { f32::INFINITY };
                let over = f32::max(z[lane] - SATURATED, 0.0) + present;
                let under = f32::max(-z[lane] - SATURATED, 0.0) + present;
                beyond_q[lane] = f32::min(beyond_q[lane], over);
                beyond_p[lane] = f32::min(beyond_p[lane], under);
                z[lane] = z[lane].clamp(-SATURATED, SATURATED);
            }
        }
        let small = map(z, smaller_sigmoid);
        store(logits, at, map2(small, z, |small, z| if z >= 0.0 { small } else { -small }));
        for lane in 0..LANES {
            let big = 1.0 - small[lane];
            let (s, t) = if z[lane] >= 0.0 { (big, small[lane]) } else { (small[lane], big) };
            p[lane] = e[lane].mul_add(s, p[lane]);
            q[lane] = e[lane].mul_add(t, q[lane]);
        }
    }
    let share = map(total, |total| 1.0 / total);
    p = map2(p, share, |p, share| p * share);
    q = map2(q, share, |q, share| q * share);
    let mut truth = q;
    if POSITIVES {
        for lane in 0..LANES {
            truth[lane] = if y[lane] > 0.0 { p[lane] } else { q[lane] };
        }
    }
    let mut loss = match LOSSES {
        true => map(truth, |truth| -log(truth + epsilon)),
        false => [0.0; LANES],
    };
    if LOSSES && exact {
        for lane in 0..LANES {
            let positive = POSITIVES && y[lane] > 0.0;
            loss[lane] += if positive { beyond_p[lane] } else { beyond_q[lane] };
        }
    }
    let mut factor = map2(truth, share, |truth, share| share / (truth + epsilon));
    factor = map2(factor, group.mask, |factor, mask| factor * mask);
    Mixed { p, truth, factor, loss, y: if POSITIVES { y } else { [0.0; LANES] } }
}

#[inline(always)]
fn logit_gradients(logits: &mut [f32], group: &Group, dummy: Dummy, state: &Mixed) {
    let learned = usize::from(dummy == Dummy::Learned && group.gates > 0);
    if learned == 1 {
        let e = load(logits, 0);
        let mut da = e;
        for lane in 0..LANES {
            // q - t = -p for a negative, p - s = p for a positive, since t = 1 and s = 0.
            let sign = if state.y[lane] > 0.0 { 1.0 } else { -1.0 };
            da[lane] = e[lane] * (sign * state.p[lane]) * state.factor[lane];
        }
        store(logits, 0, da);
    }
    for expert in 0..group.experts {
        let z_at = (group.gates + expert) * LANES;
        let a_at = (learned + expert) * LANES;
        let signed = load(logits, z_at);
        let e = if group.gates > 0 { load(logits, a_at) } else { [1.0; LANES] };
        let (mut da, mut dz) = ([0.0; LANES], [0.0; LANES]);
        for lane in 0..LANES {
            let positive = state.y[lane] > 0.0;
            let small = signed[lane].abs();
            let big = 1.0 - small;
            // s of a positive, t of a negative: what the expert itself gives to the truth.
            // The sign bit, since a saturated expert's small one is 0 or -0.
            let own = if signed[lane].is_sign_positive() == positive { big } else { small };
            da[lane] = e[lane] * (state.truth[lane] - own) * state.factor[lane];
            let slope = e[lane] * (small * big) * state.factor[lane];
            dz[lane] = if positive { -slope } else { slope };
        }
        if group.gates > 0 {
            store(logits, a_at, da);
        }
        store(logits, z_at, dz);
    }
}
