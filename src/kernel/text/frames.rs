//! How the device text's kernels of frames are called.

use super::calls::{Argument, Buffer, Launch, each, int, long};

/// Threads of a group, each with one number.
const THREADS: usize = 128;

/// Videos whose frames lie end to end: `[frames][stride]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Videos {
    pub(crate) rows: usize,
    pub(crate) stride: usize,
    /// Row r has the frames `offsets[r]..offsets[r + 1]` (32 bits each).
    pub(crate) offsets: Buffer,
    pub(crate) frames: Buffer,
}

/// Frames as they were stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoredFrames {
    pub(crate) width: usize,
    /// Bytes of a number: 1, 2 or 4.
    pub(crate) size: usize,
    /// Runs of features that have a scale and offset of their own.
    pub(crate) runs: usize,
    /// The numbers `[..][width]`, whose frame each is (32 bits), each feature's run (32 bits), and
    /// scale and offset of each row's runs.
    pub(crate) given: [Buffer; 4],
}

/// The numbers of `frames` frames from `first` on, `[frames][stride]`.
pub(crate) fn from_stored(
    (first, frames): (usize, usize),
    stored: StoredFrames,
    stride: usize,
    numbers: Buffer,
) -> Launch {
    let StoredFrames { width, size, runs, given } = stored;
    let mut arguments = vec![int(frames), int(width), int(stride), long(first)];
    arguments.extend([int(size), int(runs)]);
    arguments.extend(given.map(Argument::Buffer));
    arguments.push(Argument::Buffer(numbers));
    each("from_stored", THREADS, frames * stride, arguments)
}

/// What the videos are pooled to by `kernel`, `[rows][stride]` from number `at` of `pooled` on.
pub(crate) fn pool(kernel: &'static str, videos: Videos, pooled: Buffer, at: usize) -> Launch {
    launch(kernel, videos, [Argument::Buffer(pooled), long(at)])
}

/// dL/d of every frame to `to` by `kernel`, of dL/d of what they are pooled to, which begins at
/// number `at` of `slopes`.
pub(crate) fn unpool(
    kernel: &'static str,
    videos: Videos,
    (slopes, at): (Buffer, usize),
    to: Buffer,
) -> Launch {
    launch(kernel, videos, [Argument::Buffer(slopes), long(at), Argument::Buffer(to)])
}

fn launch<const N: usize>(kernel: &'static str, videos: Videos, rest: [Argument; N]) -> Launch {
    let Videos { rows, stride, offsets, frames } = videos;
    let mut arguments = vec![int(rows), int(stride)];
    arguments.extend([offsets, frames].map(Argument::Buffer));
    arguments.extend(rest);
    each(kernel, THREADS, rows * stride, arguments)
}
