//! Frames beside the processor's: numbers of bytes, pooling and its way back, frame networks.

use std::rc::Rc;

use crate::cases::size;
use crate::compared::Compared;
use crate::device::gpu::check::numbers;
use crate::device::gpu::frames::FrameLayers;
use crate::device::gpu::layers::{Back, Layers, Scaling};
use crate::device::gpu::queue::Queue;
use crate::kernel::pooling::{self, Pooling};
use crate::kernel::product::Workspace;
use crate::kernel::text::calls::Start;
use crate::kernel::text::frames::{self, StoredFrames, Videos};
use crate::kernel::text::layers::Place;
use crate::kernel::vector::Instructions;
use crate::model::features::{FrameForm, Frames, decode};
use crate::model::shared::SharedLayers;
use crate::model::{Matrix, stride_of};
use crate::rng::Stream;
use crate::shared_layers;
use crate::team::Team;

type Outcome = Result<(), String>;

/// Where each of some runs of `width` features ends.
fn ends(stream: &mut Stream, width: usize) -> Vec<usize> {
    let mut ends: Vec<usize> =
        (0..stream.below(3)).map(|_| 1 + stream.below(width as u64) as usize).collect();
    ends.push(width);
    ends.sort_unstable();
    ends.dedup();
    ends
}

/// So many numbers of 1, 2 or 4 bytes: among floats none that is no number, for of those that
/// aren't the same only the sign is defined.
fn stored(stream: &mut Stream, size: usize, count: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..count * size).map(|_| stream.below(256) as u8).collect();
    for last in bytes.chunks_exact_mut(size).filter(|_| size > 1).map(|all| &mut all[size - 1]) {
        *last &= 0xbb;
    }
    bytes
}

/// Stored frames of some rows, from any frame on, as numbers.
pub fn dequantised(queue: &Queue, stream: &mut Stream, compared: &mut Compared) -> Outcome {
    let (count, width) = (size(stream, &[0, 1, 7, 67]), size(stream, &[1, 16, 31, 128, 1152]));
    let (first, number) = (stream.below(count.max(1) as u64) as usize, size(stream, &[1, 1, 2, 4]));
    let (bytes, ends) = (stored(stream, number, count * width), ends(stream, width));
    let rows: Vec<i32> = (0..count).map(|frame| (frame / 5) as i32).collect();
    let scaling = numbers(stream, 2 * ends.len() * (count / 5 + 1));
    let mut host = Matrix::zeros(count - first, width);
    for frame in first..count {
        let from = &bytes[frame * width * number..][..width * number];
        let own = scaling.chunks_exact(2).skip(rows[frame] as usize * ends.len());
        let runs = ends.iter().zip(own).map(|(end, own)| (*end, [own[0], own[1]]));
        let to = &mut host.row_mut(frame - first)[..width];
        decode(Instructions::detect(), number, &runs.collect::<Vec<_>>(), from, to);
    }
    let run_of: Vec<i32> =
        (0..width).map(|at| ends.partition_point(|end| *end <= at) as i32).collect();
    let (stride, runs) = (stride_of(width), ends.len());
    let (first_two, to) = ((queue.upload(&bytes)?, queue.upload(&rows)?), host.data.len());
    let given = [first_two.0, first_two.1, queue.upload(&run_of)?, queue.upload(&scaling)?];
    let to = queue.make(4 * to)?;
    let given = std::array::from_fn(|at| given[at].buffer());
    let (some, frames) =
        ((first, count - first), StoredFrames { width, size: number, runs, given });
    queue.launch(&frames::from_stored(some, frames, stride, to.buffer()))?;
    let case = format!("{count} x {width} of {number} bytes in {runs} runs from {first} on");
    compared.floats("numbers of frames", &case, &host.data, &to.read(0, host.data.len())?);
    Ok(())
}

/// Each pooling, of videos of which some have no frames, and some none but 0.
pub fn pooled(queue: &Queue, stream: &mut Stream, compared: &mut Compared) -> Outcome {
    let (rows, width) = (size(stream, &[1, 5, 13]), size(stream, &[1, 16, 31, 67]));
    let counts: Vec<usize> = (0..rows).map(|_| size(stream, &[0, 1, 2, 7, 8, 9, 37])).collect();
    let mut offsets = vec![0i32];
    for (row, count) in counts.iter().enumerate() {
        offsets.push(offsets[row] + *count as i32);
    }
    let mut x = Matrix::zeros(counts.iter().sum(), width);
    let stride = x.stride();
    let silent = stream.below(rows as u64) as usize;
    for frame in 0..x.rows() {
        let own = (offsets[silent]..offsets[silent + 1]).contains(&(frame as i32));
        let found = numbers(stream, width);
        // Frames that are the same make a maximum that several have.
        let found = if own { vec![-0.0; width] } else { found };
        let again = stream.below(4) == 0 && frame > 0;
        match again {
            true => x.data.copy_within((frame - 1) * stride..frame * stride, frame * stride),
            false => x.row_mut(frame)[..width].copy_from_slice(&found),
        }
    }
    let (at, numbers_of) = (stride * stream.below(3) as usize, rows * stride);
    let slopes = numbers(stream, at + numbers_of);
    let (offsets, given) = (queue.upload(&offsets)?, queue.upload(&x.data)?);
    let videos = Videos { rows, stride, offsets: offsets.buffer(), frames: given.buffer() };
    let slopes_given = queue.upload(&slopes)?;
    for pooling in Pooling::ALL {
        let Some([there, back]) = pooling.on_device() else { continue };
        let case = format!("{counts:?} x {width}");
        let mut host = vec![0.0; numbers_of];
        pooling::pool(Instructions::detect(), *pooling, &x, &counts, &mut host);
        let room = queue.make(4 * (at + numbers_of))?;
        queue.launch(&frames::pool(there, videos, room.buffer(), at))?;
        compared.floats(there, &case, &host, &room.read(at, numbers_of)?);
        let own = &slopes[at..];
        let host = pooling::unpool(Instructions::detect(), *pooling, &x, &counts, own);
        let room = queue.make(4 * x.data.len())?;
        let from = (slopes_given.buffer(), at);
        queue.launch(&frames::unpool(back, videos, from, room.buffer()))?;
        compared.floats(back, &case, &host.data, &room.read(0, x.data.len())?);
    }
    Ok(())
}

