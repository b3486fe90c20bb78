//! Writes a shard: chunk by chunk under a temporary name, then read back, proven, synced and
//! renamed.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hdf5::Dataset;

use super::class_names::{same_class_names, write_class_names};
use super::content::{Common, Content, ShardDataset};
use super::fletcher::fletcher32;
use super::hyperslab;
use super::objects::{CHUNK_BYTES, CREATOR, create, create_values, failed, vector, write_ids};
use super::read_back::read_back;
use super::schema::{Kind, ShardHeader, wrong};
use super::trailer::Trailer;
use super::versions::version_of;
use crate::disk::{Disk, folder_of, own_temporary};
use crate::encoding::Encoding;
use crate::error::{Error, Result};
use crate::example::{Example, Run, Values};
use crate::limits::{check_class_count, check_id, check_parts};
use crate::names::Names;

/// How far chunks of values grow where there would be more than `CHUNKS` of them.
const CHUNK_BYTES_MAX: usize = 4 << 20;
const CHUNKS: usize = 4096;

/// A shard under way. Rows are buffered by the chunk. Dropped without `finish` it leaves nothing.
pub struct ShardWriter {
    path: PathBuf,
    temporary: PathBuf,
    header: ShardHeader,
    /// Of all classes, where these have any.
    names: Option<Arc<Names>>,
    encoding: Encoding,
    runs: Vec<Run>,
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
    /// Begins the shard `path`, which must not exist. Features become 32-bit floats, frames bytes
    /// of `BYTE_SCALE` and `BYTE_OFFSET`.
    ///
    /// # Errors
    /// Exit 4: no shard can hold such parts or so many classes; exit 5 where the file system
    /// refuses or the file exists.
    pub fn create(path: &Path, header: &ShardHeader) -> Result<ShardWriter> {
        let encoding = match header.kind {
            Kind::Video => Encoding::Floats,
            Kind::Frames => Encoding::of_youtube8m(),
        };
        ShardWriter::create_encoded(path, header, encoding)
    }

    /// As `create`, with features as bytes of `BYTE_SCALE` and `BYTE_OFFSET`: each value goes to
    /// the nearest byte, those beyond -1.99 and 2.01 to the last one.
    ///
    /// # Errors
    /// As `create`.
    pub fn create_bytes(path: &Path, header: &ShardHeader) -> Result<ShardWriter> {
        ShardWriter::create_encoded(path, header, Encoding::of_youtube8m())
    }

    /// As `create`, with values that are stored like this.
    ///
    /// # Errors
    /// As `create`.
    pub fn create_encoded(
        path: &Path,
        header: &ShardHeader,
        encoding: Encoding,
    ) -> Result<ShardWriter> {
        if path.exists() {
            return Err(Error::storage(format!("{}: exists already", path.display())));
        }
        check_parts(&header.parts).map_err(|text| wrong(path, "feature_parts", text))?;
        check_class_count(header.class_count as i128)
            .map_err(|text| wrong(path, "class_count", text))?;
        ShardWriter::anew(path, header, encoding, (CREATOR, None))
    }

    /// Begins a shard that is to take the place of what is at `path`, by its creator and of about
    /// so many bytes. Its chunks are as large as in version 1, of which checkpoints know the size.
    pub(super) fn anew(
        path: &Path,
        header: &ShardHeader,
        encoding: Encoding,
        (creator, bytes): (&str, Option<u64>),
    ) -> Result<ShardWriter> {
        let temporary = own_temporary(path);
        // HDF5 takes time as the square of the number of chunks to say where they are.
        let chunk_bytes = bytes.unwrap_or(0) as usize / CHUNKS;
        let chunk_bytes = chunk_bytes.clamp(CHUNK_BYTES, CHUNK_BYTES_MAX);
        let chunk = (chunk_bytes / (header.width() * encoding.size())).max(1);
        let made = (creator, version_of(header.kind, &encoding));
        let file = create(&temporary, header, made).map_err(|error| failed(path, error))?;
        Ok(ShardWriter {
            path: path.to_path_buf(),
            temporary,
            header: header.clone(),
            runs: encoding.runs(&header.parts),
            encoding,
            names: None,
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

    /// The same shard, with names of its classes, which must be as many as these.
    pub fn named(mut self, names: Option<Arc<Names>>) -> ShardWriter {
        let fit = |names: &Arc<Names>| names.count() == self.header.class_count;
        assert!(names.as_ref().is_none_or(fit), "a name for each class");
        self.names = names;
        self
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
        let mut encoded = Vec::new();
        let stored = match (&example.values, self.header.kind) {
            (Values::Video(numbers), Kind::Video) => {
                assert_eq!(numbers.len(), self.header.width(), "width of a row");
                self.encoding.encode(&self.runs, numbers, &mut encoded);
                &encoded
            }
            (Values::FrameNumbers(numbers), Kind::Frames) => {
                assert_eq!(numbers.len() % self.header.width(), 0, "width of a frame");
                self.encoding.encode(&self.runs, numbers, &mut encoded);
                &encoded
            }
            (Values::Frames(bytes), Kind::Frames) => {
                assert!(bytes.is_empty() || self.encoding.size() == 1, "bytes among floats");
                bytes
            }
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
            let frame = self.item_bytes();
            assert_eq!(values.len() % frame, 0, "width of a frame");
            let last = self.frame_offsets[self.frame_offsets.len() - 1];
            self.frame_offsets.push(last + (values.len() / frame) as i64);
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
        self.header.width() * self.encoding.size()
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
                values.insert(create_values(file, &self.header, &self.encoding, self.chunk)?)
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
        let (kind, class_count, encoding) = (*kind, *class_count, &self.encoding);
        if kind == Kind::Frames {
            self.content.add(ShardDataset::FrameOffsets, bytemuck::cast_slice(&self.frame_offsets));
        }
        let common = Common { kind, parts, class_count, rows: self.ids.len(), encoding };
        let pushed = self.content.digest(&common);
        let fault = |text: String| Error::storage(format!("{}: {text}", self.path.display()));
        let trailer = read_back(&self.temporary, &common).map_err(fault)?;
        if let Some(names) = &self.names {
            same_class_names(&self.temporary, names.all()).map_err(fault)?;
        }
        match trailer.content == pushed {
            true => Ok(trailer),
            false => Err(fault("what was written isn't what comes back".into())),
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
        if let Some(names) = &self.names {
            write_class_names(&file, names.all())?;
        }
        file.close()
    }
}

impl Drop for ShardWriter {
    fn drop(&mut self) {
        self.file.take();
        let _ = Disk::default().remove_file(&self.temporary);
    }
}
