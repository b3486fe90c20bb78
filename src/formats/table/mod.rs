//! Files of rows with named fields: arrays of numpy, columns of csv and Parquet. What fields mean
//! is for who reads them (`commands/convert`).

mod arrays;
mod columns;
mod npz;
pub mod parquet;
mod pick;

use super::wire::Read;

pub(crate) use self::parquet::ParquetFile;
pub(crate) use self::parquet::predictions::ParquetVideos;
pub(crate) use self::parquet::predictions::read_parquet;
pub(crate) use arrays::{Arrays, Place as ArrayPlace};
pub(crate) use columns::Columns;
pub(crate) use pick::{Pick, list, pick};

/// Rows of a file, one after the other, of the fields that it was opened for: they are asked for
/// by their place among those.
pub(crate) trait Table {
    /// Goes to the next row; false at the end, where everything that was read is proven as far as
    /// the format allows.
    fn advance(&mut self) -> Read<bool>;

    /// Whether there is a next row behind the error that `advance` has just given.
    fn goes_on(&self) -> bool {
        false
    }

    /// How many rows there are, where it is known before they are read and they can be skipped.
    fn rows(&self) -> Option<u64> {
        None
    }

    /// Passes over so many rows, which must be there, before the first one is gone to.
    fn skip(&mut self, rows: u64) -> Read<()> {
        debug_assert_eq!(rows, 0, "rows that can't be skipped");
        Ok(())
    }

    /// Where the row stands, for people: row 3, line 5.
    fn place(&self) -> String;

    /// Appends the row's numbers; NaN for those that are missing.
    fn reals(&self, field: usize, to: &mut Vec<f32>) -> Read<()>;

    /// Appends the row's whole numbers. Of a field of text: not to be asked for.
    fn wholes(&self, field: usize, to: &mut Vec<i128>) -> Read<()>;

    /// Appends the row's text, a whole number in digits.
    fn text(&self, field: usize, to: &mut Vec<u8>) -> Read<()>;

    /// Appends the row's texts, of a list of texts each.
    fn texts(&self, field: usize, to: &mut Vec<Vec<u8>>) -> Read<()> {
        let mut text = Vec::new();
        self.text(field, &mut text)?;
        to.push(text);
        Ok(())
    }

    /// The row's bytes as they are stored, of fields of bytes without a sign alone.
    fn bytes(&self, field: usize, to: &mut Vec<u8>) -> Read<()>;
}
