//! Reads annotations back: a folder of parts, each proven by its digest, or one file.

use std::io::Cursor;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::folder::{MANIFEST, read_manifest};
use crate::data::Annotations;
use crate::disk::{read, there};
use crate::error::{Error, Result};
use crate::formats::predictions::{WrittenAs, checked};
use crate::formats::submission::{Predictions, Source};
use crate::formats::table::read_parquet;
use crate::human::hex;

/// The predictions in the folder `path`.
///
/// # Errors
/// Exit 4: it isn't a finished folder of annotations, or a part isn't what it was; exit 6: its
/// manifest can't be read.
pub(crate) fn read_folder(path: &Path) -> Result<Predictions> {
    let unread = |error| Error::input(format!("{}: {error}", path.display()));
    if there(&path.join(MANIFEST)).map_err(unread)?.is_none() {
        let text = format!("{}: found no {MANIFEST}, expected annotations", path.display());
        return Err(
            Error::input(text).hint("where `annotate` was stopped, the same command goes on")
        );
    }
    let manifest = read_manifest(path)?;
    let name = &manifest.written_as;
    let written_as = WrittenAs::named(name)
        .filter(|written_as| *written_as != WrittenAs::Segments)
        .ok_or_else(|| Error::input(format!("{}: written_as: {name:?}", path.display())))?;
    let mut found = Predictions::default();
    for part in &manifest.parts {
        let path = path.join(&part.name);
        let wrong = |text: String| Error::input(format!("{}: {text}", path.display()));
        if Path::new(&part.name).components().count() != 1 {
            return Err(wrong("found a path, expected a name".into()));
        }
        let bytes = read(&path).map_err(|error| wrong(error.to_string()))?;
        let sha256 = hex(&Sha256::digest(&bytes));
        if sha256 != part.sha256 {
            let text = format!("found the SHA-256 {sha256}, expected {}", part.sha256);
            return Err(wrong(text).hint("the file was changed or is damaged"));
        }
        match written_as {
            WrittenAs::Hdf5 => read_hdf5(&path, &mut found)?,
            WrittenAs::Parquet => read_parquet(&path, &mut found)?,
            _ => written_as
                .read(Source::new(path.display().to_string(), Cursor::new(bytes)), &mut found)?,
        }
    }
    Ok(found)
}

/// Adds the predictions of a file that `annotate --output FILE.h5` has written.
///
/// # Errors
/// Exit 4 with file, row and what was found.
pub(crate) fn read_hdf5(path: &Path, found: &mut Predictions) -> Result<()> {
    let Annotations { ids, classes, scores, top, names } = Annotations::read(path)?;
    let wrong = |text: String| Error::input(format!("{}: {text}", path.display()));
    for (class, name) in (0..).zip(names.iter().flat_map(|names| names.all())) {
        found.name(class, name.as_bytes()).map_err(wrong)?;
    }
    let each = classes.chunks(top.max(1)).zip(scores.chunks(top.max(1)));
    for (row, (id, (classes, scores))) in ids.iter().zip(each).enumerate() {
        let pairs = || scores.iter().copied().zip(classes.iter().copied()).collect();
        let added = checked(classes, scores).and_then(|()| found.add(id, pairs()));
        added.map_err(|text| wrong(format!("row {row}: {text}")))?;
    }
    Ok(())
}
