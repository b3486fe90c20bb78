//! Reads rows of one shard and checks every value.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::content::{Content, ShardDataset, unpadded};
use super::items::{Items, Watched, places};
use super::proof::Opened;
use super::prove::still_same;
use super::schema::{Kind, Proof, ShardInfo, hex, wrong};
use super::storage;
use super::trailer::Digest;
use crate::error::{Error, Result};
use crate::example::Run;
use crate::kernel::finite::all_below;
use crate::kernel::vector::Instructions;
use crate::labels::Labels;
use crate::model::bounds::{FeatureBounds, TooLarge};
use crate::model::features::{FRAMES_MAX, Frames, decode};
use crate::progress::{CallGuard, tick};

/// Bytes of chunks that HDF5 caches for each open dataset by default.
const CHUNK_CACHE: usize = 1 << 20;
/// The largest chunk that is kept: the chunk that two reads share would otherwise be read and
/// checked twice.
const CHUNK_CACHE_MAX: usize = 4 << 20;

/// An open shard.
pub struct ShardReader {
    info: ShardInfo,
    values: Items,
    labels: Items,
    ids: Items,
    /// One more than rows; checked to rise from 0 to the number of labels.
    label_offsets: Vec<i64>,
    /// The same for frames; empty at video level.
    frame_offsets: Vec<i64>,
    /// Where features have which scale and offset.
    runs: Vec<Run>,
    /// Bytes of values that aren't 32-bit floats, before they become such.
    bytes: Vec<u8>,
    /// How large values may be, and whether any byte gives one that surely is within.
    bounds: Arc<FeatureBounds>,
    bytes_fit: bool,
    instructions: Instructions,
}

impl ShardReader {
    /// Opens the shard that `info` describes, and checks again what opening can. Where there is a
    /// proof, HDF5 isn't asked any more.
    ///
    /// # Errors
    /// Exit 4: as `ShardInfo::read`; other rows than those that `info` describes.
    pub fn open(info: &ShardInfo) -> Result<ShardReader> {
        ShardReader::within(info, Arc::new(FeatureBounds::none()))
    }

    /// As `open`; rows beyond `bounds` are errors.
    ///
    /// # Errors
    /// As `open`.
    pub(crate) fn within(info: &ShardInfo, bounds: Arc<FeatureBounds>) -> Result<ShardReader> {
        let _opening = CallGuard::on("opening", &info.path);
        let opened = Opened::open(&info.path)?;
        let own = match (&opened.trailer, &info.proof) {
            (Some(trailer), Proof::Own { file }) => *file == hex(trailer.digest()),
            _ => false,
        };
        // The same file, or one that has the same rows: sealed meanwhile, or written again.
        let mut now = if own { info.clone() } else { ShardInfo::of(&opened)? };
        if let (None, Proof::Read { .. }) = (&opened.trailer, &info.proof) {
            let stamp = opened.stamp()?;
            still_same(info, stamp)?;
            now.digest.clone_from(&info.digest);
            now.proof = Proof::Read { stamp };
        }
        if !same_rows(info, &now) {
            let text = format!("{}: changed since it was opened", info.path.display());
            return Err(Error::input(text));
        }
        ShardReader::of(&opened, now, bounds)
    }

    pub(super) fn of(
        opened: &Opened,
        info: ShardInfo,
        bounds: Arc<FeatureBounds>,
    ) -> Result<ShardReader> {
        let path = info.path.as_path();
        let [values, mut label_offsets, labels, mut frame_offsets, ids] = items(opened, &info)?;
        let label_offsets = offsets(path, "label_offsets", &mut label_offsets, info.positives)?;
        let frame_offsets = match info.kind {
            Kind::Video => Vec::new(),
            Kind::Frames => offsets(path, "frame_offsets", &mut frame_offsets, info.frames)?,
        };
        let (bytes, instructions) = (Vec::new(), Instructions::detect());
        let runs = info.runs();
        let fits = |(_, [scale, offset]): &Run| {
            let ends = [0.0, 255.0].map(|byte: f32| (byte * scale + offset).abs());
            ends[0].max(ends[1]) < bounds.surely
        };
        let bytes_fit = info.encoding.size() == 1 && runs.iter().all(fits);
        Ok(ShardReader {
            info,
            values,
            labels,
            ids,
            label_offsets,
            frame_offsets,
            runs,
            bytes,
            bounds,
            bytes_fit,
            instructions,
        })
    }

