//! Root of the mean square: v = sqrt(sum x_t^2 / T), dv/dx_t = x_t / (T v), 0 where v = 0.

use super::{Column, ColumnMut, Pool};
use crate::kernel::vector::{Lanes, map, map2};

pub(crate) struct L2;

impl Pool for L2 {
    const ON_DEVICE: Option<[&'static str; 2]> = Some(["pool_l2", "unpool_l2"]);

    fn defined(x: &[f32]) -> f32 {
        let mut sum = 0.0;
        for x in x {
            sum += x * x;
        }
        (sum / x.len() as f32).sqrt()
    }

    fn defined_back(x: &[f32], slope: f32) -> Vec<f32> {
        let (v, count) = (Self::defined(x), x.len() as f32);
        let factor = if v > 0.0 { slope / (count * v) } else { 0.0 };
        x.iter().map(|x| factor * x).collect()
    }

    fn exact(x: &[f64]) -> f64 {
        (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64).sqrt()
    }

    #[inline(always)]
    fn pool(column: Column) -> Lanes {
        let count = column.count();
        map(column.sum(|x| x * x), |sum| (sum / count).sqrt())
    }

    #[inline(always)]
    fn unpool(column: Column, slope: Lanes, to: ColumnMut) {
        let (v, count) = (Self::pool(column), column.count());
        let factor = map2(slope, v, |slope, v| if v > 0.0 { slope / (count * v) } else { 0.0 });
        to.put(column, |_, x| map2(factor, x, |factor, x| factor * x));
    }
}
