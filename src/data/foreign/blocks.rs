//! Rows of a dataset, read a block at a time.

use std::ops::Range;

use hdf5::types::{VarLenArray, VarLenAscii, VarLenUnicode};
use hdf5::{Dataset, ObjectReference1};
use hdf5_sys::h5z::H5Zfilter_avail;

use super::forms::{Form, Part};
use super::matlab::{self, by_columns};
use crate::data::hyperslab;
use crate::data::storage::{self, Lack};
use crate::fields::{Stored, turned};

type Read<T> = Result<T, String>;

/// Bytes that are read at once, about; whole chunks as far as they aren't much more.
const BLOCK_BYTES: usize = 4 << 20;
const CHUNKS_BYTES_MAX: usize = 256 << 20;

/// That all of a dataset is there, and can be read here.
fn check(dataset: &Dataset, file_bytes: u64) -> Read<()> {
    for filter in dataset.filters() {
        if let hdf5::filters::Filter::User(id, _) = filter {
            // SAFETY: only a number is asked about.
            let there = hdf5::sync::sync(|| unsafe { H5Zfilter_avail(id) }) > 0;
            if !there {
                let known = [(32000, " (LZF)"), (32001, " (Blosc)"), (32015, " (Zstandard)")];
                let name = known.iter().find(|known| known.0 == id).map_or("", |known| known.1);
                return Err(format!(
                    "found the filter {id}{name}, which isn't there; hint: h5repack -f GZIP=1 IN \
                     OUT, or ptrepack --complib zlib, where it is"
                ));
            }
        }
    }
    match storage::check_all_there(dataset, file_bytes) {
        Ok(()) => Ok(()),
        Err(Lack::Unwritten(text) | Lack::Other(text)) => Err(text),
    }
}

/// Rows of a dataset, a block at a time.
pub(super) struct Blocks {
    name: String,
    pub(super) dataset: Dataset,
    pub(super) part: Part,
    /// Bytes of an element, of which those of the part are kept.
    element_bytes: usize,
    file_bytes: u64,
    pub(super) rows: u64,
    /// Along the last axis, where that is the one of rows.
    pub(super) by_columns: bool,
    /// Elements of a row.
    elements: usize,
    /// Rows of a block, and the one that is held.
    pub(super) at_once: usize,
    pub(super) held: Range<usize>,
    bytes: Vec<u8>,
    texts: Vec<Read<Vec<u8>>>,
    lists: Vec<Vec<i64>>,
    references: Vec<ObjectReference1>,
}

impl Blocks {
    pub(super) fn of(name: &str, found: (Dataset, Part), file_bytes: u64) -> Read<Blocks> {
        let (dataset, part) = found;
        check(&dataset, file_bytes).map_err(|text| format!("{name}: {text}"))?;
        let (shape, cells) = (dataset.shape(), part.form == Form::Cells);
        let by_columns = by_columns(&dataset) && !cells;
        let axis = if by_columns { shape.len().max(1) - 1 } else { 0 };
        // Cells lie in a row or in a column.
        let rows = match shape.get(axis) {
            _ if cells => dataset.size(),
            Some(rows) => *rows,
            None => return Err(format!("{name}: found a single value, expected rows")),
        };
        let elements = dataset.size().checked_div(rows).unwrap_or(0);
        let element_bytes = dataset.dtype().map_or(1, |dtype| dtype.size());
        let bytes = elements * element_bytes;
        let chunk = dataset.chunk().and_then(|chunk| chunk.get(axis).copied()).unwrap_or(1).max(1);
        let fitting = (BLOCK_BYTES / bytes.max(1)).max(1);
        let whole = fitting.div_ceil(chunk) * chunk;
        let at_once = if whole * bytes <= CHUNKS_BYTES_MAX { whole } else { fitting };
        Ok(Blocks {
            name: name.into(),
            dataset,
            part,
            element_bytes,
            file_bytes,
            rows: rows as u64,
            by_columns,
            elements,
            at_once,
            held: 0..0,
            bytes: Vec::new(),
            texts: Vec::new(),
            lists: Vec::new(),
            references: Vec::new(),
        })
    }

