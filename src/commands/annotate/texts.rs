//! Whether all ids are texts, which some formats demand: found out before hours of computing.

use std::ops::Range;

use crate::comm::Comm;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::flow::repeated_ids::{each_id, place_of};
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
    if written_as != WrittenAs::Parquet {
        return Ok(());
    }
    comm.agree(each_id(comm, dataset, own, |row, id| match std::str::from_utf8(id) {
        Ok(_) => Ok(()),
        Err(_) => {
            let (place, id) = (place_of(dataset, row), shown(id));
            let text = format!("{place}: found the id {id}, expected UTF-8 for Parquet");
            Err(Error::input(text).hint("--format hdf5 or jsonl"))
        }
    }))
}
