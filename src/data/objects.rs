//! The objects of a shard's file, as they are made.

use std::path::Path;

use half::f16;
use hdf5::file::LibraryVersion;
use hdf5::types::TypeDescriptor;
use hdf5::{Dataset, H5Type};
use ndarray::{ArrayView1, ArrayView2};

use super::attributes::write_text;
use super::content::ShardDataset;
use super::hyperslab;
use super::schema::{FORMAT, ShardHeader};
use crate::encoding::Encoding;
use crate::error::Error;

/// Bytes of a chunk of features or frames.
pub(super) const CHUNK_BYTES: usize = 1 << 20;
/// Elements of a chunk of the one-dimensional datasets.
const CHUNK_ELEMENTS: usize = 1 << 16;

pub(super) const CREATOR: &str = concat!("reelscale ", env!("CARGO_PKG_VERSION"));

pub(super) fn failed(path: &Path, error: hdf5::Error) -> Error {
    Error::storage(format!("{}: {error}", path.display()))
}

/// A file of the format of HDF5 1.10, whose metadata has checksums, without times.
pub(super) fn create(
    path: &Path,
    header: &ShardHeader,
    (creator, version): (&str, u64),
) -> hdf5::Result<hdf5::File> {
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
    file.new_attr::<u64>().create("version")?.write_scalar(&version)?;
    file.new_attr::<u64>().create("class_count")?.write_scalar(&(header.class_count as u64))?;
    Ok(file)
}

/// The empty matrix of values, which grows by items in chunks of `chunk`.
pub(super) fn create_values(
    file: &hdf5::File,
    header: &ShardHeader,
    encoding: &Encoding,
    chunk: usize,
) -> hdf5::Result<Dataset> {
    let (name, width) = (ShardDataset::Values.name(header.kind), header.width());
    let scaling = match encoding {
        Encoding::Floats => return growing::<f32>(file, name, width, chunk),
        Encoding::Halves => return growing::<f16>(file, name, width, chunk),
        Encoding::Bytes(scaling) => scaling,
    };
    let values = growing::<u8>(file, name, width, chunk)?;
    for (index, name) in ["scale", "offset"].into_iter().enumerate() {
        let numbers: Vec<f32> = scaling.iter().map(|both| both[index]).collect();
        let attribute = values.new_attr::<f32>();
        match numbers[..] {
            [number] => attribute.create(name)?.write_scalar(&number)?,
            _ => attribute.shape(numbers.len()).create(name)?.write(&numbers)?,
        }
    }
    Ok(values)
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

pub(super) fn vector<T: H5Type>(file: &hdf5::File, name: &str, values: &[T]) -> hdf5::Result<()> {
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