    pub(super) fn hold(&mut self, row: usize) -> Read<()> {
        if self.held.contains(&row) {
            return Ok(());
        }
        let rows = row..(row.saturating_add(self.at_once)).min(self.rows as usize);
        self.read(rows.clone()).map_err(|text| {
            format!("{}: rows {rows:?} can't be read ({text}): the file is damaged", self.name)
        })?;
        self.held = rows;
        Ok(())
    }

    fn read(&mut self, rows: Range<usize>) -> Read<()> {
        let failed = |error: hdf5::Error| error.to_string();
        match &self.part.form {
            Form::Fixed(_) | Form::Records => self.read_bytes(rows)?,
            Form::Units(units) => {
                let (units, count) = (*units, rows.len());
                self.read_bytes(rows)?;
                self.texts = matlab::rows(&self.bytes, &units, count);
            }
            Form::Cells => {
                if self.references.is_empty() {
                    self.references = matlab::references(&self.dataset)?;
                }
                let text = |reference| matlab::text(&self.dataset, reference, self.file_bytes);
                self.texts = self.references[rows].iter().map(text).collect();
            }
            Form::Unicode => {
                let found = self.dataset.read_slice_1d::<VarLenUnicode, _>(rows).map_err(failed)?;
                self.texts = found.iter().map(|text| Ok(text.as_bytes().to_vec())).collect();
            }
            Form::Ascii => {
                let found = self.dataset.read_slice_1d::<VarLenAscii, _>(rows).map_err(failed)?;
                self.texts = found.iter().map(|text| Ok(text.as_bytes().to_vec())).collect();
            }
            Form::Lists => {
                let found =
                    self.dataset.read_slice_1d::<VarLenArray<i64>, _>(rows).map_err(failed)?;
                self.lists = found.iter().map(|list| list.to_vec()).collect();
            }
        }
        Ok(())
    }

    /// Reads elements as they are stored, and keeps the part of each.
    fn read_bytes(&mut self, rows: Range<usize>) -> Read<()> {
        let count = rows.len();
        self.bytes.resize(count * self.elements * self.element_bytes, 0);
        let axis = if self.by_columns { self.dataset.ndim() - 1 } else { 0 };
        hyperslab::read_along(&self.dataset, axis, rows, &mut self.bytes)
            .map_err(|error| error.to_string())?;
        if self.by_columns {
            let mut shape = self.dataset.shape();
            shape[axis] = count;
            shape.reverse();
            self.bytes = turned(&self.bytes, &shape, self.element_bytes);
        }
        let part = self.part.bytes.clone();
        if part != (0..self.element_bytes) {
            let elements = self.bytes.chunks_exact(self.element_bytes);
            self.bytes = elements.flat_map(|element| &element[part.clone()]).copied().collect();
        }
        Ok(())
    }
}

/// What a row has in a column.
pub(crate) enum Cell<'a> {
    /// Elements as they are stored.
    Stored(Stored, &'a [u8]),
    Text(&'a [u8]),
    List(&'a [i64]),
    /// What can't be read of it.
    Wrong(&'a str),
}

impl Blocks {
    /// Of the record of one row of those that are held.
    pub(super) fn member(&self, part: &Part, row: usize) -> Cell<'_> {
        let record = &self.bytes[row * self.element_bytes..][..self.element_bytes];
        match part.form {
            Form::Fixed(stored) => Cell::Stored(stored, &record[part.bytes.clone()]),
            _ => Cell::Wrong("found a member of records that is no number or text"),
        }
    }

    /// Of one row of those that are held, or of all of them.
    pub(super) fn cell(&self, row: usize, all: bool) -> Cell<'_> {
        match &self.part.form {
            Form::Fixed(stored) => {
                let item = self.elements * self.part.bytes.len();
                let bytes = if all { &self.bytes[..] } else { &self.bytes[row * item..][..item] };
                Cell::Stored(*stored, bytes)
            }
            Form::Lists => Cell::List(self.lists.get(row).map_or(&[], |list| list)),
            Form::Records => Cell::Wrong("found a record, expected one of its fields"),
            Form::Unicode | Form::Ascii | Form::Units(_) | Form::Cells => match self.texts.get(row)
            {
                Some(Ok(text)) => Cell::Text(text),
                Some(Err(text)) => Cell::Wrong(text),
                None => Cell::Text(&[]),
            },
        }
    }
}
