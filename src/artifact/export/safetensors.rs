//! The format of Hugging Face's safetensors: u64 length of a header, the header in JSON, the data.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::file::{NewFile, Region};
use super::source::Source;
use super::tensors::{fill, tensors};
use crate::disk::Disk;
use crate::error::Result;

/// Where the data begin, and each tensor in them.
const ALIGNMENT: usize = 8;

/// Writes the model to the file `path`; returns its length.
///
/// # Errors
/// What the source gives; exit 5: the file system refuses.
pub(super) fn write(disk: &Disk, source: &Source, path: &Path) -> Result<u64> {
    let tensors = tensors(source);
    let mut header = Map::new();
    let described = source.described().into_iter().map(|(key, text)| (key.into(), text.into()));
    header.insert("__metadata__".into(), Value::Object(described.collect()));
    let (mut end, mut spans) = (0, Vec::new());
    for tensor in &tensors {
        let start = end;
        end += tensor.bytes();
        let kind = if tensor.is_whole_numbers() { "I64" } else { "F32" };
        let entry = json!({ "dtype": kind, "shape": tensor.shape, "data_offsets": [start, end] });
        header.insert(tensor.name.clone(), entry);
        spans.push((start, tensor.bytes()));
    }
    let mut header = serde_json::to_vec(&header).expect("a header is plain data");
    header.resize(header.len().next_multiple_of(ALIGNMENT), b' ');
    let data = (size_of::<u64>() + header.len()) as u64;
    let file = NewFile::create(disk, path, data + end)?;
    file.put(&(header.len() as u64).to_le_bytes(), 0)?;
    file.put(&header, size_of::<u64>() as u64)?;
    let regions = spans.iter().map(|(start, bytes)| Region::new(data + start, *bytes));
    let mut regions: Vec<Region> = regions.collect();
    fill(source, &file, &tensors, &mut regions)?;
    regions.iter().for_each(Region::assert_filled);
    file.put_in_place()?;
    Ok(data + end)
}
