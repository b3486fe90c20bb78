//! Features of rows as they come from shards: a vector of numbers for each, or frames, which stay
//! bytes until they are used.

use std::ops::Range;

use crate::kernel::dequantise::from_bytes;
use crate::kernel::matrix::{Matrix, stride_of};
use crate::kernel::vector::Instructions;
use crate::rng::Stream;

/// Frames of a video that are used; pooling ignores what comes after them (docs/method.md, section
/// 2.1).
pub(crate) const FRAMES_MAX: usize = 300;
/// Frames that pass the frame network at once, unless one video has more: 480 x 1152 numbers and
/// what layers make of them stay near the caches.
pub(crate) const TILE_FRAMES: usize = 480;

/// Features of consecutive rows.
#[derive(Clone, Debug, PartialEq)]
pub enum Features {
    /// `[rows][D]`
    Videos(Matrix),
    Frames(Frames),
}

/// Frames of consecutive rows: any number of them for each row.
#[derive(Clone, Debug, PartialEq)]
pub struct Frames {
    /// Number of features D.
    width: usize,
    /// Row i has the frames `offsets[i]..offsets[i + 1]`.
    offsets: Vec<usize>,
    /// [frames][D]
    bytes: Vec<u8>,
    /// Scale and offset of each row's bytes.
    scaling: Vec<[f32; 2]>,
}

impl Features {
    pub fn rows(&self) -> usize {
        match self {
            Features::Videos(videos) => videos.rows(),
            Features::Frames(frames) => frames.rows(),
        }
    }

    /// Appends row `row` of `other`, which is of the same kind.
    pub fn push(&mut self, other: &Features, row: usize) {
        match (self, other) {
            (Features::Videos(own), Features::Videos(other)) => {
                let at = own.rows();
                own.resize(at + 1);
                own.row_mut(at).copy_from_slice(other.row(row));
            }
            (Features::Frames(own), Features::Frames(other)) => {
                own.push(other.row(row), other.scaling[row]);
            }
            _ => panic!("videos among frames"),
        }
    }

    /// Appends all rows of `other`, which is of the same kind.
    pub fn append(&mut self, other: Features) {
        match (self, other) {
            (Features::Videos(own), Features::Videos(other)) => own.append(other),
            (Features::Frames(own), Features::Frames(other)) => own.append(&other),
            _ => panic!("videos among frames"),
        }
    }

    /// Makes room for `rows` more rows of a fixed length.
    pub fn reserve(&mut self, rows: usize) {
        if let Features::Videos(videos) = self {
            videos.data.reserve_exact(rows * videos.stride());
        }
    }

    /// Only `count` frames of each row, drawn with replacement from `stream(row)`; 0, or features
    /// of videos: all of them.
    pub fn sampled(self, count: usize, stream: impl Fn(usize) -> Stream) -> Features {
        match self {
            Features::Frames(frames) if count > 0 => {
                let mut sampled = Frames::new(frames.width);
                for row in 0..frames.rows() {
                    sampled.push_sampled(frames.row(row), frames.scaling[row], count, stream(row));
                }
                Features::Frames(sampled)
            }
            all => all,
        }
    }
}

impl Frames {
    /// No rows, of frames of `width` features.
    pub fn new(width: usize) -> Frames {
        Frames { width, offsets: vec![0], bytes: Vec::new(), scaling: Vec::new() }
    }

    pub fn rows(&self) -> usize {
        self.scaling.len()
    }

    /// Appends a row: its frames end to end, of which the first `FRAMES_MAX` count, and the scale
    /// and offset that make numbers of their bytes.
    pub fn push(&mut self, frames: &[u8], scaling: [f32; 2]) {
        let frames = &frames[..frames.len().min(FRAMES_MAX * self.width)];
        self.bytes.extend_from_slice(frames);
        self.offsets.push(self.bytes.len() / self.width);
        self.scaling.push(scaling);
    }

    fn append(&mut self, other: &Frames) {
        let at = self.bytes.len() / self.width;
        self.bytes.extend_from_slice(&other.bytes);
        self.offsets.extend(other.offsets[1..].iter().map(|offset| at + offset));
        self.scaling.extend_from_slice(&other.scaling);
    }

    fn push_sampled(&mut self, frames: &[u8], scaling: [f32; 2], count: usize, mut stream: Stream) {
        let found = frames.len() / self.width;
        for _ in 0..count * usize::from(found > 0) {
            let frame = stream.below(found as u64) as usize * self.width;
            self.bytes.extend_from_slice(&frames[frame..frame + self.width]);
        }
        self.offsets.push(self.bytes.len() / self.width);
        self.scaling.push(scaling);
    }

