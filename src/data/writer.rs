//! Writes a shard: chunk by chunk under a temporary name, then read back, proven, synced and
//! renamed.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use hdf5::file::LibraryVersion;
use hdf5::types::TypeDescriptor;
use hdf5::{Dataset, H5Type};
use ndarray::{ArrayView1, ArrayView2};

use super::attributes::write_text;
use super::content::{Common, Content, ShardDataset};
use super::fletcher::fletcher32;
use super::hyperslab;
use super::read_back::read_back;
use super::schema::{FORMAT, Kind, ShardHeader, wrong};
use super::trailer::{Trailer, VERSION};
use crate::disk::{Disk, folder_of, own_temporary};
use crate::error::{Error, Result};
use crate::example::{BYTE_OFFSET, BYTE_SCALE, Example, Values, nearest_byte};
use crate::limits::{check_class_count, check_id, check_parts};

/// Bytes of a chunk of features or frames.
const CHUNK_BYTES: usize = 1 << 20;
/// As far as they grow where there would be more than so many.
const CHUNK_BYTES_MAX: usize = 4 << 20;
const CHUNKS: usize = 4096;
/// Elements of a chunk of the one-dimensional datasets.
const CHUNK_ELEMENTS: usize = 1 << 16;

/// A shard under way. Rows are buffered by the chunk. Dropped without `finish` it leaves nothing.
pub struct ShardWriter {
    path: PathBuf,
    temporary: PathBuf,
    header: ShardHeader,
    /// Scale and offset of values that are stored as bytes, as frames always are.
    quantised: Option<(f32, f32)>,
    /// The file, and its features or frames once some are written; None once finished.
    file: Option<(hdf5::File, Option<Dataset>)>,
    /// Items of `values` written so far and items of a chunk, fewer where all rows are fewer.
    written: usize,
    chunk: usize,
    cut_to_rows: bool,
    /// Values as they are to be stored.
    buffer: Vec<u8>,
    frame_offsets: Vec<i64>,
    label_offsets: Vec<i64>,
    labels: Vec<u32>,
    ids: Vec<Vec<u8>>,
    /// What was pushed, to be compared with what comes back.
    content: Content,
}

impl ShardWriter {
    /// Begins the shard `path`, which must not exist. Features become 32-bit floats.
    ///
    /// # Errors
    /// Exit 4: no shard can hold such parts or so many classes; exit 5 where the file system
    /// refuses or the file exists.
    pub fn create(path: &Path, header: &ShardHeader) -> Result<ShardWriter> {
        let quantised = (header.kind == Kind::Frames).then_some((BYTE_SCALE, BYTE_OFFSET));
        ShardWriter::begin(path, header, quantised, CREATOR)
    }

    /// As `create`, with features as bytes of `BYTE_SCALE` and `BYTE_OFFSET`: each value goes to
    /// the nearest byte, those beyond -1.99 and 2.01 to the last one.
    ///
    /// # Errors
    /// As `create`.
    pub fn create_bytes(path: &Path, header: &ShardHeader) -> Result<ShardWriter> {
        ShardWriter::create_scaled(path, header, (BYTE_SCALE, BYTE_OFFSET))
    }

    /// The same with another scale and offset, also of frames.
    pub(crate) fn create_scaled(
        path: &Path,
        header: &ShardHeader,
        scaled: (f32, f32),
    ) -> Result<ShardWriter> {
        ShardWriter::begin(path, header, Some(scaled), CREATOR)
    }

    fn begin(
        path: &Path,
        header: &ShardHeader,
        quantised: Option<(f32, f32)>,
        creator: &str,
    ) -> Result<ShardWriter> {
        if path.exists() {
            return Err(Error::storage(format!("{}: exists already", path.display())));
        }
        check_parts(&header.parts).map_err(|text| wrong(path, "feature_parts", text))?;
        check_class_count(header.class_count as i128)
            .map_err(|text| wrong(path, "class_count", text))?;
        ShardWriter::anew(path, header, quantised, (creator, None))
    }

