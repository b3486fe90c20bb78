//! What the bits of a product are: every element is one chain of fused multiply-adds over k in
//! order, from what C holds or from +0. k isn't padded, cut or reordered, and nothing else is
//! fused.

use super::{Left, Output, Panels, Size};
use crate::kernel::vector::LANES;

/// C += A B: a chain begins with what C holds.
pub fn accumulate(size: Size, a: Left, b: Panels, c: &mut Output) {
    product(size, a, b, c, |held| held);
}

/// C = A B: a chain begins with +0.
pub fn multiply(size: Size, a: Left, b: Panels, c: &mut Output) {
    product(size, a, b, c, |_| 0.0);
}

fn product(size: Size, a: Left, b: Panels, c: &mut Output, start: impl Fn(f32) -> f32) {
    for i in 0..size.rows {
        for column in 0..size.panels * LANES {
            let (panel, lane) = (column / LANES, column % LANES);
            let at = i * c.row + panel * c.panel + lane;
            let mut sum = start(c.data[at]);
            for k in 0..size.depth {
                let number = b.data[panel * b.panel + k * b.row + lane];
                sum = a.data[i * a.row + k * a.column].mul_add(number, sum);
            }
            c.data[at] = sum;
        }
    }
}