    fn wrong(&self, part: ShardDataset, text: impl std::fmt::Display) -> Error {
        wrong(&self.info.path, &format!("dataset {:?}", part.name(self.info.kind)), text)
    }

    /// Features of `rows` into `features` [rows][D]; bytes are scaled.
    ///
    /// # Errors
    /// Exit 4: a frame-level shard, a damaged chunk, a value that isn't finite, or too large for
    /// what scales it.
    pub(crate) fn features(&mut self, rows: Range<usize>, features: &mut [f32]) -> Result<()> {
        let width = self.info.width();
        assert_eq!(features.len(), rows.len() * width);
        if self.info.kind == Kind::Frames {
            return Err(
                self.wrong(ShardDataset::Values, "found frames, expected video-level features")
            );
        }
        let first = rows.start;
        let read = match self.info.encoding.size() {
            4 => self.values.read(rows, bytemuck::cast_slice_mut(features)),
            size => {
                self.bytes.resize(features.len() * size, 0);
                let read = self.values.read(rows, &mut self.bytes);
                decode(self.instructions, size, &self.runs, &self.bytes, features);
                read
            }
        };
        read.map_err(|text| self.wrong(ShardDataset::Values, text))?;
        match self.bytes_fit || all_below(self.instructions, features, self.bounds.surely) {
            true => Ok(()),
            false => self.check_values(first, features, "row"),
        }
    }

    /// The numbers of some frames, or rows, as they are stored.
    fn decoded(&self, bytes: &[u8]) -> Vec<f32> {
        let size = self.info.encoding.size();
        let mut numbers = vec![0.0; bytes.len() / size];
        decode(self.instructions, size, &self.runs, bytes, &mut numbers);
        numbers
    }

