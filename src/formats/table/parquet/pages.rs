//! The pages of a column of a row group, as far as their headers, which no checksum covers, can be
//! held to what the footer says.

use std::fs::File;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::serialized_reader::SerializedPageReader;

use crate::formats::wire::Read;

/// Values of a page at most: pages have about a MiB, and a few bytes can claim any number of equal
/// levels.
const PAGE_VALUES_MAX: u32 = 1 << 27;

/// That a column can be read here.
pub(super) fn check(chunk: &ColumnChunkMetaData) -> Read<()> {
    if chunk.file_path().is_some_and(|path| !path.is_empty()) {
        return Err("found data that lie in another file".into());
    }
    match chunk.compression() {
        Compression::UNCOMPRESSED
        | Compression::SNAPPY
        | Compression::GZIP(_)
        | Compression::ZSTD(_) => Ok(()),
        other => Err(format!(
            "found the compression {other}, expected snappy, zstd, gzip or none; hint: write the \
             file with compression=\"zstd\""
        )),
    }
}

/// Pages that are watched.
pub(super) struct Pages {
    inner: SerializedPageReader<File>,
    chunk: ColumnChunkMetaData,
    /// Values that pages have had.
    values: i64,
}

fn wrong(text: String) -> ParquetError {
    ParquetError::General(text)
}

impl Pages {
    pub(super) fn of(file: &Arc<File>, group: &RowGroupMetaData, column: usize) -> Result<Pages> {
        let chunk = group.column(column).clone();
        let rows = group.num_rows() as usize;
        let inner = SerializedPageReader::new(Arc::clone(file), &chunk, rows, None)?;
        Ok(Pages { inner, chunk, values: 0 })
    }

    fn watch(&mut self, page: &Page) -> Result<()> {
        let (found, encoding) = (page.num_values(), page.encoding());
        if found > PAGE_VALUES_MAX {
            return Err(wrong(format!("a page of {found} values, beyond {PAGE_VALUES_MAX}")));
        }
        if page.is_dictionary_page() {
            return Ok(());
        }
        self.values += i64::from(found);
        if self.values > self.chunk.num_values() {
            let text = format!("more values than the footer's {}", self.chunk.num_values());
            return Err(wrong(text));
        }
        if !self.chunk.encodings().any(|listed| listed == encoding) {
            return Err(wrong(format!("a page of the encoding {encoding}, which no footer lists")));
        }
        Ok(())
    }
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Result<Page>> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.inner.get_next_page()?;
        if let Some(page) = &page {
            self.watch(page)?;
        }
        Ok(page)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.inner.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.inner.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.inner.at_record_boundary()
    }
}
