//! Features of rows as they come from shards: a vector of numbers for each, or frames, which stay
//! as they were stored until they are used.

use std::ops::Range;

use crate::example::Run;
use crate::kernel::dequantise::{from_bytes, from_floats, from_halves};
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

/// What frames are stored as, the same of all rows.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameForm {
    /// Number of features D.
    width: usize,
    /// Bytes of a number: 4 or 2, those of a float; or 1.
    size: usize,
    /// Where runs of features end of which each has a scale and offset of its own.
    runs: Vec<usize>,
}

impl FrameForm {
    /// Of bytes that all have one scale and offset.
    pub fn of_bytes(width: usize) -> FrameForm {
        FrameForm { width, size: 1, runs: vec![width] }
    }

    /// Of frames of `width` features, given for some rows and others the bytes of a number and the
    /// runs: 32-bit floats, unless all numbers have as many bytes.
    pub fn of_all(width: usize, all: impl Iterator<Item = (usize, Vec<Run>)>) -> FrameForm {
        let mut form: Option<FrameForm> = None;
        for (size, runs) in all {
            let runs: Vec<usize> = runs.iter().map(|run| run.0).collect();
            let own = FrameForm { width, size, runs };
            form = Some(match form {
                None => own,
                Some(form) if form.size != own.size => {
                    FrameForm { width, size: size_of::<f32>(), runs: vec![width] }
                }
                // Those of the parts.
                Some(form) if form.runs.len() > own.runs.len() => form,
                Some(_) => own,
            });
        }
        form.unwrap_or_else(|| FrameForm::of_bytes(width))
    }

    /// Bytes of a number.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    pub(crate) fn runs(&self) -> &[usize] {
        &self.runs
    }

    fn frame_bytes(&self) -> usize {
        self.width * self.size
    }
}

/// The numbers of rows or frames that were stored like this, with these runs.
pub(crate) fn decode(
    instructions: Instructions,
    size: usize,
    runs: &[Run],
    bytes: &[u8],
    numbers: &mut [f32],
) {
    match (size, runs) {
        (4, _) => from_floats(bytes, numbers),
        (2, _) => from_halves(instructions, bytes, numbers),
        (_, [(_, scaling)]) => from_bytes(instructions, bytes, numbers, *scaling),
        _ => {
            let width = runs[runs.len() - 1].0;
            let rows = bytes.chunks_exact(width).zip(numbers.chunks_exact_mut(width));
            for (bytes, numbers) in rows {
                let mut from = 0;
                for (end, scaling) in runs {
                    let own = from..*end;
                    from_bytes(instructions, &bytes[own.clone()], &mut numbers[own], *scaling);
                    from = *end;
                }
            }
        }
    }
}

/// Frames of consecutive rows: any number of them for each row.
#[derive(Clone, Debug, PartialEq)]
pub struct Frames {
    form: FrameForm,
    /// Row i has the frames `offsets[i]..offsets[i + 1]`.
    offsets: Vec<usize>,
    /// [frames][D]
    bytes: Vec<u8>,
    /// Scale and offset of each row's runs, [rows][runs].
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
                let (frames, scaling) = other.stored(row);
                own.push_stored(frames, scaling);
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
                let mut sampled = Frames::of(frames.form.clone());
                for row in 0..frames.rows() {
                    sampled.push_sampled(&frames, row, count, stream(row));
                }
                Features::Frames(sampled)
            }
            all => all,
        }
    }
}

impl Frames {
    /// No rows, of frames of `width` features as bytes of one scale and offset a row.
    pub fn new(width: usize) -> Frames {
        Frames::of(FrameForm::of_bytes(width))
    }

    /// No rows, of frames of this form.
    pub fn of(form: FrameForm) -> Frames {
        Frames { form, offsets: vec![0], bytes: Vec::new(), scaling: Vec::new() }
    }

    pub(crate) fn form(&self) -> &FrameForm {
        &self.form
    }

    pub fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Appends a row: its frames end to end, of which the first `FRAMES_MAX` count, and the scale
    /// and offset that make numbers of their bytes.
    pub fn push(&mut self, frames: &[u8], scaling: [f32; 2]) {
        self.push_stored(frames, &[scaling]);
    }

    /// The same of any form, with the scale and offset of each run.
    pub fn push_stored(&mut self, frames: &[u8], scaling: &[[f32; 2]]) {
        assert_eq!(scaling.len(), self.form.runs.len(), "a scale and offset for each run");
        let frame = self.form.frame_bytes();
        let frames = &frames[..frames.len().min(FRAMES_MAX * frame)];
        self.bytes.extend_from_slice(frames);
        self.offsets.push(self.bytes.len() / frame);
        self.scaling.extend_from_slice(scaling);
    }

    fn append(&mut self, other: &Frames) {
        assert_eq!(self.form, other.form, "frames of one form");
        let at = self.bytes.len() / self.form.frame_bytes();
        self.bytes.extend_from_slice(&other.bytes);
        self.offsets.extend(other.offsets[1..].iter().map(|offset| at + offset));
        self.scaling.extend_from_slice(&other.scaling);
    }

    fn push_sampled(&mut self, other: &Frames, row: usize, count: usize, mut stream: Stream) {
        let (frames, size) = (other.row(row), self.form.frame_bytes());
        let found = frames.len() / size;
        for _ in 0..count * usize::from(found > 0) {
            let frame = stream.below(found as u64) as usize * size;
            self.bytes.extend_from_slice(&frames[frame..frame + size]);
        }
        self.offsets.push(self.bytes.len() / size);
        self.scaling.extend_from_slice(other.scaling_of(row));
    }

    /// The frames of one row, end to end.
    fn row(&self, row: usize) -> &[u8] {
        let frame = self.form.frame_bytes();
        &self.bytes[self.offsets[row] * frame..self.offsets[row + 1] * frame]
    }

    fn scaling_of(&self, row: usize) -> &[[f32; 2]] {
        let runs = self.form.runs.len();
        &self.scaling[row * runs..][..runs]
    }

    /// What makes numbers of one row's bytes.
    fn runs_of(&self, row: usize) -> Vec<Run> {
        self.form.runs.iter().copied().zip(self.scaling_of(row).iter().copied()).collect()
    }

    /// The bytes of one row's frames, end to end, and the scale and offset that make numbers of
    /// them, where all features have the same.
    pub fn bytes(&self, row: usize) -> (&[u8], [f32; 2]) {
        (self.row(row), self.scaling_of(row)[0])
    }

    /// The frames of one row as they are stored, end to end, and the scale and offset of each run.
    pub fn stored(&self, row: usize) -> (&[u8], &[[f32; 2]]) {
        (self.row(row), self.scaling_of(row))
    }

    /// What they are stored as, the frames of all rows `[frames][D]`, and the scale and offset of
    /// each row's runs.
    pub(crate) fn whole(&self) -> (&FrameForm, &[u8], &[[f32; 2]]) {
        (&self.form, &self.bytes, &self.scaling)
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
        let (frames, width) = (self.within(rows).len(), self.form.width);
        let mut numbers = Matrix::zeros(frames, width);
        let stride = stride_of(width);
        let mut places = numbers.data.chunks_exact_mut(stride);
        for row in rows.clone() {
            let runs = self.runs_of(row);
            for bytes in self.row(row).chunks_exact(self.form.frame_bytes()) {
                let place = &mut places.next().expect("a place for every frame")[..width];
                decode(instructions, self.form.size, &runs, bytes, place);
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
