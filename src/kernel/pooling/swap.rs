//! Self-weighted average, with S = sum |x_t|:
//!
//! ```text
//!   v = sum x_t |x_t| / S     dv/dx_t = (2 |x_t| - v sign x_t) / S     0 where S = 0
//! ```

use super::{Column, ColumnMut, Pool};
use crate::kernel::vector::{Lanes, map2};

pub(crate) struct Swap;

/// 1, -1, or 0 of 0. Said so that compilers make vector code of it.
#[inline(always)]
fn sign(x: f32) -> f32 {
    if x.abs() > 0.0 { 1f32.copysign(x) } else { 0.0 }
}

/// a / S, or 0 where S is 0.
#[inline(always)]
fn divided(a: f32, weights: f32) -> f32 {
    if weights > 0.0 { a / weights } else { 0.0 }
}

impl Pool for Swap {
    const ON_DEVICE: Option<[&'static str; 2]> = Some(["pool_swap", "unpool_swap"]);

    fn defined(x: &[f32]) -> f32 {
        let (mut sum, mut weights) = (0.0, 0.0);
        for x in x {
            sum += x * x.abs();
            weights += x.abs();
        }
        if weights > 0.0 { sum / weights } else { 0.0 }
    }

    fn defined_back(x: &[f32], slope: f32) -> Vec<f32> {
        let (v, mut weights) = (Self::defined(x), 0.0);
        for x in x {
            weights += x.abs();
        }
        let factor = if weights > 0.0 { slope / weights } else { 0.0 };
        let sign = |x: f32| f32::from(x > 0.0) - f32::from(x < 0.0);
        x.iter().map(|x| factor * (2.0 * x.abs() - v * sign(*x))).collect()
    }

    fn exact(x: &[f64]) -> f64 {
        let weights: f64 = x.iter().map(|x| x.abs()).sum();
        let weighted: f64 = x.iter().map(|x| x * x.abs()).sum();
        if weights > 0.0 { weighted / weights } else { 0.0 }
    }

    #[inline(always)]
    fn pool(column: Column) -> Lanes {
        map2(column.sum(|x| x * x.abs()), column.sum(f32::abs), divided)
    }

    #[inline(always)]
    fn unpool(column: Column, slope: Lanes, to: ColumnMut) {
        let (v, weights) = (Self::pool(column), column.sum(f32::abs));
        let factor = map2(slope, weights, divided);
        to.put(column, |_, x| {
            std::array::from_fn(|lane| {
                factor[lane] * (2.0 * x[lane].abs() - v[lane] * sign(x[lane]))
            })
        });
    }
}
