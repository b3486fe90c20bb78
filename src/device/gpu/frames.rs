//! Frames on a device: they go up as they were stored, and pass the frame network and pooling in
//! tiles of whole videos. On the way back they pass it once more, which is cheaper than keeping
//! what they were in it.

use std::ops::Range;

use super::layers::{Layers, Room, Tape};
use super::queue::{Memory, Queue};
use crate::kernel::text::calls::{Buffer, Start};
use crate::kernel::text::frames::{self, StoredFrames, Videos};
use crate::kernel::text::layers::Place;
use crate::model::features::Frames;
use crate::model::{Matrix, stride_of};

/// The frame network, and how its outputs are pooled.
pub(crate) struct FrameLayers {
    queue: Queue,
    layers: Layers,
    /// The kernels of the pooling, there and back.
    pooling: [&'static str; 2],
    /// Frames of a tile, unless one video has more.
    tile: usize,
    /// What the way back of a tile works in, and how many frames fit, once there is one.
    room: Option<(usize, Room)>,
}

/// Frames of consecutive rows, as they came: what `StoredFrames` says of them.
struct Sent {
    given: [Memory; 4],
    size: usize,
    runs: usize,
}

/// Frames of some whole rows that have passed the frame network.
struct Tile {
    rows: Range<usize>,
    frames: usize,
    /// Where each row's frames begin and end, counted from the tile's first.
    offsets: Memory,
    tape: Tape,
}

impl FrameLayers {
    pub(crate) fn new(
        queue: &Queue,
        layers: Layers,
        pooling: [&'static str; 2],
        tile: usize,
    ) -> FrameLayers {
        FrameLayers { queue: queue.clone(), layers, pooling, tile, room: None }
    }

    /// What rows are pooled to, [rows][stride].
    ///
    /// # Errors
    /// The device is full or lost.
    pub(crate) fn pooled(&self, frames: &Frames) -> Result<Matrix, String> {
        let mut pooled = Matrix::zeros(frames.rows(), self.layers.outputs());
        let room = self.queue.make(size_of_val(&pooled.data[..]))?;
        let sent = self.send(frames)?;
        for rows in frames.tiles_of(self.tile) {
            let at = rows.start * pooled.stride();
            let tile = self.tile(frames, &sent, rows)?;
            let videos = self.videos(&tile);
            self.queue.launch(&frames::pool(self.pooling[0], videos, room.buffer(), at))?;
        }
        room.read_into(0, &mut pooled.data)?;
        Ok(pooled)
    }

    /// Adds the gradient of the frame network to its place in `gradient`, or writes it there, given
    /// dL/d of what the rows were pooled to. Says how sums begin after it.
    ///
    /// # Errors
    /// The device is full or lost.
    pub(crate) fn backward(
        &mut self,
        frames: &Frames,
        slopes: Place,
        gradient: &Memory,
        mut start: Start,
    ) -> Result<Start, String> {
        let (sent, stride) = (self.send(frames)?, stride_of(self.layers.outputs()));
        for rows in frames.tiles_of(self.tile) {
            if frames.within(&rows).is_empty() {
                continue;
            }
            let tile = self.tile(frames, &sent, rows)?;
            let dy = self.queue.make(tile.frames * stride * size_of::<f32>())?;
            let given = (slopes.buffer, slopes.from + tile.rows.start * stride);
            let unpool = frames::unpool(self.pooling[1], self.videos(&tile), given, dy.buffer());
            self.queue.launch(&unpool)?;
            if self.room.as_ref().is_none_or(|(most, _)| *most < tile.frames) {
                self.room = None;
                self.room = Some((tile.frames, self.layers.room(tile.frames)?));
            }
            let (_, room) = self.room.as_ref().expect("just made");
            let (all, dy) = (0..tile.frames, Place { buffer: dy.buffer(), from: 0 });
            self.layers.backward(&tile.tape, &all, dy, room, (gradient, start))?;
            start = Start::Out;
        }
        Ok(start)
    }

    fn send(&self, frames: &Frames) -> Result<Sent, String> {
        let (form, bytes, scaling) = frames.whole();
        let counts = frames.counts(&(0..frames.rows())).into_iter().enumerate();
        let rows: Vec<i32> =
            counts.flat_map(|(row, count)| std::iter::repeat_n(row as i32, count)).collect();
        let queue = &self.queue;
        let mut run_of = Vec::new();
        for (run, end) in form.runs().iter().enumerate() {
            run_of.resize(*end, run as i32);
        }
        let (first, second) = (queue.upload(bytes)?, queue.upload(&rows)?);
        let given = [first, second, queue.upload(&run_of)?, queue.upload(scaling)?];
        Ok(Sent { given, size: form.size(), runs: form.runs().len() })
    }

    /// Takes the frames of some rows through the frame network.
    fn tile(&self, frames: &Frames, sent: &Sent, rows: Range<usize>) -> Result<Tile, String> {
        let mut offsets = vec![0i32];
        for count in frames.counts(&rows) {
            offsets.push(offsets[offsets.len() - 1] + count as i32);
        }
        let (own, width) = (frames.within(&rows), self.layers.inputs());
        let numbers = self.queue.make(own.len() * stride_of(width) * size_of::<f32>())?;
        let some = (own.start, own.len());
        let given: [Buffer; 4] = std::array::from_fn(|at| sent.given[at].buffer());
        let stored = StoredFrames { width, size: sent.size, runs: sent.runs, given };
        let stride = stride_of(width);
        self.queue.launch(&frames::from_stored(some, stored, stride, numbers.buffer()))?;
        let tape = self.layers.forward(own.len(), numbers)?;
        Ok(Tile { rows, frames: own.len(), offsets: self.queue.upload(&offsets)?, tape })
    }

    fn videos(&self, tile: &Tile) -> Videos {
        Videos {
            rows: tile.rows.len(),
            stride: stride_of(self.layers.outputs()),
            offsets: tile.offsets.buffer(),
            frames: tile.tape.output().buffer(),
        }
    }
}
