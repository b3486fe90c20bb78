//! Reads rows of one shard, hyperslabs straight into the caller's buffer, and checks every value.

use std::ops::Range;
use std::path::Path;

use hdf5_sys::h5::{herr_t, hsize_t};
use hdf5_sys::h5d::{H5Dread, H5Dwrite};
use hdf5_sys::h5i::hid_t;
use hdf5_sys::h5p::H5P_DEFAULT;
use hdf5_sys::h5s::{H5S_ALL, H5S_SELECT_SET, H5Sclose, H5Screate_simple, H5Sselect_hyperslab};

use super::schema::{Kind, ShardInfo, open_chunked, wrong};
use crate::error::{Error, Result};
use crate::labels::Labels;
use crate::model::numbers::{all_finite, from_bytes};
use crate::model::vector::Instructions;
use crate::progress::Call;

/// An open shard.
pub struct ShardReader {
    info: ShardInfo,
    values: hdf5::Dataset,
    labels: hdf5::Dataset,
    ids: hdf5::Dataset,
    /// One more than rows; checked to rise from 0 to the number of labels.
    label_offsets: Vec<i64>,
    /// The same for frames; empty at video level.
    frame_offsets: Vec<i64>,
    /// Bytes of quantised values, before they are scaled.
    bytes: Vec<u8>,
    instructions: Instructions,
}

impl ShardReader {
    /// Opens the shard that `info` describes.
    pub fn open(info: &ShardInfo) -> Result<ShardReader> {
        let path = info.path.as_path();
        let _opening = Call::on("opening", path);
        let now = ShardInfo::read(path)?;
        if now != *info {
            return Err(Error::input(format!("{}: changed since it was opened", path.display())));
        }
        let file = open_chunked(path, info.chunk_bytes)?;
        let dataset = |name: &str| {
            file.dataset(name).map_err(|error| wrong(path, &format!("dataset {name:?}"), error))
        };
        let offsets = |name: &str, last: usize| {
            let offsets = dataset(name)?
                .read_raw::<i64>()
                .map_err(|error| wrong(path, &format!("dataset {name:?}"), unreadable(&error)))?;
            check_offsets(path, name, &offsets, last)?;
            Ok::<_, Error>(offsets)
        };
        let frame_offsets = match info.kind {
            Kind::Video => Vec::new(),
            Kind::Frames => offsets("frame_offsets", info.frames)?,
        };
        Ok(ShardReader {
            values: dataset(info.values())?,
            labels: dataset("labels")?,
            ids: dataset("ids")?,
            label_offsets: offsets("label_offsets", info.positives)?,
            frame_offsets,
            info: info.clone(),
            bytes: Vec::new(),
            instructions: Instructions::detect(),
        })
    }

    fn path(&self) -> &Path {
        &self.info.path
    }

    /// Features of `rows` into `features` [rows][D]; bytes are scaled.
    ///
    /// # Errors
    /// Exit 4: a frame-level shard, a damaged chunk, a value that isn't finite.
    pub fn features(&mut self, rows: Range<usize>, features: &mut [f32]) -> Result<()> {
        let width = self.info.width();
        assert_eq!(features.len(), rows.len() * width);
        if self.info.kind == Kind::Frames {
            let text = "found frames, expected video-level features";
            return Err(wrong(self.path(), "dataset \"frames\"", text));
        }
        self.matrix(rows.clone(), features)?;
        let not_finite = |features: &[f32]| features.iter().position(|value| !value.is_finite());
        if !self.finite(features)
            && let Some(at) = not_finite(features)
        {
            let (row, column) = (rows.start + at / width, at % width);
            let text =
                format!("row {row}, column {column}: found {}, expected a number", features[at]);
            return Err(wrong(self.path(), "dataset \"features\"", text));
        }
        Ok(())
    }

    /// The frames of one row, [T][D] bytes as stored.
    ///
    /// # Errors
    /// Exit 4: a video-level shard, values that aren't bytes, a damaged chunk.
    pub fn frames(&mut self, row: usize) -> Result<Vec<u8>> {
        let field = format!("dataset {:?}", self.info.values());
        if self.info.kind == Kind::Video || self.info.quantised.is_none() {
            return Err(wrong(self.path(), &field, "expected frames of bytes"));
        }
        let frames = self.frame_offsets[row] as usize..self.frame_offsets[row + 1] as usize;
        let width = self.info.width();
        let mut bytes = vec![0; frames.len() * width];
        read_rows(&self.values, frames, width, &mut bytes)
            .map_err(|error| wrong(self.path(), &field, error))?;
        Ok(bytes)
    }

    /// Scale and offset of quantised values.
    pub fn scaling(&self) -> Option<[f32; 2]> {
        self.info.quantised.map(|(scale, offset)| [scale, offset])
    }

    /// Whether all of `features` surely are numbers. Those made of bytes lie between the values of
    /// the least and the largest byte, so they needn't be looked at.
    fn finite(&self, features: &[f32]) -> bool {
        match self.info.quantised {
            None => all_finite(self.instructions, features),
            Some((scale, offset)) => offset.is_finite() && (255.0 * scale + offset).is_finite(),
        }
    }

    fn matrix(&mut self, rows: Range<usize>, values: &mut [f32]) -> Result<()> {
        let width = self.info.width();
        let read = match self.info.quantised {
            None => read_rows(&self.values, rows, width, values),
            Some((scale, offset)) => {
                self.bytes.resize(values.len(), 0);
                let read = read_rows(&self.values, rows, width, &mut self.bytes);
                from_bytes(self.instructions, &self.bytes, values, [scale, offset]);
                read
            }
        };
        let field = format!("dataset {:?}", self.info.values());
        read.map_err(|error| wrong(self.path(), &field, error))
    }

