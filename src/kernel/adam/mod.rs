//! The update of Adam, element by element (docs/method.md, section 4.1).

pub mod definition;

use crate::kernel::coefficients::Coefficients;
use crate::kernel::vector::{Instructions, vectorised};

/// What stays of the first moment at a step.
pub(crate) const BETA_1: f32 = 0.9;
/// What stays of the second moment at a step.
pub(crate) const BETA_2: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// First and second moments of the gradient, a number for each weight.
pub struct Moments<'a> {
    pub first: &'a mut [f32],
    pub second: &'a mut [f32],
}

/// Moves `weights` by the moments of their `gradient`, which it is added to; all are equally long.
/// The correction of the moments' bias is part of the rate.
pub fn update(
    instructions: Instructions,
    weights: &mut [f32],
    gradient: &[f32],
    moments: Moments,
    coefficients: Coefficients,
) {
    let Moments { first, second } = moments;
    assert_eq!(weights.len(), gradient.len(), "a gradient for each weight");
    assert_eq!([weights.len(); 2], [first.len(), second.len()], "moments for each weight");
    vectorised!(
        instructions,
        |w: &mut [f32], g: &[f32], first: &mut [f32], second: &mut [f32], c: Coefficients| {
            elements(w, g, first, second, c)
        };
        weights, gradient, first, second, coefficients
    );
}

#[inline(always)]
fn elements(w: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], c: Coefficients) {
    for (((w, g), m), v) in w.iter_mut().zip(g).zip(m).zip(v) {
        let g = c.l2.mul_add(*w, g * c.scale);
        *m = BETA_1.mul_add(*m, (1.0 - BETA_1) * g);
        *v = BETA_2.mul_add(*v, (1.0 - BETA_2) * (g * g));
        *w -= c.rate * *m / (v.sqrt() + EPSILON);
    }
}