    /// Begins a shard that is to take the place of what is at `path`, by its creator and of about
    /// so many bytes. Its chunks are as large as in version 1, of which checkpoints know the size.
    pub(super) fn anew(
        path: &Path,
        header: &ShardHeader,
        quantised: Option<(f32, f32)>,
        (creator, bytes): (&str, Option<u64>),
    ) -> Result<ShardWriter> {
        let temporary = own_temporary(path);
        let size = if quantised.is_some() { 1 } else { size_of::<f32>() };
        // HDF5 takes time as the square of the number of chunks to say where they are.
        let chunk_bytes = bytes.unwrap_or(0) as usize / CHUNKS;
        let chunk_bytes = chunk_bytes.clamp(CHUNK_BYTES, CHUNK_BYTES_MAX);
        let chunk = (chunk_bytes / (header.width() * size)).max(1);
        let file = create(&temporary, header, creator).map_err(|error| failed(path, error))?;
        Ok(ShardWriter {
            path: path.to_path_buf(),
            temporary,
            header: header.clone(),
            quantised,
            file: Some((file, None)),
            written: 0,
            chunk,
            cut_to_rows: bytes.is_none(),
            buffer: Vec::new(),
            frame_offsets: vec![0],
            label_offsets: vec![0],
            labels: Vec::new(),
            ids: Vec::new(),
            content: Content::default(),
        })
    }

    /// Number of rows so far.
    pub(crate) fn rows(&self) -> usize {
        self.ids.len()
    }

    /// Appends a row. Its labels must be ascending, distinct and below the number of classes, its
    /// values of the header's kind and width.
    ///
    /// # Errors
    /// Exit 4: an id that shards can't keep (`check_id`); exit 5 where the file system refuses.
    pub fn push(&mut self, example: &Example) -> Result<()> {
        let bytes: Vec<u8>;
        let stored = match (&example.values, self.header.kind) {
            (Values::Video(values), Kind::Video) => {
                assert_eq!(values.len(), self.header.width(), "width of a row");
                match self.quantised {
                    None => bytemuck::cast_slice(values),
                    Some(scaled) => {
                        bytes = values.iter().map(|value| nearest_byte(*value, scaled)).collect();
                        &bytes
                    }
                }
            }
            (Values::Frames(bytes), Kind::Frames) => bytes,
            _ => panic!("a row of another kind than its shard"),
        };
        self.push_stored(stored, &example.labels, &example.id)
    }

    /// Appends a row whose values are as they are to be stored.
    pub(super) fn push_stored(&mut self, values: &[u8], labels: &[u32], id: &[u8]) -> Result<()> {
        check_id(id).map_err(|text| {
            Error::input(format!("{}: row {}: {text}", self.path.display(), self.ids.len()))
        })?;
        let classes = self.header.class_count as u32;
        assert!(labels.windows(2).all(|pair| pair[0] < pair[1]), "labels out of order");
        assert!(labels.iter().all(|label| *label < classes), "a label too large");
        if self.header.kind == Kind::Frames {
            let width = self.header.width();
            assert_eq!(values.len() % width, 0, "width of a frame");
            let last = self.frame_offsets[self.frame_offsets.len() - 1];
            self.frame_offsets.push(last + (values.len() / width) as i64);
        }
        self.content.add(ShardDataset::Values, values);
        self.buffer.extend_from_slice(values);
        self.labels.extend_from_slice(labels);
        self.label_offsets.push(self.labels.len() as i64);
        self.content.id(id);
        self.ids.push(id.to_vec());
        self.flush(false).map_err(|error| failed(&self.path, error))
    }

    fn item_bytes(&self) -> usize {
        self.header.width() * if self.quantised.is_some() { 1 } else { size_of::<f32>() }
    }

