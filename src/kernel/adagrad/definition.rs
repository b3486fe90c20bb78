//! What the bits of AdaGrad's update are: one weight (docs/method.md, section 4.2).

use crate::kernel::coefficients::Coefficients;

/// Moves the weight `w` by its gradient `g` and adds to `n`, the sum of its gradients' squares.
pub fn update(w: &mut f32, g: f32, n: &mut f32, given: Coefficients) {
    let Coefficients { rate, scale, l2 } = given;
    let scaled = g * scale;
    let g = l2.mul_add(*w, scaled);
    *n = g.mul_add(g, *n);
    let product = rate * g;
    *w -= product / n.sqrt();
}
