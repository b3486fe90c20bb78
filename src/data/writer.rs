//! Writes a shard: chunk by chunk under a temporary name, then synced and renamed.

use std::path::{Path, PathBuf};

use hdf5::types::{TypeDescriptor, VarLenUnicode};
use hdf5::{Dataset, H5Type};
use ndarray::{ArrayView1, ArrayView2, s};

use super::schema::{FORMAT, Kind, ShardHeader, VERSION};
use crate::disk::{Disk, own_temporary};
use crate::error::{Error, Result};
use crate::example::{BYTE_OFFSET, BYTE_SCALE, Example, Values};

/// Bytes of a chunk of features or frames.
const CHUNK_BYTES: usize = 1 << 20;
/// Elements of a chunk of the one-dimensional datasets.
const CHUNK_ELEMENTS: usize = 1 << 16;

/// A shard under way. Rows are buffered by the chunk. Dropped without `finish` it leaves nothing.
pub struct ShardWriter {
    path: PathBuf,
    temporary: PathBuf,
    header: ShardHeader,
    /// Whether values are stored as bytes, as frames always are.
    as_bytes: bool,
    /// The file and its features or frames; None once finished.
    file: Option<(hdf5::File, Dataset)>,
    /// Rows of `values` written so far and rows of a chunk.
    written: usize,
    chunk: usize,
    floats: Vec<f32>,
    bytes: Vec<u8>,
    frame_offsets: Vec<i64>,
    label_offsets: Vec<i64>,
    labels: Vec<u32>,
    ids: Vec<Vec<u8>>,
}

impl ShardWriter {
    /// Begins the shard `path`, which must not exist. Features become 32-bit floats.
    ///
    /// # Errors
    /// Exit 5 where the file system refuses or the file exists.
    pub fn create(path: &Path, header: &ShardHeader) -> Result<ShardWriter> {
        ShardWriter::begin(path, header, header.kind == Kind::Frames)
    }

    /// As `create`, with features as bytes of `BYTE_SCALE` and `BYTE_OFFSET`: each value goes to
    /// the nearest byte, those beyond -1.99 and 2.01 to the last one.
    ///
    /// # Errors
    /// Exit 5 where the file system refuses or the file exists.
    pub fn create_bytes(path: &Path, header: &ShardHeader) -> Result<ShardWriter> {
        ShardWriter::begin(path, header, true)
    }

    fn begin(path: &Path, header: &ShardHeader, as_bytes: bool) -> Result<ShardWriter> {
        if path.exists() {
            return Err(Error::storage(format!("{}: exists already", path.display())));
        }
        let temporary = own_temporary(path);
        let width = header.width();
        let name = if header.kind == Kind::Video { "features" } else { "frames" };
        let size = if as_bytes { 1 } else { size_of::<f32>() };
        let chunk = (CHUNK_BYTES / (width * size)).max(1);
        let create = || -> hdf5::Result<(hdf5::File, Dataset)> {
            let file = hdf5::File::create(&temporary)?;
            write_attributes(&file, header)?;
            if !as_bytes {
                let values = growing::<f32>(&file, name, width, chunk)?;
                return Ok((file, values));
            }
            let values = growing::<u8>(&file, name, width, chunk)?;
            values.new_attr::<f32>().create("scale")?.write_scalar(&BYTE_SCALE)?;
            values.new_attr::<f32>().create("offset")?.write_scalar(&BYTE_OFFSET)?;
            Ok((file, values))
        };
        let (file, values) = create().map_err(|error| failed(path, error))?;
        Ok(ShardWriter {
            path: path.to_path_buf(),
            temporary,
            header: header.clone(),
            as_bytes,
            file: Some((file, values)),
            written: 0,
            chunk,
            floats: Vec::new(),
            bytes: Vec::new(),
            frame_offsets: vec![0],
            label_offsets: vec![0],
            labels: Vec::new(),
            ids: Vec::new(),
        })
    }

    /// Number of rows so far.
    pub fn rows(&self) -> usize {
        self.ids.len()
    }

    /// Appends a row. Its labels must be ascending, distinct and below the number of classes, its
    /// values of the header's kind and width.
    pub fn push(&mut self, example: &Example) -> Result<()> {
        let classes = self.header.class_count as u32;
        assert!(example.labels.windows(2).all(|pair| pair[0] < pair[1]), "labels out of order");
        assert!(example.labels.iter().all(|label| *label < classes), "a label too large");
        let width = self.header.width();
        match (&example.values, self.header.kind) {
            (Values::Video(values), Kind::Video) => {
                assert_eq!(values.len(), width, "width of a row");
                match self.as_bytes {
                    true => self.bytes.extend(values.iter().copied().map(nearest_byte)),
                    false => self.floats.extend_from_slice(values),
                }
            }
            (Values::Frames(bytes), Kind::Frames) => {
                assert_eq!(bytes.len() % width, 0, "width of a frame");
                self.bytes.extend_from_slice(bytes);
                let last = self.frame_offsets[self.frame_offsets.len() - 1];
                self.frame_offsets.push(last + (bytes.len() / width) as i64);
            }
            _ => panic!("a row of another kind than its shard"),
        }
        self.labels.extend_from_slice(&example.labels);
        self.label_offsets.push(self.labels.len() as i64);
        self.ids.push(example.id.clone());
        self.flush(false).map_err(|error| failed(&self.path, error))
    }

