//! Rows of a dataset, read a block at a time, and the types that their elements may have.

use std::ops::Range;

use hdf5::Dataset;
use hdf5::types::{VarLenArray, VarLenAscii, VarLenUnicode};
use hdf5_sys::h5t::{H5T_class_t, H5T_order_t, H5T_sign_t};
use hdf5_sys::h5t::{H5Tget_class, H5Tget_order, H5Tget_sign, H5Tis_variable_str};
use hdf5_sys::h5z::H5Zfilter_avail;

use crate::data::hyperslab;
use crate::data::storage::{self, Lack};
use crate::fields::{Elements, Stored, turned};

type Read<T> = Result<T, String>;

/// Bytes that are read at once, about; whole chunks as far as they aren't much more.
const BLOCK_BYTES: usize = 4 << 20;
const CHUNKS_BYTES_MAX: usize = 256 << 20;
/// How the elements of a dataset are read.
pub(super) enum Form {
    Fixed(Stored),
    /// Texts of any length, by HDF5's two kinds.
    Unicode,
    Ascii,
    /// Lists of whole numbers.
    Lists,
}

/// Whether MATLAB wrote it, which has the first axis nearest.
pub(super) fn by_columns(dataset: &Dataset) -> bool {
    dataset.attr("MATLAB_class").is_ok()
}

pub(super) fn form(dataset: &Dataset) -> Read<Form> {
    let dtype = dataset.dtype().map_err(|error| error.to_string())?;
    let (id, bytes) = (dtype.id(), dtype.size());
    // SAFETY: the handle is open.
    let (class, order, sign) =
        hdf5::sync::sync(|| unsafe { (H5Tget_class(id), H5Tget_order(id), H5Tget_sign(id)) });
    let big_endian = matches!(order, H5T_order_t::H5T_ORDER_BE);
    let signed = matches!(sign, H5T_sign_t::H5T_SGN_2);
    let elements = match (class, bytes) {
        (H5T_class_t::H5T_INTEGER, 1 | 2 | 4 | 8) => Elements::Whole { signed, bytes },
        (H5T_class_t::H5T_FLOAT, 2 | 4 | 8) => Elements::Real { bytes },
        // Truth values of h5py and PyTables.
        (H5T_class_t::H5T_ENUM | H5T_class_t::H5T_BITFIELD, 1) => Elements::Bool,
        (H5T_class_t::H5T_STRING, _) => {
            // SAFETY: as above.
            match hdf5::sync::sync(|| unsafe { H5Tis_variable_str(id) }) > 0 {
                true if dtype.is::<VarLenUnicode>() => return Ok(Form::Unicode),
                true => return Ok(Form::Ascii),
                false => Elements::Bytes,
            }
        }
        (H5T_class_t::H5T_VLEN, _) => return Ok(Form::Lists),
        (H5T_class_t::H5T_COMPOUND, _) => {
            let text = "found a table of records, expected numbers or texts";
            return Err(format!("{text}; hint: write each of its columns as a dataset"));
        }
        _ => return Err("found elements that are neither numbers nor texts".into()),
    };
    Ok(Form::Fixed(Stored { elements, bytes, big_endian }))
}

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
    pub(super) form: Form,
    pub(super) rows: u64,
    by_columns: bool,
    /// Elements of a row.
    elements: usize,
    /// Rows of a block, and the one that is held.
    pub(super) at_once: usize,
    pub(super) held: Range<usize>,
    bytes: Vec<u8>,
    texts: Vec<Vec<u8>>,
    lists: Vec<Vec<i64>>,
}

impl Blocks {
    pub(super) fn of(name: &str, dataset: Dataset, file_bytes: u64) -> Read<Blocks> {
        let of = |text: String| format!("{name}: {text}");
        check(&dataset, file_bytes).map_err(of)?;
        let form = form(&dataset).map_err(of)?;
        let (shape, by_columns) = (dataset.shape(), by_columns(&dataset));
        let axis = if by_columns { shape.len() - 1 } else { 0 };
        let rows = shape[axis];
        let elements = shape.iter().product::<usize>().checked_div(rows).unwrap_or(0);
        let bytes = elements * dataset.dtype().map_or(1, |dtype| dtype.size());
        let chunk = dataset.chunk().map_or(1, |chunk| chunk[axis]).max(1);
        let fitting = (BLOCK_BYTES / bytes.max(1)).max(1);
        let whole = fitting.div_ceil(chunk) * chunk;
        let at_once = if whole * bytes <= CHUNKS_BYTES_MAX { whole } else { fitting };
        let (held, name) = (0..0, name.to_string());
        let (bytes, texts, lists) = (Vec::new(), Vec::new(), Vec::new());
        let rows = rows as u64;
        Ok(Blocks {
            name,
            dataset,
            form,
            rows,
            by_columns,
            elements,
            at_once,
            held,
            bytes,
            texts,
            lists,
        })
    }

    pub(super) fn hold(&mut self, row: usize) -> Read<()> {
        if self.held.contains(&row) {
            return Ok(());
        }
        let rows = row..(row + self.at_once).min(self.rows as usize);
        self.read(rows.clone()).map_err(|text| {
            format!("{}: rows {rows:?} can't be read ({text}): the file is damaged", self.name)
        })?;
        self.held = rows;
        Ok(())
    }

    fn read(&mut self, rows: Range<usize>) -> Read<()> {
        let failed = |error: hdf5::Error| error.to_string();
        match &self.form {
            Form::Fixed(stored) => {
                let bytes = rows.len() * self.elements * stored.bytes;
                self.bytes.resize(bytes, 0);
                let axis = if self.by_columns { self.dataset.ndim() - 1 } else { 0 };
                hyperslab::read_along(&self.dataset, axis, rows.clone(), &mut self.bytes)
                    .map_err(failed)?;
                if self.by_columns {
                    let mut shape = self.dataset.shape();
                    shape[axis] = rows.len();
                    shape.reverse();
                    self.bytes = turned(&self.bytes, &shape, stored.bytes);
                }
            }
            Form::Unicode => {
                let found = self.dataset.read_slice_1d::<VarLenUnicode, _>(rows).map_err(failed)?;
                self.texts = found.iter().map(|text| text.as_bytes().to_vec()).collect();
            }
            Form::Ascii => {
                let found = self.dataset.read_slice_1d::<VarLenAscii, _>(rows).map_err(failed)?;
                self.texts = found.iter().map(|text| text.as_bytes().to_vec()).collect();
            }
            Form::Lists => {
                let found =
                    self.dataset.read_slice_1d::<VarLenArray<i64>, _>(rows).map_err(failed)?;
                self.lists = found.iter().map(|list| list.to_vec()).collect();
            }
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
}

impl Blocks {
    /// Of one row of those that are held, or of all of them.
    pub(super) fn cell(&self, row: usize, all: bool) -> Cell<'_> {
        match &self.form {
            Form::Fixed(stored) => {
                let item = self.elements * stored.bytes;
                let bytes = if all { &self.bytes[..] } else { &self.bytes[row * item..][..item] };
                Cell::Stored(*stored, bytes)
            }
            Form::Unicode | Form::Ascii => Cell::Text(self.texts.get(row).map_or(&[], |text| text)),
            Form::Lists => Cell::List(self.lists.get(row).map_or(&[], |list| list)),
        }
    }
}
