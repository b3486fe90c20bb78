//! `--names`: what classes are called, which goes with the shards.

use std::path::Path;
use std::sync::Arc;

use super::{Args, Format, Tables};
use crate::error::{Error, Result};
use crate::formats::class_names::ClassNames;
use crate::names::Names;

fn at(path: &Path, text: impl std::fmt::Display) -> Error {
    Error::input(format!("{}: {text}", path.display()))
}

/// The number of classes of files that don't say it: by `--classes` or else by `--names`.
///
/// # Errors
/// Exit 4: no list of names.
pub(super) fn count(args: &Args) -> Result<Option<usize>> {
    match (args.classes, &args.tables.names) {
        (Some(classes), _) => Ok(Some(classes as usize)),
        (None, Some(path)) => {
            Ok(Some(ClassNames::read(path).map_err(|text| at(path, text))?.count()))
        }
        (None, None) => Ok(None),
    }
}

/// The names of `classes` classes that `--names` gives, if it does.
///
/// # Errors
/// Exit 2: they are more or fewer; exit 4: no list of names, or names that shards can't keep.
pub(super) fn of_classes(
    args: &Args,
    tables: Option<&Tables>,
    classes: usize,
) -> Result<Option<Arc<Names>>> {
    let Some(path) = &args.tables.names else { return Ok(None) };
    let names = match tables.and_then(Tables::class_names) {
        Some(names) => names.to_names(),
        None => ClassNames::read(path).and_then(|names| names.to_names()),
    };
    let names = names.map_err(|text| at(path, text))?;
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