    /// Writes whole chunks of what is buffered, or all of it.
    fn flush(&mut self, all: bool) -> hdf5::Result<()> {
        let width = self.header.width();
        let buffered = (self.floats.len() + self.bytes.len()) / width;
        let rows = if all { buffered } else { buffered / self.chunk * self.chunk };
        if rows == 0 {
            return Ok(());
        }
        let (from, to) = (self.written, self.written + rows);
        let (_, values) = self.file.as_ref().expect("not finished yet");
        values.resize((to, width))?;
        match self.as_bytes {
            true => put(values, &mut self.bytes, from, rows, width)?,
            false => put(values, &mut self.floats, from, rows, width)?,
        }
        self.written = to;
        Ok(())
    }

    /// Writes the rest, syncs and gives the shard its name.
    ///
    /// # Errors
    /// Exit 5 where the file system refuses; then nothing is left.
    pub fn finish(mut self) -> Result<()> {
        self.write_rest().map_err(|error| failed(&self.path, error))?;
        Disk::default()
            .put_new(&self.temporary, &self.path)
            .map_err(|error| Error::file(&self.path, &error))
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

/// The byte whose value is nearest; a cast saturates.
fn nearest_byte(value: f32) -> u8 {
    ((value - BYTE_OFFSET) / BYTE_SCALE).round() as u8
}

fn failed(path: &Path, error: hdf5::Error) -> Error {
    Error::storage(format!("{}: {error}", path.display()))
}

fn text(value: &str) -> VarLenUnicode {
    value.replace('\0', " ").parse().expect("a text without NUL")
}

fn write_attributes(file: &hdf5::File, header: &ShardHeader) -> hdf5::Result<()> {
    let parts = serde_json::to_string(&header.parts).expect("parts are plain data");
    let creator = concat!("reelscale ", env!("CARGO_PKG_VERSION"));
    let texts = [
        ("format", FORMAT),
        ("feature_parts", &parts),
        ("creator", creator),
        ("source", &header.source),
    ];
    for (name, value) in texts {
        file.new_attr::<VarLenUnicode>().create(name)?.write_scalar(&text(value))?;
    }
    file.new_attr::<u64>().create("version")?.write_scalar(&u64::from(VERSION))?;
    file.new_attr::<u64>().create("class_count")?.write_scalar(&(header.class_count as u64))
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

fn put<T: H5Type>(
    values: &Dataset,
    buffer: &mut Vec<T>,
    from: usize,
    rows: usize,
    width: usize,
) -> hdf5::Result<()> {
    let view = ArrayView2::from_shape((rows, width), &buffer[..rows * width]).expect("whole rows");
    values.write_slice(view, s![from..from + rows, ..])?;
    buffer.drain(..rows * width);
    Ok(())
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
fn write_ids(file: &hdf5::File, ids: &[Vec<u8>]) -> hdf5::Result<()> {
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
    super::reader::write_whole(&dataset, &bytes)
}

/// Writes annotations: /ids [rows], /classes and /scores [rows, top], best first. Under a temporary
/// name first; `path` must not exist.
///
/// # Errors
/// Exit 5 where the file system refuses.
pub fn write_annotations(
    path: &Path,
    ids: &[Vec<u8>],
    classes: &[u32],
    scores: &[f32],
    top: usize,
) -> Result<()> {
    let temporary = own_temporary(path);
    let all = || -> hdf5::Result<()> {
        let file = hdf5::File::create(&temporary)?;
        file.new_attr::<VarLenUnicode>()
            .create("format")?
            .write_scalar(&text("reelscale-annotations"))?;
        write_ids(&file, ids)?;
        matrix(&file, "classes", classes, ids.len(), top)?;
        matrix(&file, "scores", scores, ids.len(), top)?;
        file.close()
    };
    let disk = Disk::default();
    let outcome = all()
        .map_err(|error| failed(path, error))
        .and_then(|()| disk.put_new(&temporary, path).map_err(|error| Error::file(path, &error)));
    let _ = disk.remove_file(&temporary);
    outcome
}

fn matrix<T: H5Type>(
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