    /// Appends the labels of `rows` to `labels`.
    ///
    /// # Errors
    /// Exit 4: a label that isn't below the number of classes, isn't in order or stands twice.
    pub fn labels(&mut self, rows: Range<usize>, labels: &mut Labels) -> Result<()> {
        let at = |row: usize| self.label_offsets[row] as usize;
        let (from, to) = (at(rows.start), at(rows.end));
        let mut classes = vec![0u32; to - from];
        read_rows(&self.labels, from..to, 0, &mut classes)
            .map_err(|error| wrong(self.path(), "dataset \"labels\"", error))?;
        for row in rows {
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
            return Err(wrong(self.path(), "dataset \"labels\"", format!("row {row}: {text}")));
        }
        Ok(())
    }

    /// The ids of `rows`, without their padding.
    pub fn ids(&mut self, rows: Range<usize>) -> Result<Vec<Vec<u8>>> {
        let width = self.ids.dtype().map(|dtype| dtype.size()).unwrap_or(1);
        let mut bytes = vec![0u8; rows.len() * width];
        read_cells(&self.ids, rows, &mut bytes)
            .map_err(|error| wrong(self.path(), "dataset \"ids\"", error))?;
        let end = |cell: &[u8]| cell.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        Ok(bytes.chunks_exact(width).map(|cell| cell[..end(cell)].to_vec()).collect())
    }
}

fn unreadable(error: &dyn std::fmt::Display) -> String {
    format!("can't be read ({error}): the file is damaged")
}

fn check_offsets(path: &Path, name: &str, offsets: &[i64], last: usize) -> Result<()> {
    let field = format!("dataset {name:?}");
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
    Ok(())
}

/// A simple dataspace that closes itself.
struct Space(hid_t);

impl Space {
    fn simple(extents: &[hsize_t]) -> Space {
        // SAFETY: HDF5 copies as many extents as it is told that there are.
        Space(unsafe { H5Screate_simple(extents.len() as i32, extents.as_ptr(), std::ptr::null()) })
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // SAFETY: the handle is this space's own.
        unsafe { H5Sclose(self.0) };
    }
}

/// Reads `rows` of a dataset into `out`: of a matrix `width` numbers each, of a vector (`width` 0)
/// one. The safe interface of the crate would allocate anew for every read.
fn read_rows<T: hdf5::H5Type>(
    dataset: &hdf5::Dataset,
    rows: Range<usize>,
    width: usize,
    out: &mut [T],
) -> std::result::Result<(), String> {
    assert_eq!(out.len(), rows.len() * width.max(1), "room for what is read");
    let dtype = hdf5::Datatype::from_type::<T>().map_err(|error| error.to_string())?;
    read_as(dataset, rows, width, dtype.id(), out.as_mut_ptr().cast())
}

/// Reads cells of any fixed size, as they are stored.
fn read_cells(
    dataset: &hdf5::Dataset,
    rows: Range<usize>,
    out: &mut [u8],
) -> std::result::Result<(), String> {
    let dtype = dataset.dtype().map_err(|error| error.to_string())?;
    assert_eq!(out.len(), rows.len() * dtype.size(), "room for what is read");
    read_as(dataset, rows, 0, dtype.id(), out.as_mut_ptr().cast())
}

/// `out` must have room for the rows in the memory type `dtype`.
fn read_as(
    dataset: &hdf5::Dataset,
    rows: Range<usize>,
    width: usize,
    dtype: hid_t,
    out: *mut std::ffi::c_void,
) -> std::result::Result<(), String> {
    if rows.is_empty() {
        return Ok(());
    }
    let space = dataset.space().map_err(|error| error.to_string())?;
    let (start, count) = ([rows.start as hsize_t, 0], [rows.len() as hsize_t, width as hsize_t]);
    let dimensions = if width == 0 { 1 } else { 2 };
    let status: herr_t = hdf5::sync::sync(|| {
        let memory = Space::simple(&count[..dimensions]);
        // SAFETY: start and count have one number per dimension of the dataset, whose selection is
        // as large as the memory space, which `out` has room for.
        unsafe {
            let (stride, block) = (std::ptr::null(), std::ptr::null());
            let (start, count) = (start.as_ptr(), count.as_ptr());
            match H5Sselect_hyperslab(space.id(), H5S_SELECT_SET, start, stride, count, block) {
                status if status < 0 => status,
                _ => H5Dread(dataset.id(), dtype, memory.0, space.id(), H5P_DEFAULT, out),
            }
        }
    });
    match status {
        status if status < 0 => Err(unreadable(&"checksum or structure")),
        _ => Ok(()),
    }
}

/// Writes `bytes`, the whole of a dataset, as its own type says.
pub fn write_whole(dataset: &hdf5::Dataset, bytes: &[u8]) -> hdf5::Result<()> {
    let dtype = dataset.dtype()?;
    assert_eq!(bytes.len(), dataset.size() * dtype.size(), "all of the dataset");
    let (id, data) = (dataset.id(), bytes.as_ptr().cast());
    // SAFETY: `data` holds as many bytes as the whole dataset has in its own type.
    let status = hdf5::sync::sync(|| unsafe {
        H5Dwrite(id, dtype.id(), H5S_ALL, H5S_ALL, H5P_DEFAULT, data)
    });
    if status < 0 { Err("can't be written".into()) } else { Ok(()) }
}
