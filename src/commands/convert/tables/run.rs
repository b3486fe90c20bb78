//! Rows of a table, all of them or a run.

use std::ops::Range;

use crate::formats::table::Table;

/// A table of which so many rows are wanted.
pub(in super::super) struct Run {
    table: Box<dyn Table>,
    /// How many are left; none where the table's end is to be proven, too.
    left: Option<u64>,
}

impl Run {
    pub(super) fn of(mut table: Box<dyn Table>, rows: Option<Range<u64>>) -> Result<Run, String> {
        let Some(rows) = rows else { return Ok(Run { table, left: None }) };
        let found = table.rows().unwrap_or(0);
        if rows.end > found {
            let text = format!("found {found} rows, expected {} as before", rows.end);
            return Err(format!("{text}: the file has changed"));
        }
        table.skip(rows.start)?;
        let left = (rows.end < found).then_some(rows.end - rows.start);
        Ok(Run { table, left })
    }

    /// Goes to the next row; false at the end.
    pub(in super::super) fn advance(&mut self) -> Result<bool, String> {
        match &mut self.left {
            Some(0) => return Ok(false),
            Some(left) => *left -= 1,
            None => {}
        }
        self.table.advance()
    }

    /// The row that it stands at.
    pub(in super::super) fn row(&self) -> &dyn Table {
        &*self.table
    }
}
