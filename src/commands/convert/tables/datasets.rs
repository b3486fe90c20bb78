//! Datasets of HDF5 files of others as tables.

use crate::data::{Cell, ForeignRows};
use crate::formats::table::Table;

type Read<T> = Result<T, String>;

/// Rows of a file, of the fields that it was opened for.
pub(super) struct Datasets(pub(super) ForeignRows);

impl Table for Datasets {
    fn advance(&mut self) -> Read<bool> {
        self.0.advance()
    }

    fn rows(&self) -> Option<u64> {
        Some(self.0.rows)
    }

    fn skip(&mut self, rows: u64) -> Read<()> {
        self.0.next += rows;
        Ok(())
    }

    fn place(&self) -> String {
        self.0.place()
    }

    fn reals(&self, field: usize, to: &mut Vec<f32>) -> Read<()> {
        match self.0.cell(field) {
            Cell::Stored(stored, bytes) => stored.reals(bytes, to),
            Cell::List(list) => {
                to.extend(list.iter().map(|value| *value as f32));
                Ok(())
            }
            Cell::Text(_) => Err("found a text, expected numbers".into()),
            Cell::Wrong(text) => Err(text.into()),
        }
    }

    fn wholes(&self, field: usize, to: &mut Vec<i128>) -> Read<()> {
        match self.0.cell(field) {
            Cell::Stored(stored, bytes) => stored.wholes(bytes, to),
            Cell::List(list) => {
                to.extend(list.iter().map(|value| i128::from(*value)));
                Ok(())
            }
            Cell::Text(_) => Err("found a text, expected whole numbers".into()),
            Cell::Wrong(text) => Err(text.into()),
        }
    }

    fn text(&self, field: usize, to: &mut Vec<u8>) -> Read<()> {
        match self.0.cell(field) {
            Cell::Stored(stored, bytes) => stored.text(bytes, to),
            Cell::Text(text) => {
                to.extend_from_slice(text);
                Ok(())
            }
            Cell::List(_) => Err("found a list, expected a text or a number".into()),
            Cell::Wrong(text) => Err(text.into()),
        }
    }

    fn bytes(&self, field: usize, to: &mut Vec<u8>) -> Read<()> {
        match self.0.cell(field) {
            Cell::Stored(stored, bytes) if stored.bytes == 1 => {
                to.extend_from_slice(bytes);
                Ok(())
            }
            _ => Err("found other elements than bytes".into()),
        }
    }
}
