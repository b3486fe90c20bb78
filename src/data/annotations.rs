//! Annotations as an HDF5 file.

use std::path::Path;

use hdf5::types::VarLenUnicode;

use super::writer::{failed, matrix, write_ids};
use crate::disk::{Disk, own_temporary};
use crate::error::{Error, Result};

/// Writes annotations: /ids `[rows]`, /classes and /scores `[rows, top]`, best first. Under a
/// temporary name first; `path` must not exist.
///
/// # Errors
/// Exit 5 where the file system refuses.
pub(crate) fn write_annotations(
    path: &Path,
    ids: &[Vec<u8>],
    classes: &[u32],
    scores: &[f32],
    top: usize,
) -> Result<()> {
    let temporary = own_temporary(path);
    let all = || -> hdf5::Result<()> {
        let file = hdf5::File::create(&temporary)?;
        let format: VarLenUnicode = "reelscale-annotations".parse().expect("a text without NUL");
        file.new_attr::<VarLenUnicode>().create("format")?.write_scalar(&format)?;
        write_ids(&file, ids)?;
        matrix(&file, "classes", classes, ids.len(), top)?;
        matrix(&file, "scores", scores, ids.len(), top)?;
        file.close()
    };
    let disk = Disk::default();
    let outcome = all()
        .map_err(|error| failed(path, error))
        .and_then(|()| disk.put_new(&temporary, path).map_err(|error| Error::file(path, &error)));
    let _ = disk.remove_file(&temporary);
    outcome
}
