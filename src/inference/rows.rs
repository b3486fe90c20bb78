//! The rows that a model scores.

use crate::comm::Comm;
use crate::data::{Dataset, Kind, ReadBefore, Relabelled};
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
/// model's, unless both name their classes; common to all ranks.
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
    let of_names = named_classes(comm, annotator, list, &dataset)?;
    let classes = of_names.as_ref().map_or(dataset.class_count(), |found| found.class_count);
    let same = found == expected && classes == shape.class_count;
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
    let dataset = match of_names {
        Some(classes) => dataset.relabelled(classes),
        None => dataset,
    };
    Ok(dataset.scaled_by(shape.normalize, shape.standard.as_ref()))
}

/// The model's numbers of the shards' classes, where both name them and not alike: then names say
/// which classes are the same. Rank 0 says so.
///
/// # Errors
/// Exit 4: no class has the same name in both.
fn named_classes(
    comm: &Comm,
    annotator: &Annotator,
    list: &str,
    dataset: &Dataset,
) -> Result<Option<Relabelled>> {
    let (Some(theirs), Some(own)) = (dataset.names(), &annotator.names) else { return Ok(None) };
    if theirs == own {
        return Ok(None);
    }
    let classes = theirs.among(own);
    let (found, of, model) =
        (classes.iter().flatten().count(), theirs.count(), annotator.shape.class_count);
    if found == 0 {
        let text = format!(
            "{list}: found the classes {}, expected some of the model's, which are {}",
            theirs.shown(),
            own.shown()
        );
        return comm.agree(Err(Error::input(text)));
    }
    if comm.is_root() {
        let text = format!("{list}: classes are matched by name and go by the model's numbers");
        let left_out = classes.iter().position(Option::is_none);
        match left_out {
            None => log::info!("{text}: all {of} are among the model's {model}"),
            Some(class) => log::warn!(
                "{text}: {found} of {of} are among the model's {model}, {:?} for instance isn't; \
                 labels of the others don't count",
                theirs.of(class)
            ),
        }
    }
    Ok(Some(Relabelled { classes, class_count: model }))
}