/// Frames through a frame network, pooled and back, in tiles of other sizes than the processor's.
pub fn network(queue: &Queue, stream: &mut Stream, compared: &mut Compared) -> Outcome {
    let (width, rows) = (size(stream, &[1, 7, 16, 33]), size(stream, &[0, 1, 2, 9]));
    let (number, ends) = (size(stream, &[1, 1, 2, 4]), ends(stream, width));
    let runs = ends.iter().map(|end| (*end, [1.0, 0.0])).collect();
    let form = FrameForm::of_all(width, std::iter::once((number, runs)));
    let mut given = Frames::of(form.clone());
    for _ in 0..rows {
        let count = size(stream, &[0, 1, 3, 17, 300]);
        let bytes = match number {
            1 => stored(stream, 1, count * width),
            _ => (0..count * width).flat_map(|_| small(stream, number)).collect(),
        };
        let own = ends.iter().map(|_| [stream.uniform() / 64.0, -2.0 * stream.uniform()]);
        given.push_stored(&bytes, &own.collect::<Vec<_>>());
    }
    let own = shared_layers::layers(stream);
    let all = Pooling::ALL;
    let pooling = all[stream.below(all.len() as u64) as usize];
    let Some(kernels) = pooling.on_device() else { return Ok(()) };
    let shared = SharedLayers::on_frames(width, &own, Some(pooling), &[]);
    let weights = shared_layers::weights(stream, &shared, 1.0);
    let (normalize, standard) = shared_layers::scaling(stream, width);
    let mut slopes = Matrix::zeros(rows, shared.pooled());
    for row in 0..rows {
        let own = numbers(stream, shared.pooled());
        slopes.row_mut(row)[..own.len()].copy_from_slice(&own);
    }
    let (mut pooled, mut host) = (Matrix::zeros(rows, shared.pooled()), vec![0.0; weights.len()]);
    let instructions = Instructions::detect();
    let mut gemm = Workspace::new(instructions);
    let turned = shared.transpose(&weights);
    for rows in given.tiles() {
        let (mut x, counts) = (given.numbers(instructions, &rows), given.counts(&rows));
        shared_layers::scale(&mut x, normalize, &standard);
        let team = &mut Team::alone(&mut gemm);
        let tape = shared.forward_frames(team, &weights, x);
        let to = pooled.run_mut(rows.clone());
        pooling::pool(instructions, pooling, tape.output(), &counts, to);
        if tape.output().rows() > 0 {
            let own = slopes.run(rows);
            let dy = pooling::unpool(instructions, pooling, tape.output(), &counts, own);
            shared.backward_frames(team, &turned, tape, dy, &mut host);
        }
    }
    let scaling = Scaling::of(queue, normalize, Some(&standard))?;
    let (places, weights) = ((width, &shared.places[..]), Rc::new(queue.upload(&weights)?));
    let layers = Layers::new(queue, places, scaling, weights, Back::Nothing);
    let tile = size(stream, &[1, 20, 480, 1000]);
    let mut device = FrameLayers::new(queue, layers, kernels, tile);
    let case = format!(
        "{rows} rows of {width}, {number} bytes a number, {ends:?}, {own:?}, {pooling:?}, \
         {normalize:?}, tile {tile}"
    );
    compared.floats("pooled frames", &case, &pooled.data, &device.pooled(&given)?.data);
    let (slopes, gradient) = (queue.upload(&slopes.data)?, queue.zeros(4 * host.len())?);
    let from = Place { buffer: slopes.buffer(), from: 0 };
    // In two pieces, the second of which goes on where the first ended.
    let (first, second) = halves(&given, &form, stream.below(rows as u64 + 1) as usize);
    let start = device.backward(&first, from, &gradient, Start::Zero)?;
    let from = Place { from: first.rows() * stride_of(shared.pooled()), ..from };
    device.backward(&second, from, &gradient, start)?;
    compared.floats("gradient of frame networks", &case, &host, &gradient.read(0, host.len())?);
    Ok(())
}

/// A number of -1 to 1 as a float of so many bytes.
fn small(stream: &mut Stream, size: usize) -> Vec<u8> {
    match size {
        // Their exponents end below that of 1.
        2 => vec![stream.below(256) as u8, stream.below(0x3c) as u8 | stream.below(2) as u8 * 128],
        _ => (2.0 * stream.uniform() - 1.0).to_le_bytes().to_vec(),
    }
}

/// The first so many rows, and the others.
fn halves(frames: &Frames, form: &FrameForm, count: usize) -> (Frames, Frames) {
    let mut halves = [0, 1].map(|_| Frames::of(form.clone()));
    for row in 0..frames.rows() {
        let (bytes, scaling) = frames.stored(row);
        halves[usize::from(row >= count)].push_stored(bytes, scaling);
    }
    halves.into()
}