    /// Writes whole chunks of what is buffered, or all of it.
    fn flush(&mut self, all: bool) -> hdf5::Result<()> {
        let item = self.item_bytes();
        let buffered = self.buffer.len() / item;
        let items = if all { buffered } else { buffered / self.chunk * self.chunk };
        if items == 0 && !all {
            return Ok(());
        }
        let (from, to) = (self.written, self.written + items);
        let (file, values) = self.file.as_mut().expect("not finished yet");
        let values = match values {
            Some(values) => values,
            None => {
                if self.cut_to_rows && items > 0 {
                    self.chunk = self.chunk.min(items);
                }
                values.insert(create_values(file, &self.header, self.quantised, self.chunk)?)
            }
        };
        values.resize((to, self.header.width()))?;
        let mut stored = Vec::new();
        for (index, rows) in self.buffer[..items * item].chunks(self.chunk * item).enumerate() {
            // HDF5 would take longer for the checksum, and a detour through its cache.
            stored.clear();
            stored.extend_from_slice(rows);
            stored.resize(self.chunk * item, 0);
            stored.extend(fletcher32(&stored).to_le_bytes());
            hyperslab::write_chunk(values, from + index * self.chunk, &stored)?;
        }
        self.buffer.drain(..items * item);
        self.written = to;
        Ok(())
    }

    /// Writes the rest, reads all of it back, adds the proof, syncs and gives the shard its name.
    ///
    /// # Errors
    /// Exit 5 where the file system refuses, or gives back what wasn't written; then nothing is
    /// left.
    pub fn finish(mut self) -> Result<()> {
        let (trailer, disk) = (self.complete()?, Disk::default());
        let path = self.path.clone();
        self.put(&disk, &trailer, |temporary| {
            disk.hard_link(temporary, &path)?;
            disk.remove_file(temporary)?;
            disk.sync_dir(folder_of(&path))
        })
    }

    /// Adds the proof, syncs, and has `name` give the file under its temporary name its own one.
    pub(super) fn put<T>(
        self,
        disk: &Disk,
        trailer: &Trailer,
        name: impl FnOnce(&Path) -> io::Result<T>,
    ) -> Result<T> {
        let written = disk.adopt(&self.temporary).and_then(|mut file| {
            file.write_all(&trailer.to_bytes())?;
            file.sync()
        });
        let named = written.and_then(|()| name(&self.temporary));
        named.map_err(|error| Error::file(&self.path, &error))
    }

    /// Writes the rest and proves what the file holds.
    pub(super) fn complete(&mut self) -> Result<Trailer> {
        self.write_rest().map_err(|error| failed(&self.path, error))?;
        for (part, numbers) in [
            (ShardDataset::LabelOffsets, bytemuck::cast_slice(&self.label_offsets)),
            (ShardDataset::Labels, bytemuck::cast_slice(&self.labels)),
        ] {
            self.content.add(part, numbers);
        }
        let ShardHeader { parts, class_count, kind, .. } = &self.header;
        let (kind, class_count, quantised) = (*kind, *class_count, self.quantised);
        if kind == Kind::Frames {
            self.content.add(ShardDataset::FrameOffsets, bytemuck::cast_slice(&self.frame_offsets));
        }
        let common = Common { kind, parts, class_count, rows: self.ids.len(), quantised };
        let pushed = self.content.digest(&common);
        let trailer = read_back(&self.temporary, &common)
            .map_err(|text| Error::storage(format!("{}: {text}", self.path.display())))?;
        match trailer.content == pushed {
            true => Ok(trailer),
            false => {
                let text = "what was written isn't what comes back";
                Err(Error::storage(format!("{}: {text}", self.path.display())))
            }
        }
    }

    fn write_rest(&mut self) -> hdf5::Result<()> {
        self.flush(true)?;
        let (file, values) = self.file.take().expect("finished once");
        // The file's last bytes are only written once its datasets are closed.
        drop(values);
        vector(&file, "label_offsets", &self.label_offsets)?;
        vector(&file, "labels", &self.labels)?;
        if self.header.kind == Kind::Frames {
            vector(&file, "frame_offsets", &self.frame_offsets)?;
        }
        write_ids(&file, &self.ids)?;
        file.close()
    }
}

impl Drop for ShardWriter {
    fn drop(&mut self) {
        self.file.take();
        let _ = Disk::default().remove_file(&self.temporary);
    }
}

const CREATOR: &str = concat!("reelscale ", env!("CARGO_PKG_VERSION"));

pub(super) fn failed(path: &Path, error: hdf5::Error) -> Error {
    Error::storage(format!("{}: {error}", path.display()))
}

