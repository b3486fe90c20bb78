//! Average: v = sum x_t / T, dv/dx_t = 1 / T.

use super::{Column, ColumnMut, Pool};
use crate::kernel::vector::{Lanes, map};

pub(crate) struct Average;

impl Pool for Average {
    const ON_DEVICE: Option<[&'static str; 2]> = Some(["pool_average", "unpool_average"]);

    fn defined(x: &[f32]) -> f32 {
        let mut sum = 0.0;
        for x in x {
            sum += x;
        }
        sum / x.len() as f32
    }

    fn defined_back(x: &[f32], slope: f32) -> Vec<f32> {
        vec![slope / x.len() as f32; x.len()]
    }

    fn exact(x: &[f64]) -> f64 {
        x.iter().sum::<f64>() / x.len() as f64
    }

    #[inline(always)]
    fn pool(column: Column) -> Lanes {
        let count = column.count();
        map(column.sum(|x| x), |sum| sum / count)
    }

    #[inline(always)]
    fn unpool(column: Column, slope: Lanes, to: ColumnMut) {
        let count = column.count();
        let factor = map(slope, |slope| slope / count);
        to.put(column, |_, _| factor);
    }
}