    /// Whether each value is a number, and within bounds; `what` the rows of `values` are.
    fn check_values(&self, first: usize, values: &[f32], what: &str) -> Result<()> {
        let width = self.info.width();
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            let (row, column) = (first + at / width, at % width);
            let text =
                format!("{what} {row}, column {column}: found {}, expected a number", values[at]);
            return Err(self.wrong(ShardDataset::Values, text));
        }
        for (row, values) in values.chunks_exact(width).enumerate() {
            if let Some(found) = self.bounds.too_large(values) {
                let TooLarge { column, value, what: sum } = found;
                let text = format!(
                    "{what} {}, column {column}: found {value:e}, which is too large: {sum} is \
                     infinite",
                    first + row
                );
                let hint = "is it a fill value? data.normalize = \"none\" takes it as it is";
                return Err(self.wrong(ShardDataset::Values, text).hint(hint));
            }
        }
        Ok(())
    }

    /// The frames of one row, [T][D] as stored.
    ///
    /// # Errors
    /// Exit 4: a video-level shard, a damaged chunk.
    pub(crate) fn frames(&mut self, row: usize) -> Result<Vec<u8>> {
        if self.info.kind == Kind::Video {
            return Err(self.wrong(ShardDataset::Values, "found features, expected frames"));
        }
        let frames = self.frame_offsets[row] as usize..self.frame_offsets[row + 1] as usize;
        let frame = self.info.width() * self.info.encoding.size();
        let mut bytes = vec![0; frames.len() * frame];
        let read = self.values.read(frames, &mut bytes);
        read.map_err(|text| self.wrong(ShardDataset::Values, text))?;
        if !self.bytes_fit {
            // Pooling takes no more of them.
            let numbers = self.decoded(&bytes[..bytes.len().min(FRAMES_MAX * frame)]);
            if !all_below(self.instructions, &numbers, self.bounds.surely) {
                self.check_values(0, &numbers, &format!("row {row}, frame"))?;
            }
        }
        Ok(bytes)
    }

    /// Appends the frames of one row in the form that `frames` have.
    ///
    /// # Errors
    /// As `frames`.
    pub(crate) fn push_frames(&mut self, row: usize, frames: &mut Frames) -> Result<()> {
        let bytes = self.frames(row)?;
        let (size, runs) = (frames.form().size(), frames.form().runs().len());
        if size != self.info.encoding.size() {
            // Rows of several encodings are 32-bit floats.
            let numbers = self.decoded(&bytes);
            frames.push_stored(bytemuck::cast_slice(&numbers), &[[1.0, 0.0]]);
            return Ok(());
        }
        let own = self.runs.iter().map(|run| run.1);
        let scaling: Vec<[f32; 2]> = match self.runs.len() {
            1 => own.cycle().take(runs).collect(),
            _ => own.collect(),
        };
        frames.push_stored(&bytes, &scaling);
        Ok(())
    }

    /// The values of `rows` as they are stored, and where each row's end.
    pub(super) fn stored(&mut self, rows: Range<usize>) -> Result<(Vec<u8>, Vec<usize>)> {
        let (_, item) = self.values.size();
        let at = |row: usize| match self.info.kind {
            Kind::Video => row,
            Kind::Frames => self.frame_offsets[row] as usize,
        };
        let items = at(rows.start)..at(rows.end);
        let ends = rows.map(|row| (at(row + 1) - items.start) * item).collect();
        let mut bytes = vec![0; items.len() * item];
        let read = self.values.read(items, &mut bytes);
        read.map_err(|text| self.wrong(ShardDataset::Values, text))?;
        Ok((bytes, ends))
    }

    /// Appends the labels of `rows` to `labels`.
    ///
    /// # Errors
    /// Exit 4: a label that isn't below the number of classes, isn't in order or stands twice.
    pub(crate) fn labels(&mut self, rows: Range<usize>, labels: &mut Labels) -> Result<()> {
        let at = |row: usize| self.label_offsets[row] as usize;
        let (from, to) = (at(rows.start), at(rows.end));
        let mut classes = vec![0u32; to - from];
        let read = self.labels.read(from..to, bytemuck::cast_slice_mut(&mut classes));
        read.map_err(|text| self.wrong(ShardDataset::Labels, text))?;
        for row in rows {
            let at = |row: usize| self.label_offsets[row] as usize;
            let own = &classes[at(row) - from..at(row + 1) - from];
            let text = match own.iter().find(|label| **label as usize >= self.info.class_count) {
                Some(label) => format!("found {label}, expected below {}", self.info.class_count),
                None => match own.windows(2).find(|pair| pair[0] >= pair[1]) {
                    Some(pair) => {
                        format!("found {} after {}, expected ascending", pair[1], pair[0])
                    }
                    None => {
                        labels.push(own);
                        continue;
                    }
                },
            };
            return Err(self.wrong(ShardDataset::Labels, format!("row {row}: {text}")));
        }
        Ok(())
    }

    /// The ids of `rows`, without their padding.
    pub fn ids(&mut self, rows: Range<usize>) -> Result<Vec<Vec<u8>>> {
        let width = self.info.id_bytes;
        let mut bytes = vec![0u8; rows.len() * width];
        let read = self.ids.read(rows, &mut bytes);
        read.map_err(|text| self.wrong(ShardDataset::Ids, text))?;
        Ok(bytes.chunks_exact(width).map(|cell| unpadded(cell).to_vec()).collect())
    }

    /// Reads every row as training does, each chunk once, and returns the digest of the content.
    ///
    /// # Errors
    /// Exit 4: as those of the other methods; a content that isn't that of the proof.
    pub fn check_in_full(&mut self) -> Result<Digest> {
        let mut content = Content::default();
        self.all_values(&mut content)?;
        for rows in self.ids.runs() {
            for id in self.ids(rows)? {
                content.id(&id);
            }
        }
        // Labels of all rows lie in memory at once, as the offsets do.
        let mut labels = Labels::new();
        self.labels(0..self.info.rows, &mut labels)?;
        content.add(ShardDataset::Labels, bytemuck::cast_slice(labels.classes()));
        content.add(ShardDataset::LabelOffsets, bytemuck::cast_slice(&self.label_offsets));
        content.add(ShardDataset::FrameOffsets, bytemuck::cast_slice(&self.frame_offsets));
        let found = content.digest(&self.info.common());
        let expected = matches!(self.info.proof, Proof::Own { .. });
        match self.info.digest.as_ref().filter(|_| expected) {
            Some(expected) if *expected != hex(found) => {
                let text = format!("found the content {}, expected {expected}", hex(found));
                Err(Error::input(format!("{}: {text}", self.info.path.display())))
            }
            _ => Ok(found),
        }
    }

    fn all_values(&mut self, content: &mut Content) -> Result<()> {
        let _reading = CallGuard::on("checking", &self.info.path);
        let floats = self.info.encoding.size() > 1;
        let (_, item) = self.values.size();
        let mut bytes = Vec::new();
        for items in self.values.runs() {
            tick();
            let first = items.start;
            bytes.resize(items.len() * item, 0);
            let read = self.values.read(items, &mut bytes);
            read.map_err(|text| self.wrong(ShardDataset::Values, text))?;
            content.add(ShardDataset::Values, &bytes);
            if floats {
                let numbers = self.decoded(&bytes);
                if !all_below(self.instructions, &numbers, self.bounds.surely) {
                    let what = if self.info.kind == Kind::Video { "row" } else { "frame" };
                    self.check_values(first, &numbers, what)?;
                }
            }
        }
        Ok(())
    }
}

