//! Rows of a shard in another one, as they are stored.

use std::path::Path;
use std::sync::Arc;

use super::reader::ShardReader;
use super::schema::{ShardHeader, ShardInfo};
use super::writer::ShardWriter;
use crate::error::Result;
use crate::labels::Labels;
use crate::progress::tick;

/// Rows that are copied at once.
const ROWS: usize = 256;

/// Appends the first `count` rows that `reader` has.
///
/// # Errors
/// Exit 4: what is read is damaged; exit 5: the file system.
pub(super) fn copy(reader: &mut ShardReader, count: usize, writer: &mut ShardWriter) -> Result<()> {
    for from in (0..count).step_by(ROWS) {
        let rows = from..(from + ROWS).min(count);
        let (ids, mut labels) = (reader.ids(rows.clone())?, Labels::new());
        reader.labels(rows.clone(), &mut labels)?;
        let (values, ends) = reader.stored(rows)?;
        let mut at = 0;
        for (row, (id, end)) in ids.iter().zip(ends).enumerate() {
            writer.push_stored(&values[at..end], labels.row(row), id)?;
            at = end;
        }
        tick();
    }
    Ok(())
}

impl ShardInfo {
    /// What its rows have in common, as whoever writes them elsewhere says it.
    pub(super) fn header(&self) -> ShardHeader {
        let ShardInfo { kind, class_count, .. } = *self;
        ShardHeader { parts: self.parts.clone(), class_count, kind, source: self.source.clone() }
    }

    /// Writes its first `count` rows as the shard `path`, which must not exist: of the same kind,
    /// stored in the same way, with the same names of classes.
    ///
    /// # Errors
    /// Exit 4: it is damaged as far as that, or isn't what it was; exit 5: the file system refuses.
    /// Then nothing is left.
    pub fn write_first(&self, count: usize, path: &Path) -> Result<()> {
        assert!(count <= self.rows, "{count} of {} rows", self.rows);
        let mut reader = ShardReader::open(self)?;
        let writer = ShardWriter::create_encoded(path, &self.header(), self.encoding.clone())?;
        let mut writer = writer.named(self.class_names()?.map(Arc::new));
        copy(&mut reader, count, &mut writer)?;
        writer.finish()
    }
}