    /// The frames of one row, end to end.
    fn row(&self, row: usize) -> &[u8] {
        &self.bytes[self.offsets[row] * self.width..self.offsets[row + 1] * self.width]
    }

    /// The bytes of one row's frames, end to end, and the scale and offset that make numbers of
    /// them.
    pub fn bytes(&self, row: usize) -> (&[u8], [f32; 2]) {
        (self.row(row), self.scaling[row])
    }

    /// The frames of all rows `[frames][D]`, and the scale and offset of each row's.
    pub(crate) fn whole(&self) -> (&[u8], &[[f32; 2]]) {
        (&self.bytes, &self.scaling)
    }

    /// Frames of some rows, counted from the first row's first.
    pub(crate) fn within(&self, rows: &Range<usize>) -> Range<usize> {
        self.offsets[rows.start]..self.offsets[rows.end]
    }

    /// Number of frames of each of some rows.
    pub fn counts(&self, rows: &Range<usize>) -> Vec<usize> {
        self.offsets[rows.start..=rows.end].windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    /// Runs of whole rows, each of at most `TILE_FRAMES` frames or a single row.
    pub fn tiles(&self) -> impl Iterator<Item = Range<usize>> + use<'_> {
        self.tiles_of(TILE_FRAMES)
    }

    /// The most frames of a tile, such that so many threads get about as many tiles as each other.
    pub(crate) fn tile_for(&self, threads: usize) -> usize {
        let all = self.within(&(0..self.rows())).len();
        match threads {
            1 => TILE_FRAMES,
            _ => all.div_ceil(all.div_ceil(TILE_FRAMES).max(1).next_multiple_of(threads)),
        }
    }

    /// The same of at most so many frames.
    pub(crate) fn tiles_of(&self, most: usize) -> impl Iterator<Item = Range<usize>> + use<'_> {
        let mut from = 0;
        std::iter::from_fn(move || {
            let end = self.offsets[from] + most;
            let to = self.offsets.partition_point(|offset| *offset <= end) - 1;
            let rows = from..to.max(from + 1).min(self.rows());
            from = rows.end;
            (!rows.is_empty()).then_some(rows)
        })
    }

    /// The frames of some rows as numbers [frames][D].
    pub fn numbers(&self, instructions: Instructions, rows: &Range<usize>) -> Matrix {
        let frames = self.within(rows).len();
        let mut numbers = Matrix::zeros(frames, self.width);
        let stride = stride_of(self.width);
        let mut places = numbers.data.chunks_exact_mut(stride);
        for row in rows.clone() {
            for bytes in self.row(row).chunks_exact(self.width) {
                let place = &mut places.next().expect("a place for every frame")[..self.width];
                from_bytes(instructions, bytes, place, self.scaling[row]);
            }
        }
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    fn ragged(counts: &[usize]) -> Frames {
        let mut frames = Frames::new(2);
        for (row, count) in counts.iter().enumerate() {
            let bytes: Vec<u8> = (0..2 * count).map(|at| (row * 10 + at) as u8).collect();
            frames.push(&bytes, [1.0, -0.5]);
        }
        frames
    }

    #[test]
    fn tiles_hold_whole_rows_of_any_length() {
        for counts in [vec![], vec![0], vec![0, 0, 3], vec![300; 5], vec![1; 1000], vec![500, 0, 1]]
        {
            let frames = ragged(&counts);
            let tiles: Vec<_> = frames.tiles().collect();
            assert_eq!(tiles.iter().flat_map(Clone::clone).count(), counts.len(), "{counts:?}");
            for tile in &tiles {
                let held: usize = frames.counts(tile).iter().sum();
                assert!(held <= TILE_FRAMES || tile.len() == 1, "{tile:?}");
            }
        }
        assert_eq!(ragged(&[500]).counts(&(0..1)), [FRAMES_MAX]);
    }

    #[test]
    fn frames_are_drawn_with_replacement_from_their_own_row() {
        let frames = Features::Frames(ragged(&[3, 0, 1]));
        let stream = |row: usize| Stream::new(1, Purpose::FrameSample, row as u64);
        let Features::Frames(drawn) = frames.clone().sampled(40, stream) else { panic!() };
        assert_eq!(drawn.counts(&(0..3)), [40, 0, 40]);
        let first = drawn.numbers(Instructions::plain(), &(0..1));
        let seen = |number: f32| (0..40).any(|frame| first.row(frame)[0] == number - 0.5);
        assert!(seen(0.0) && seen(2.0) && seen(4.0));
        assert_eq!(frames.clone().sampled(0, stream), frames);
    }
}
