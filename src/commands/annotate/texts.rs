//! Whether all ids are texts, which some formats demand: found out before hours of computing.

use std::ops::Range;

use crate::comm::Comm;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::flow::repeated_ids::{IDS_AT_ONCE, place_of};
use crate::formats::csv::shown;
use crate::formats::predictions::WrittenAs;

/// Sees that all rows have ids that `written_as` can hold; this rank reads those of `own`.
/// Collective.
///
/// # Errors
/// Exit 4: an id isn't UTF-8, or what reading ids gives; exit 75 when told to stop; common to all
/// ranks.
pub(super) fn check_ids(
    comm: &Comm,
    dataset: &Dataset,
    own: Range<usize>,
    written_as: WrittenAs,
) -> Result<()> {
    match written_as {
        WrittenAs::Parquet => comm.agree(all_texts(comm, dataset, own)),
        _ => Ok(()),
    }
}

fn all_texts(comm: &Comm, dataset: &Dataset, own: Range<usize>) -> Result<()> {
    let mut reader = dataset.reader();
    for from in own.clone().step_by(IDS_AT_ONCE) {
        comm.unless_stopped()?;
        let ids = reader.ids(from..own.end.min(from + IDS_AT_ONCE))?;
        for (row, id) in (from as u64..).zip(ids) {
            if std::str::from_utf8(&id).is_err() {
                let (place, id) = (place_of(dataset, row), shown(&id));
                let text = format!("{place}: found the id {id}, expected UTF-8 for Parquet");
                return Err(Error::input(text).hint("--format hdf5 or jsonl"));
            }
        }
    }
    Ok(())
}
