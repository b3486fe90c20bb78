//! A file, opened once: the fields that it has, then the rows of some of them.

use std::path::{Path, PathBuf};

use super::datasets::Datasets;
use crate::commands::convert::Format;
use crate::data::ForeignFile;
use crate::fields::Field;
use crate::formats::first_bytes::told_of_other_than_hdf5;
use crate::formats::table::{ArrayPlace, Arrays, Columns, ParquetFile, Table};

type Read<T> = Result<T, String>;

/// An open file of fields.
pub(super) enum Opened {
    /// Its arrays and those of files beside it.
    Arrays(Vec<(Field, ArrayPlace)>),
    Columns(Box<Columns>),
    Datasets(ForeignFile, Vec<Field>),
    Parquet(ParquetFile),
}

impl Opened {
    pub(super) fn of(
        format: Format,
        path: &Path,
        header: bool,
        beside: &[PathBuf],
    ) -> Read<Opened> {
        match format {
            Format::Csv => Ok(Opened::Columns(Box::new(Columns::open(path, header)?))),
            Format::Parquet => Ok(Opened::Parquet(ParquetFile::open(path)?)),
            Format::Hdf5 => {
                let file = ForeignFile::open(path)
                    .map_err(|text| told_of_other_than_hdf5(path).unwrap_or(text))?;
                let fields = file.fields()?;
                Ok(Opened::Datasets(file, fields))
            }
            _ => {
                let mut all = Arrays::in_file(path)?;
                for other in beside {
                    let found = Arrays::in_file(other);
                    all.extend(found.map_err(|text| format!("{}: {text}", other.display()))?);
                }
                Ok(Opened::Arrays(all))
            }
        }
    }

    pub(super) fn fields(&self) -> Vec<Field> {
        match self {
            Opened::Arrays(arrays) => arrays.iter().map(|(field, _)| field.clone()).collect(),
            Opened::Columns(columns) => columns.fields(),
            Opened::Datasets(_, fields) => fields.clone(),
            Opened::Parquet(file) => file.fields(),
        }
    }

    /// Says of `fields`, which are lists of some length as far as the file's schema says, how long
    /// those at these places are in its first rows.
    pub(super) fn measure(&self, fields: &mut [Field], places: &[usize]) -> Read<()> {
        let Opened::Parquet(file) = self else { return Ok(()) };
        for place in places {
            if let Some(length) = file.length(*place)?
                && let Some(last) = fields[*place].shape.last_mut()
            {
                *last = length;
            }
        }
        Ok(())
    }

    /// The rows of the fields at these places, of which the first ones have rows, or frames, of
    /// these widths. `path` is for what is told.
    pub(super) fn rows(
        self,
        path: &Path,
        places: &[usize],
        widths: &[Option<usize>],
    ) -> Read<Box<dyn Table>> {
        Ok(match self {
            Opened::Arrays(arrays) => {
                let own: Vec<ArrayPlace> =
                    places.iter().map(|place| arrays[*place].1.clone()).collect();
                Box::new(Arrays::open(&own)?)
            }
            Opened::Columns(columns) => Box::new(columns.picking(places)),
            Opened::Parquet(file) => Box::new(file.picking(places, widths)?),
            Opened::Datasets(file, fields) => {
                if file.behind > 0 {
                    let (path, bytes) = (path.display(), file.behind);
                    log::warn!("{path}: {bytes} bytes behind HDF5's end are passed over");
                }
                let names: Vec<&str> =
                    places.iter().map(|place| fields[*place].name.as_str()).collect();
                Box::new(Datasets(file.rows(&names)?))
            }
        })
    }
}
