//! `--names`: what classes are called, which goes with the shards.

use std::sync::Arc;

use super::{Args, Format, at};
use crate::error::{Error, Result};
use crate::formats::class_names::ClassNames;
use crate::names::Names;

/// What `--names` lists, if it is there.
///
/// # Errors
/// Exit 4: no list of names.
pub(super) fn listed(args: &Args) -> Result<Option<ClassNames>> {
    let read = |path| ClassNames::read(path).map_err(|text| at(path, text));
    args.tables.names.as_deref().map(read).transpose()
}

/// The names of `classes` classes that are listed, if they are.
///
/// # Errors
/// Exit 2: they are more or fewer; exit 4: names that shards can't keep.
pub(super) fn of_classes(
    args: &Args,
    listed: Option<&ClassNames>,
    classes: usize,
) -> Result<Option<Arc<Names>>> {
    let (Some(path), Some(listed)) = (&args.tables.names, listed) else { return Ok(None) };
    let names = listed.to_names().map_err(|text| at(path, text))?;
    if names.count() != classes {
        let by = match args.from {
            Format::Svmlight => "the files'",
            _ => "--classes'",
        };
        let text = format!("found {} names, expected {by} {classes}", names.count());
        return Err(Error::usage(format!("--names: {}: {text}", path.display())));
    }
    Ok(Some(Arc::new(names)))
}
