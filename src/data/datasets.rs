//! The datasets of a shard's file: each is of its type and shape, with filters that are known, and
//! all of it was written.

use hdf5::Datatype;
use hdf5::filters::Filter;
use hdf5_sys::h5t::{H5T_str_t, H5Tget_strpad};

use super::attributes::type_name;
use super::content::ShardDataset;
use super::proof::Opened;
use super::schema::{Kind, wrong};
use super::storage::{self, Lack};
use crate::error::Result;
use crate::limits::ID_MAX;

/// A type that a dataset may have.
pub(crate) enum DatasetType {
    Number(hdf5::Result<Datatype>),
    /// Fixed-length bytes.
    Bytes,
    /// Fixed-length texts of so many bytes at most.
    Texts(usize),
}

pub(crate) fn numeric<T: hdf5::H5Type>() -> DatasetType {
    DatasetType::Number(Datatype::from_type::<T>())
}

impl DatasetType {
    pub(super) fn fits(&self, found: &Datatype) -> bool {
        use hdf5::types::TypeDescriptor::{FixedAscii, FixedUnicode};
        match self {
            DatasetType::Number(dtype) => dtype.as_ref().is_ok_and(|dtype| dtype == found),
            DatasetType::Bytes => matches!(
                found.to_descriptor(),
                Ok(FixedAscii(1..=ID_MAX) | FixedUnicode(1..=ID_MAX))
            ),
            DatasetType::Texts(most) => match found.to_descriptor() {
                Ok(FixedAscii(size) | FixedUnicode(size)) => (1..=*most).contains(&size),
                _ => false,
            },
        }
    }

    pub(super) fn name(&self) -> String {
        match self {
            DatasetType::Number(dtype) => dtype.as_ref().map_or("?".into(), type_name),
            DatasetType::Bytes => format!("fixed-length bytes (1 to {ID_MAX})"),
            DatasetType::Texts(most) => format!("fixed-length texts (1 to {most} bytes)"),
        }
    }
}

/// The datasets of a file, each checked when it is taken.
pub(crate) struct Datasets<'a> {
    pub(crate) opened: &'a Opened,
    pub(crate) file: &'a hdf5::File,
    pub(crate) kind: Kind,
    pub(crate) open: Vec<(ShardDataset, hdf5::Dataset)>,
}

impl Datasets<'_> {
    /// The dataset of `part`, if its type is one of `types`, its shape `shape` (None: any extent),
    /// its filters are known, and all of it was written.
    ///
    /// # Errors
    /// Exit 4.
    pub(crate) fn take(
        &mut self,
        part: ShardDataset,
        types: &[DatasetType],
        shape: &[Option<usize>],
    ) -> Result<hdf5::Dataset> {
        let (path, name) = (self.opened.path.as_path(), part.name(self.kind));
        let field = format!("dataset {name:?}");
        let fault = |text: String| wrong(path, &field, text);
        let dataset = storage::open(self.file, name).map_err(fault)?;
        let dtype = dataset.dtype().map_err(|error| fault(error.to_string()))?;
        if dtype.byte_order() == hdf5::datatype::ByteOrder::BigEndian {
            return Err(fault("found big-endian numbers, expected little-endian".into()));
        }
        let found = dataset.shape();
        let fits = found.len() == shape.len()
            && found.iter().zip(shape).all(|(n, expected)| expected.is_none_or(|e| e == *n));
        if !fits || !types.iter().any(|expected| expected.fits(&dtype)) {
            let extent = |size: &Option<usize>| size.map_or("*".into(), |size| size.to_string());
            let extents = shape.iter().map(extent).collect::<Vec<_>>().join(", ");
            let names: Vec<String> = types.iter().map(DatasetType::name).collect();
            let error = fault(format!(
                "found {} {found:?}, expected {} [{extents}]",
                type_name(&dtype),
                names.join(" or ")
            ));
            return Err(match part {
                ShardDataset::Ids => error.hint("numpy's type \"S16\" is 16 bytes"),
                _ => error,
            });
        }
        if part == ShardDataset::Ids && is_padded_with_spaces(&dtype) {
            return Err(fault("found bytes padded with spaces, expected NUL".into()));
        }
        for filter in dataset.filters() {
            // Those that every HDF5 library has.
            if !matches!(filter, Filter::Fletcher32 | Filter::Deflate(_) | Filter::Shuffle) {
                let name = match filter {
                    Filter::User(number, _) => format!("number {number}"),
                    other => format!("{other:?}").to_lowercase(),
                };
                return Err(fault(format!("found the filter {name}, which isn't known")));
            }
        }
        storage::check_all_there(&dataset, self.opened.size).map_err(|lack| match lack {
            Lack::Unwritten(text) => fault(text).hint("its writer was stopped"),
            Lack::Other(text) => fault(text),
        })?;
        self.open.push((part, dataset.clone()));
        Ok(dataset)
    }
}

/// Whether texts of this type end in spaces, as those of Fortran do.
pub(super) fn is_padded_with_spaces(dtype: &hdf5::Datatype) -> bool {
    // SAFETY: the handle is open.
    let padding = hdf5::sync::sync(|| unsafe { H5Tget_strpad(dtype.id()) });
    matches!(padding, H5T_str_t::H5T_STR_SPACEPAD)
}
