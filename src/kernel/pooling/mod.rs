//! Pooling over the frames of a video, element by element, and its way back (docs/method.md,
//! section 2.4).
//!
//! With x_t the t-th of T frames and S = sum |x_t|:
//!
//! ```text
//!   swap      v = sum x_t |x_t| / S       dv/dx_t = (2 |x_t| - v sign x_t) / S   0 where S = 0
//!   average   v = sum x_t / T             dv/dx_t = 1 / T
//!   max       v = max x_t                 dv/dx_t = 1 for the first of the largest, else 0
//!   l2        v = sqrt(sum x_t^2 / T)     dv/dx_t = x_t / (T v)                   0 where v = 0
//! ```
//!
//! A video without frames is pooled to zeros. Sums go over frames in order.

pub mod definition;

use serde::{Deserialize, Serialize};

use crate::kernel::matrix::Matrix;
use crate::kernel::vector::{Instructions, LANES, Lanes, load, store, vectorised};

/// How the frames of a video become one vector, element by element (docs/method.md, section 2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// Self-weighted average: sum x |x| / sum |x|, 0 where all are 0.
    Swap,
    Average,
    Max,
    /// Root of the mean square.
    L2,
}

/// Pools `frames` [sum of counts][F], `counts[i]` of them for row i, to `pooled` [rows][stride of
/// F].
pub fn pool(
    instructions: Instructions,
    pooling: Pooling,
    frames: &Matrix,
    counts: &[usize],
    pooled: &mut [f32],
) {
    let (stride, data) = (frames.stride(), &frames.data[..]);
    check(frames, counts);
    assert_eq!(pooled.len(), counts.len() * stride, "a number for each of a row");
    vectorised!(
        instructions,
        |pooling: Pooling, data: &[f32], stride: usize, counts: &[usize], pooled: &mut [f32]| {
            pool_rows(pooling, data, stride, counts, pooled)
        };
        pooling, data, stride, counts, pooled
    );
}

/// dL/d of every frame, given dL/d of what the rows were pooled to, `slopes` [rows][stride of F].
pub fn unpool(
    instructions: Instructions,
    pooling: Pooling,
    frames: &Matrix,
    counts: &[usize],
    slopes: &[f32],
) -> Matrix {
    let (stride, data) = (frames.stride(), &frames.data[..]);
    check(frames, counts);
    assert_eq!(slopes.len(), counts.len() * stride, "a slope for each number of a row");
    let mut gradient = Matrix::zeros(frames.rows(), frames.width());
    let to = &mut gradient.data[..];
    vectorised!(
        instructions,
        |pooling: Pooling,
         data: &[f32],
         stride: usize,
         counts: &[usize],
         slopes: &[f32],
         to: &mut [f32]| unpool_rows(pooling, data, stride, counts, slopes, to);
        pooling, data, stride, counts, slopes, to
    );
    gradient
}

/// That the rows' frames are all frames.
fn check(frames: &Matrix, counts: &[usize]) {
    let all = counts.iter().try_fold(0usize, |all, count| all.checked_add(*count));
    assert_eq!(all, Some(frames.rows()), "every frame is one of a row");
    assert!(frames.width() > 0, "frames of no numbers");
}

/// Sixteen elements of all frames of one video.
#[derive(Clone, Copy)]
struct Column<'a> {
    /// The video's frames, end to end.
    frames: &'a [f32],
    stride: usize,
    at: usize,
}