/// Whether two descriptions of a path are of the same rows, as far as they tell.
fn same_rows(then: &ShardInfo, now: &ShardInfo) -> bool {
    match (&then.digest, &now.digest) {
        (Some(then), Some(now)) => then == now,
        _ => {
            let of = |info: &ShardInfo| {
                let ShardInfo { rows, frames, positives, .. } = *info;
                (rows, frames, positives, info.encoding.clone())
            };
            let head = |info: &ShardInfo| (info.kind, info.class_count);
            of(then) == of(now) && head(then) == head(now) && then.parts == now.parts
        }
    }
}

/// The datasets of a shard, in the order of `ShardDataset::ALL`.
fn items(opened: &Opened, info: &ShardInfo) -> Result<[Items; 5]> {
    let path = info.path.as_path();
    if let Some(trailer) = &opened.trailer {
        let places = places(trailer, &info.sizes())
            .map_err(|text| Error::input(format!("{}: {text}", path.display())))?;
        let mut places = places.into_iter();
        return Ok(ShardDataset::ALL.map(|_| {
            let place = places.next().expect("one for each dataset");
            Items::proven(opened.file.clone(), trailer.clone(), place)
        }));
    }
    let file = opened.hdf5(info.chunk_bytes.clamp(CHUNK_CACHE, CHUNK_CACHE_MAX))?;
    let open = |part: ShardDataset| {
        if !part.is_of(info.kind) {
            return Ok(Items::Empty);
        }
        let name = part.name(info.kind);
        let dataset = storage::open(&file, name);
        let watched = match info.proof {
            Proof::Read { stamp } => Some(Watched { file: opened.file.clone(), stamp }),
            _ => None,
        };
        let items = dataset.map(|dataset| Items::Hdf5(dataset, watched));
        items.map_err(|text| wrong(path, &format!("dataset {name:?}"), text))
    };
    let [values, label_offsets, labels, frame_offsets, ids] = ShardDataset::ALL.map(open);
    Ok([values?, label_offsets?, labels?, frame_offsets?, ids?])
}

/// All of a dataset of offsets, which rise from 0 to `last`.
fn offsets(path: &Path, name: &str, items: &mut Items, last: usize) -> Result<Vec<i64>> {
    let field = format!("dataset {name:?}");
    let mut offsets = vec![0i64; items.size().0];
    let read = items.read(0..offsets.len(), bytemuck::cast_slice_mut(&mut offsets));
    read.map_err(|text| wrong(path, &field, text))?;
    if let Some(row) = offsets.windows(2).position(|pair| pair[0] > pair[1]) {
        let (now, next) = (offsets[row], offsets[row + 1]);
        let text = format!("row {row}: found {next} after {now}, expected no fall");
        return Err(wrong(path, &field, text));
    }
    if (offsets[0], offsets[offsets.len() - 1]) != (0, last as i64) {
        let found = (offsets[0], offsets[offsets.len() - 1]);
        let text = format!("found {} to {}, expected 0 to {last}", found.0, found.1);
        return Err(wrong(path, &field, text));
    }
    Ok(offsets)
}
