//! What the bits of iRprop+'s update are: one weight (docs/method.md, section 4.3).

use super::Bounds;

/// What is remembered of one weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Remembered {
    /// D
    pub size: f32,
    /// g'
    pub gradient: f32,
    /// The last move.
    pub moved: f32,
}

/// Moves the weight `w` by the sign of its gradient `g`; `rose` says whether the loss did.
pub fn update(w: &mut f32, g: f32, before: &mut Remembered, bounds: Bounds, rose: bool) {
    // Signs, not the product, which can underflow.
    let turned = (g > 0.0 && before.gradient < 0.0) || (g < 0.0 && before.gradient > 0.0);
    if turned {
        before.size = (before.size * 0.5).max(bounds.min);
        if rose {
            *w -= before.moved;
        }
        before.moved = 0.0;
        before.gradient = 0.0;
    } else {
        if g != 0.0 && before.gradient != 0.0 {
            before.size = (before.size * 1.2).min(bounds.max);
        }
        before.moved = match g {
            g if g > 0.0 => -before.size,
            g if g < 0.0 => before.size,
            _ => 0.0,
        };
        *w += before.moved;
        before.gradient = g;
    }
}