impl Column<'_> {
    #[inline(always)]
    fn each(self, mut take: impl FnMut(usize, Lanes)) {
        for (frame, row) in self.frames.chunks_exact(self.stride).enumerate() {
            take(frame, load(row, self.at));
        }
    }

    /// The sum over frames of what `term` makes of each number.
    #[inline(always)]
    fn sum(self, term: impl Fn(f32) -> f32) -> Lanes {
        let mut sum = [0.0; LANES];
        self.each(|_, x| (0..LANES).for_each(|lane| sum[lane] += term(x[lane])));
        sum
    }

    /// The largest of each element and the first frame that has it.
    #[inline(always)]
    fn largest(self) -> (Lanes, [usize; LANES]) {
        let (mut largest, mut first) = ([f32::NEG_INFINITY; LANES], [0; LANES]);
        self.each(|frame, x| {
            for lane in 0..LANES {
                if x[lane] > largest[lane] {
                    (largest[lane], first[lane]) = (x[lane], frame);
                }
            }
        });
        (largest, first)
    }

    #[inline(always)]
    fn pooled(self, pooling: Pooling) -> Lanes {
        let count = (self.frames.len() / self.stride) as f32;
        match pooling {
            Pooling::Swap => {
                let (weighted, weights) = (self.sum(|x| x * x.abs()), self.sum(f32::abs));
                std::array::from_fn(|lane| match weights[lane] > 0.0 {
                    true => weighted[lane] / weights[lane],
                    false => 0.0,
                })
            }
            Pooling::Average => self.sum(|x| x).map(|sum| sum / count),
            Pooling::Max => self.largest().0,
            Pooling::L2 => self.sum(|x| x * x).map(|sum| (sum / count).sqrt()),
        }
    }
}

#[inline(always)]
fn pool_rows(
    pooling: Pooling,
    mut frames: &[f32],
    stride: usize,
    counts: &[usize],
    pooled: &mut [f32],
) {
    for (count, row) in counts.iter().zip(pooled.chunks_exact_mut(stride)) {
        let (own, rest) = frames.split_at(count * stride);
        frames = rest;
        row.fill(0.0);
        for at in (0..stride * usize::from(*count > 0)).step_by(LANES) {
            store(row, at, Column { frames: own, stride, at }.pooled(pooling));
        }
    }
}

#[inline(always)]
fn unpool_rows(
    pooling: Pooling,
    mut frames: &[f32],
    stride: usize,
    counts: &[usize],
    slopes: &[f32],
    mut to: &mut [f32],
) {
    for (count, slopes) in counts.iter().zip(slopes.chunks_exact(stride)) {
        let (own, rest) = frames.split_at(count * stride);
        frames = rest;
        let (here, after) = std::mem::take(&mut to).split_at_mut(count * stride);
        to = after;
        for at in (0..stride * usize::from(*count > 0)).step_by(LANES) {
            let column = Column { frames: own, stride, at };
            let slope = load(slopes, at);
            let pooled = column.pooled(pooling);
            // What each number's own slope is multiplied by.
            let factor: Lanes = match pooling {
                Pooling::Swap => {
                    let weights = column.sum(f32::abs);
                    std::array::from_fn(|lane| match weights[lane] > 0.0 {
                        true => slope[lane] / weights[lane],
                        false => 0.0,
                    })
                }
                Pooling::Average => slope.map(|slope| slope / *count as f32),
                Pooling::Max => slope,
                Pooling::L2 => std::array::from_fn(|lane| match pooled[lane] > 0.0 {
                    true => slope[lane] / (*count as f32 * pooled[lane]),
                    false => 0.0,
                }),
            };
            let first = if pooling == Pooling::Max { column.largest().1 } else { [0; LANES] };
            column.each(|frame, x| {
                let own: Lanes = std::array::from_fn(|lane| match pooling {
                    Pooling::Swap => {
                        let sign = f32::from(x[lane] > 0.0) - f32::from(x[lane] < 0.0);
                        2.0 * x[lane].abs() - pooled[lane] * sign
                    }
                    Pooling::Average => 1.0,
                    Pooling::Max => f32::from(first[lane] == frame),
                    Pooling::L2 => x[lane],
                });
                let gradient = std::array::from_fn(|lane| factor[lane] * own[lane]);
                store(here, frame * stride + at, gradient);
            });
        }
    }
}
