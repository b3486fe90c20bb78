//! The dataset `class_names` of shards, annotations and files of models: a fixed-length text in
//! UTF-8 for each class, padded with NUL.
//!
//! It isn't cut into chunks: so the proof of a shard covers it among all bytes that aren't rows,
//! and programs that know nothing of names read such shards as they read others.

use std::path::Path;

use hdf5::types::TypeDescriptor;

use super::attributes::type_name;
use super::content::unpadded;
use super::datasets::{DatasetType, is_padded_with_spaces};
use super::hyperslab;
use super::storage::{self, Lack};
use crate::names::{NAME_MAX, width};

pub(crate) const CLASS_NAMES: &str = "class_names";

/// Writes the names of some classes.
pub(crate) fn write_class_names(group: &hdf5::Group, names: &[String]) -> hdf5::Result<()> {
    let width = width(names);
    let dtype = TypeDescriptor::FixedUnicode(width);
    let builder = group.new_dataset_builder().empty_as(&dtype);
    let dataset = builder.shape(names.len()).create(CLASS_NAMES)?;
    let mut bytes = vec![0; names.len() * width];
    for (cell, name) in bytes.chunks_exact_mut(width).zip(names) {
        cell[..name.len()].copy_from_slice(name.as_bytes());
    }
    hyperslab::write_whole(&dataset, &bytes)
}

/// The names of `classes` classes, or of any number, if a file of `file_bytes` bytes holds some.
///
/// # Errors
/// What is wrong with them.
pub(crate) fn read_class_names(
    group: &hdf5::Group,
    file_bytes: u64,
    classes: Option<usize>,
) -> Result<Option<Vec<String>>, String> {
    if !group.link_exists(CLASS_NAMES) {
        return Ok(None);
    }
    let dataset = storage::open(group, CLASS_NAMES)?;
    let dtype = dataset.dtype().map_err(|error| error.to_string())?;
    let (found, wanted) = (dataset.shape(), DatasetType::Texts(NAME_MAX));
    let fits = found.len() == 1 && classes.is_none_or(|classes| found == [classes]);
    if !fits || !wanted.fits(&dtype) {
        let (name, wanted) = (type_name(&dtype), wanted.name());
        let classes = classes.map_or("*".into(), |classes| classes.to_string());
        return Err(format!("found {name} {found:?}, expected {wanted} [{classes}]"));
    }
    if is_padded_with_spaces(&dtype) {
        return Err("found texts padded with spaces, expected NUL".into());
    }
    storage::check_all_there(&dataset, file_bytes)
        .map_err(|(Lack::Unwritten(text) | Lack::Other(text))| text)?;
    let (classes, width) = (found[0], dtype.size());
    let mut bytes = vec![0; classes * width];
    hyperslab::read(&dataset, 0..classes, &mut bytes).map_err(|error| error.to_string())?;
    let text = |(class, cell): (usize, &[u8])| {
        let text = String::from_utf8(unpadded(cell).to_vec());
        text.map_err(|_| format!("class {class}: found a name that isn't UTF-8"))
    };
    bytes.chunks_exact(width).enumerate().map(text).collect::<Result<_, _>>().map(Some)
}

/// Whether the closed file at `path` holds these names.
///
/// # Errors
/// It doesn't.
pub(super) fn same_class_names(path: &Path, names: &[String]) -> Result<(), String> {
    let file = hdf5::File::open(path).map_err(|error| error.to_string())?;
    let found = read_class_names(&file, file.size(), Some(names.len()))?;
    match found.is_some_and(|found| found == names) {
        true => Ok(()),
        false => Err("the names of classes that come back aren't those that were written".into()),
    }
}
