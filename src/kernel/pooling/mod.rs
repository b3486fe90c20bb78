//! Pooling over the frames of a video, element by element, and its way back (docs/method.md,
//! section 2.4): the numbers x_t of an element, one of each of T frames, become one number v.
//!
//! A video without frames is pooled to zeros. Sums go over frames in order. The table below says
//! which poolings there are and what jobs and models call them: a new one is a file, with its impl
//! of `Pool`, and a line there.

mod average;
pub mod definition;
mod l2;
mod max;
pub mod reference;
mod swap;
mod table;

use serde::{Deserialize, Serialize};

use crate::kernel::matrix::Matrix;
use crate::kernel::vector::{Instructions, LANES, Lanes, load, store, vectorised};

/// A way to pool. All of it is asked only of videos that have frames.
trait Pool {
    /// The device text's kernels of it, there and back; where it has none the host pools.
    const ON_DEVICE: Option<[&'static str; 2]> = None;

    /// What the bits of v are, of the element's numbers `x`, one a frame.
    fn defined(x: &[f32]) -> f32;

    /// What the bits of dL/dx_t are for each frame, given dL/dv.
    fn defined_back(x: &[f32], slope: f32) -> Vec<f32>;

    /// v in float64, which finite differences are taken of.
    fn exact(x: &[f64]) -> f64;

    /// v of sixteen elements, as `defined`. `#[inline(always)]`, as all that it calls.
    fn pool(column: Column) -> Lanes;

    /// dL/dx_t of sixteen elements for each frame t, as `defined_back`, given their dL/dv.
    /// `#[inline(always)]`, as all that it calls.
    fn unpool(column: Column, slope: Lanes, to: ColumnMut);
}

table::poolings! {
    /// Self-weighted average: sum x |x| / sum |x|, 0 where all are 0.
    swap::Swap = "swap",
    average::Average = "average",
    max::Max = "max",
    /// Root of the mean square.
    l2::L2 = "l2",
}

/// Pools `frames` `[sum of counts][F]`, `counts[i]` of them for row i, to `pooled`
/// `[rows][stride of F]`.
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
            pooling.pool_rows(data, stride, counts, pooled)
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
         to: &mut [f32]| pooling.unpool_rows(data, stride, counts, slopes, to);
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
    /// The number of frames T.
    #[inline(always)]
    fn count(self) -> f32 {
        (self.frames.len() / self.stride) as f32
    }

    /// Takes the numbers x_t of each frame t, in order.
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
}

/// The same elements of dL/d of the video's frames.
struct ColumnMut<'a> {
    frames: &'a mut [f32],
    stride: usize,
    at: usize,
}

impl ColumnMut<'_> {
    /// Puts what `slope` makes of each frame and its numbers x_t.
    #[inline(always)]
    fn put(self, column: Column, slope: impl Fn(usize, Lanes) -> Lanes) {
        let frames = column.frames.chunks_exact(self.stride);
        let to = self.frames.chunks_exact_mut(self.stride);
        // From the last frame, which is still in cache, to the first.
        for (frame, (x, dx)) in frames.zip(to).enumerate().rev() {
            store(dx, self.at, slope(frame, load(x, self.at)));
        }
    }
}

#[inline(always)]
fn pool_rows<P: Pool>(mut frames: &[f32], stride: usize, counts: &[usize], pooled: &mut [f32]) {
    for (count, row) in counts.iter().zip(pooled.chunks_exact_mut(stride)) {
        let (own, rest) = frames.split_at(count * stride);
        frames = rest;
        row.fill(0.0);
        for at in (0..stride * usize::from(*count > 0)).step_by(LANES) {
            store(row, at, P::pool(Column { frames: own, stride, at }));
        }
    }
}

#[inline(always)]
fn unpool_rows<P: Pool>(
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
            P::unpool(column, load(slopes, at), ColumnMut { frames: here, stride, at });
        }
    }
}