/// A file of the format of HDF5 1.10, whose metadata has checksums, without times.
fn create(path: &Path, header: &ShardHeader, creator: &str) -> hdf5::Result<hdf5::File> {
    let file = hdf5::File::with_options()
        .with_fapl(|access| access.libver_bounds(LibraryVersion::V110, LibraryVersion::V110))
        .with_fcpl(|create| create.obj_track_times(false))
        .create(path)?;
    let parts = serde_json::to_string(&header.parts).expect("parts are plain data");
    let texts = [
        ("format", FORMAT),
        ("feature_parts", &parts),
        ("creator", creator),
        ("source", &header.source),
    ];
    for (name, value) in texts {
        write_text(&file, name, value)?;
    }
    file.new_attr::<u64>().create("version")?.write_scalar(&u64::from(VERSION))?;
    file.new_attr::<u64>().create("class_count")?.write_scalar(&(header.class_count as u64))?;
    Ok(file)
}

/// The empty matrix of values, which grows by items in chunks of `chunk`.
fn create_values(
    file: &hdf5::File,
    header: &ShardHeader,
    quantised: Option<(f32, f32)>,
    chunk: usize,
) -> hdf5::Result<Dataset> {
    let (name, width) = (ShardDataset::Values.name(header.kind), header.width());
    match quantised {
        None => growing::<f32>(file, name, width, chunk),
        Some((scale, offset)) => {
            let values = growing::<u8>(file, name, width, chunk)?;
            values.new_attr::<f32>().create("scale")?.write_scalar(&scale)?;
            values.new_attr::<f32>().create("offset")?.write_scalar(&offset)?;
            Ok(values)
        }
    }
}

/// An empty checksummed matrix that grows by rows.
fn growing<T: H5Type>(
    file: &hdf5::File,
    name: &str,
    width: usize,
    chunk: usize,
) -> hdf5::Result<Dataset> {
    let shape = (hdf5::Extent::resizable(0), hdf5::Extent::fixed(width));
    file.new_dataset::<T>().chunk((chunk, width)).fletcher32().shape(shape).create(name)
}

fn vector<T: H5Type>(file: &hdf5::File, name: &str, values: &[T]) -> hdf5::Result<()> {
    let builder = file.new_dataset::<T>();
    if values.is_empty() {
        return builder.shape(0).create(name).map(drop);
    }
    let chunk = values.len().min(CHUNK_ELEMENTS);
    let dataset = builder.chunk(chunk).fletcher32().shape(values.len()).create(name)?;
    dataset.write(ArrayView1::from(values))
}

/// Ids as fixed-length bytes, padded with NUL. Their length is only known here, so their type is
/// made at run time and they are written as raw bytes through HDF5 itself.
pub(super) fn write_ids(file: &hdf5::File, ids: &[Vec<u8>]) -> hdf5::Result<()> {
    let width = ids.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let dtype = TypeDescriptor::FixedAscii(width);
    let builder = file.new_dataset_builder().empty_as(&dtype);
    if ids.is_empty() {
        return builder.shape(0).create("ids").map(drop);
    }
    let chunk = (CHUNK_BYTES / width).clamp(1, ids.len());
    let dataset = builder.shape(ids.len()).chunk(chunk).fletcher32().create("ids")?;
    let mut bytes = vec![0u8; ids.len() * width];
    for (cell, id) in bytes.chunks_exact_mut(width).zip(ids) {
        cell[..id.len()].copy_from_slice(id);
    }
    hyperslab::write_whole(&dataset, &bytes)
}

pub(super) fn matrix<T: H5Type>(
    file: &hdf5::File,
    name: &str,
    values: &[T],
    rows: usize,
    width: usize,
) -> hdf5::Result<()> {
    let builder = file.new_dataset::<T>().shape((rows, width));
    if rows == 0 {
        return builder.create(name).map(drop);
    }
    let chunk = (CHUNK_ELEMENTS / width).clamp(1, rows);
    let view = ArrayView2::from_shape((rows, width), values).expect("whole rows");
    builder.chunk((chunk, width)).fletcher32().create(name)?.write(view)
}
