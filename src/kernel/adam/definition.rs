//! What the bits of Adam's update are: one weight (docs/method.md, section 4.1). `1 - BETA` is
//! rounded to 32 bits once.

use super::{BETA_1, BETA_2, EPSILON};
use crate::kernel::coefficients::Coefficients;

/// Moves the weight `w` by the moments `m1` and `m2` of its gradient `g`, which it is added to.
pub fn update(w: &mut f32, g: f32, m1: &mut f32, m2: &mut f32, given: Coefficients) {
    let Coefficients { rate, scale, l2 } = given;
    let scaled = g * scale;
    let g = l2.mul_add(*w, scaled);
    let first = (1.0 - BETA_1) * g;
    *m1 = BETA_1.mul_add(*m1, first);
    let square = g * g;
    let second = (1.0 - BETA_2) * square;
    *m2 = BETA_2.mul_add(*m2, second);
    let product = rate * *m1;
    *w -= product / (m2.sqrt() + EPSILON);
}
