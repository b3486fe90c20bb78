//! What MATLAB 7.3 makes of its arrays: the first axis is the nearest, texts are code units, cells
//! are references to arrays in a group of its own.

use std::path::Path;

use hdf5::{Dataset, ObjectReference1, ReferencedObject};
use hdf5_sys::h5t::H5T_class_t;

use super::chunks;
use super::forms::{self, Form, stored};
use crate::data::attributes::Attributes;
use crate::data::storage::{self, Lack};
use crate::fields::{Elements, Stored};
use crate::progress::tick;

type Read<T> = Result<T, String>;

/// What the names of MATLAB's own groups begin with: arrays that cells refer to, and objects.
pub(super) const OWN: char = '#';
/// The attribute that says what an array is in MATLAB.
const CLASS: &str = "MATLAB_class";
/// Those of an object, whose values nobody else knows, and of an array without elements.
const OBJECT: &str = "MATLAB_object_decode";
const EMPTY: &str = "MATLAB_empty";

/// Whether MATLAB wrote it, which has the first axis nearest.
pub(super) fn by_columns(dataset: &Dataset) -> bool {
    dataset.attr(CLASS).is_ok()
}

fn class(dataset: &Dataset) -> String {
    let attributes = Attributes { path: Path::new(""), field: "", object: dataset };
    attributes.text(CLASS).unwrap_or_default()
}

/// How texts and cells are read; none for numbers, and for what others wrote.
///
/// # Errors
/// What only MATLAB knows; an array without elements.
pub(super) fn form(dataset: &Dataset) -> Read<Option<Form>> {
    if !by_columns(dataset) {
        return Ok(None);
    }
    let (class, dtype) = (class(dataset), dataset.dtype().map_err(|error| error.to_string())?);
    if class == "string" || dataset.attr(OBJECT).is_ok() {
        let text = format!("found an array of MATLAB's class {class:?}, which only MATLAB reads");
        return Err(format!("{text}; hint: save cellstr(x) of texts, double(x) of numbers"));
    }
    if dataset.attr(EMPTY).is_ok() {
        return Err(format!("found an empty array of MATLAB's class {class:?}"));
    }
    match (&class[..], forms::class(dtype.id())) {
        ("char", _) => match stored(dtype.id())? {
            units @ Stored { elements: Elements::Whole { signed: false, .. }, .. }
                if dataset.ndim() == 2 =>
            {
                Ok(Some(Form::Units(units)))
            }
            _ => Err("found a char array that isn't one of MATLAB's".into()),
        },
        ("cell", H5T_class_t::H5T_REFERENCE) if several_axes(dataset) => {
            Err(format!("found {:?} cells, expected one a row", dataset.shape()))
        }
        ("cell", H5T_class_t::H5T_REFERENCE) => Ok(Some(Form::Cells)),
        _ => Ok(None),
    }
}

/// Whether it is more than a row or a column.
fn several_axes(dataset: &Dataset) -> bool {
    dataset.shape().iter().filter(|size| **size > 1).count() > 1
}

/// The references of a dataset of cells.
pub(super) fn references(dataset: &Dataset) -> Read<Vec<ObjectReference1>> {
    dataset.read_raw::<ObjectReference1>().map_err(|error| error.to_string())
}

/// The text in a cell, in a file of `file_bytes` bytes.
///
/// # Errors
/// Another array; one that isn't all there.
pub(super) fn text(
    cells: &Dataset,
    reference: &ObjectReference1,
    file_bytes: u64,
) -> Read<Vec<u8>> {
    tick();
    let dataset = match cells.dereference(reference) {
        Ok(ReferencedObject::Dataset(dataset)) => dataset,
        Ok(_) => return Err("found a cell that holds no array, expected a text".into()),
        Err(error) => return Err(format!("found a cell that can't be read ({error})")),
    };
    let class = class(&dataset);
    if class != "char" {
        let text = format!("found a cell of MATLAB's class {class:?}, expected a text (char)");
        return Err(format!("{text}; hint: cellfun(@num2str, x, 'UniformOutput', false)"));
    }
    if dataset.attr(EMPTY).is_ok() {
        return Ok(Vec::new());
    }
    let there = storage::check_all_there(&dataset, file_bytes);
    there.map_err(|(Lack::Unwritten(text) | Lack::Other(text))| text)?;
    chunks::check(&dataset, file_bytes)?;
    if several_axes(&dataset) {
        return Err(format!("found a cell of several texts ({:?})", dataset.shape()));
    }
    let units = dataset.read_raw::<u16>().map_err(|error| error.to_string())?;
    decoded(&units)
}

/// A text of code units.
fn decoded(units: &[u16]) -> Read<Vec<u8>> {
    let text = String::from_utf16(units);
    text.map(String::into_bytes).map_err(|_| "found half of a pair of code units".into())
}

/// The texts of rows of code units, without the spaces by which MATLAB makes them equally long.
pub(super) fn rows(bytes: &[u8], units: &Stored, rows: usize) -> Vec<Read<Vec<u8>>> {
    let row = |row: &[u8]| {
        let mut wholes = Vec::new();
        units.wholes(row, &mut wholes)?;
        let units: Vec<u16> = wholes.iter().map(|unit| *unit as u16).collect();
        let length = units.iter().rposition(|unit| ![0, u16::from(b' ')].contains(unit));
        decoded(&units[..length.map_or(0, |last| last + 1)])
    };
    match bytes.len().checked_div(rows) {
        Some(size @ 1..) => bytes.chunks_exact(size).map(row).collect(),
        _ => vec![Ok(Vec::new()); rows],
    }
}
