//! Maximum: v = max x_t, dv/dx_t = 1 for the first of the largest, else 0.

use super::{Column, ColumnMut, Pool};
use crate::kernel::vector::{LANES, Lanes};

pub(crate) struct Max;

/// The largest number and the first frame that has it; -0 isn't below 0.
fn defined_largest(x: &[f32]) -> (f32, usize) {
    let (mut largest, mut first) = (f32::NEG_INFINITY, 0);
    for (frame, x) in x.iter().enumerate() {
        if *x > largest {
            (largest, first) = (*x, frame);
        }
    }
    (largest, first)
}

/// The largest of each element and the first frame that has it.
#[inline(always)]
fn largest(column: Column) -> (Lanes, [usize; LANES]) {
    let (mut largest, mut first) = ([f32::NEG_INFINITY; LANES], [0; LANES]);
    column.each(|frame, x| {
        for lane in 0..LANES {
            if x[lane] > largest[lane] {
                (largest[lane], first[lane]) = (x[lane], frame);
            }
        }
    });
    (largest, first)
}

impl Pool for Max {
    const ON_DEVICE: Option<[&'static str; 2]> = Some(["pool_max", "unpool_max"]);

    fn defined(x: &[f32]) -> f32 {
        defined_largest(x).0
    }

    fn defined_back(x: &[f32], slope: f32) -> Vec<f32> {
        let first = defined_largest(x).1;
        (0..x.len()).map(|frame| slope * f32::from(frame == first)).collect()
    }

    fn exact(x: &[f64]) -> f64 {
        x.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    #[inline(always)]
    fn pool(column: Column) -> Lanes {
        largest(column).0
    }

    #[inline(always)]
    fn unpool(column: Column, slope: Lanes, to: ColumnMut) {
        let first = largest(column).1;
        // A slope times 0, not 0: -0 and what is no number stay what they are.
        to.put(column, |frame, _| {
            std::array::from_fn(|lane| slope[lane] * f32::from(first[lane] == frame))
        });
    }
}
