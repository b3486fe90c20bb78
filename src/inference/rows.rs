//! The rows that a model scores.

use crate::comm::Comm;
use crate::data::{Dataset, Kind, ReadBefore};
use crate::error::{Error, Result};
use crate::example::FeaturePart;
use crate::flow::home_rows::HomeRows;
use crate::flow::shards::{open, see, warn_of_unproven};
use crate::model::annotator::Annotator;

/// Blocks that rows are cut into for scoring; nothing that is computed depends on it.
const ROW_BLOCKS: usize = 256;

/// The rows of the shards that `patterns` (paths or globs) name, divided over ranks, if the model
/// takes them. `list` is what errors call them. Collective.
///
/// # Errors
/// Exit 4: there are none, one isn't whole, or they are of other features or classes than the
/// model's; common to all ranks.
pub fn open_rows(
    comm: &Comm,
    annotator: &Annotator,
    list: &str,
    patterns: &[String],
) -> Result<HomeRows> {
    let dataset = open_dataset(comm, annotator, list, patterns)?;
    let rows = HomeRows::new(comm, dataset, ROW_BLOCKS);
    see(comm, rows.dataset(), &rows.own_rows())?;
    Ok(rows)
}

/// The same rows, of which any rank may read any. Collective.
///
/// # Errors
/// As `open_rows`.
pub(crate) fn open_dataset(
    comm: &Comm,
    annotator: &Annotator,
    list: &str,
    patterns: &[String],
) -> Result<Dataset> {
    let dataset = open(comm, list, patterns, &ReadBefore::default())?;
    warn_of_unproven(comm, &[&dataset]);
    let shape = &annotator.shape;
    let (found, expected) = (dataset.parts(), &shape.parts[..]);
    let of_frames = (dataset.kind() == Kind::Frames, shape.pooling.is_some());
    let same = found == expected && dataset.class_count() == shape.class_count;
    let fits = if same && of_frames.0 == of_frames.1 {
        Ok(())
    } else {
        let describe = |parts: &[FeaturePart], of_frames, classes| {
            let parts: Vec<_> =
                parts.iter().map(|part| format!("{}:{}", part.name, part.size)).collect();
            let kind = if of_frames { "frames of " } else { "" };
            format!("{kind}{} and {classes} classes", parts.join(","))
        };
        Err(Error::input(format!(
            "{}: found {}, expected {} as the model has",
            dataset.shards()[0].path.display(),
            describe(found, of_frames.0, dataset.class_count()),
            describe(expected, of_frames.1, shape.class_count)
        )))
    };
    comm.agree(fits)?;
    Ok(dataset.scaled_by(shape.normalize, shape.standard.as_ref()))
}
