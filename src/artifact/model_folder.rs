//! The directory of a model, opened once, with all its files: what it says of itself, and whether
//! it is whole.
//!
//! A model can be replaced while many ranks read it. Three things make what comes out one model or
//! an error: every file is opened once, before anything is read, and both proven and read through
//! that handle, so renames can't reach it; ranks compare what they opened; and the content hash of
//! what was read is compared with the manifest's (`load`), which covers files that are written to
//! in place. Reading verified bytes from memory would cover that by itself, but a rank would have
//! to hold whole files, of up to a GiB, for the few class blocks of them that it owns.

use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::manifest::{MANIFEST, MANIFEST_BYTES_MAX, Manifest};
use crate::comm::{Comm, same_on_all};
use crate::error::{Error, Exit, Result};
use crate::folder::sums::{self, Sums};
use crate::folder::{Folder, FolderFile, same_sum};
use crate::human::hex;

/// The open directory of a model.
pub(crate) struct ModelFolder {
    folder: Folder,
    pub(crate) manifest: Manifest,
    /// As the manifest lists them.
    files: Vec<FolderFile>,
}

impl ModelFolder {
    /// Opens the model in `path`, which may be a link, on this rank. What is in the files is for
    /// `verify`.
    ///
    /// # Errors
    /// Exit 6, naming the file: something is missing, not listed, a link, of another length, or
    /// says what no model can be; exit 9: no more file handles.
    pub(crate) fn open(path: &Path) -> Result<ModelFolder> {
        let folder = Folder::open(path)
            .map_err(|error| error.hint("a model is a directory such as RUN/model"))?;
        let file = folder.file(MANIFEST)?;
        let text = file.whole(MANIFEST_BYTES_MAX)?;
        // Digests are compared first: a changed manifest is damage, whatever it says now.
        let there = folder.names()?.iter().any(|name| name == sums::SUMS);
        let listed = if there { Some(sums::read(&folder)?) } else { None };
        if let Some(listed) = &listed {
            sums::same_files(&folder, listed.keys().map(String::as_str))?;
            same_sum(
                file.path(),
                &hex(&Sha256::digest(&text)),
                sum_of(&folder, listed, MANIFEST)?,
            )?;
        }
        let manifest = Manifest::parse(file.path(), &text)?;
        match &listed {
            Some(listed) => same_sums(&folder, &manifest, listed)?,
            None if manifest.has_sums() => {
                let text = format!("{}: missing", folder.path().join(sums::SUMS).display());
                return Err(Error::run_directory(text).hint("copy the whole directory"));
            }
            None => {}
        }
        let files = manifest.files.iter().map(|entry| {
            let file = folder.file(&entry.name)?;
            match file.bytes() == entry.bytes {
                true => Ok(file),
                // Says so.
                false => file.verify(Some(entry.bytes), &entry.sha256).map(|()| file),
            }
        });
        let files = files.collect::<Result<Vec<_>>>()?;
        Ok(ModelFolder { folder, manifest, files })
    }

    /// The path that it was opened by.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Opens it on all ranks and sees that they have the same one, each file as it was written;
    /// each rank takes its share of them. Collective.
    ///
    /// # Errors
    /// As `open`; exit 6 too where ranks have opened different models or a file was changed; common
    /// to all ranks.
    pub(crate) fn open_whole(comm: &Comm, path: &Path) -> Result<ModelFolder> {
        let model = comm.agree(ModelFolder::open(path))?;
        let name: [u8; 32] = Sha256::digest(path.as_os_str().as_bytes()).into();
        let names = comm.all_gather(&name);
        let same_path = names.chunks_exact(name.len()).all(|other| other == name);
        let (exit, hint) = match same_path {
            true => (Exit::RunDirectory, "it was replaced in that moment"),
            false => (Exit::Launch, "the same --model on all ranks, or equal copies"),
        };
        let (what, manifest) = (path.display().to_string(), model.manifest.described());
        same_on_all(comm, exit, &what, &manifest).map_err(|error| error.hint(hint))?;
        let entries = model.manifest.files.iter().zip(&model.files);
        let mut mine = entries.skip(comm.rank()).step_by(comm.size());
        comm.agree(
            mine.try_for_each(|(entry, file)| file.verify(Some(entry.bytes), &entry.sha256)),
        )?;
        Ok(model)
    }

    /// The file of the shared layers.
    pub(crate) fn shared(&self) -> &FolderFile {
        &self.files[0]
    }

    /// The files that hold experts, with their classes, in the order of classes.
    pub(crate) fn expert_files(&self) -> impl Iterator<Item = (&FolderFile, Range<usize>)> {
        let entries = self.manifest.files.iter().zip(&self.files);
        entries.filter_map(|(entry, file)| Some((file, entry.classes.clone()?)))
    }

    /// Whether its files are still what was opened, as far as the file system says.
    ///
    /// # Errors
    /// Exit 6: one has been written to.
    pub(crate) fn unchanged(&self) -> Result<()> {
        self.files.iter().try_for_each(FolderFile::unchanged)
    }
}

fn sum_of<'a>(folder: &Folder, listed: &'a Sums, name: &str) -> Result<&'a str> {
    let sum = listed.get(name).map(String::as_str);
    sum.ok_or_else(|| {
        let path = folder.path().join(sums::SUMS);
        Error::run_directory(format!("{}: {name}: missing", path.display()))
    })
}

/// Sees that `listed` are the files of `manifest`, with the same digests.
fn same_sums(folder: &Folder, manifest: &Manifest, listed: &Sums) -> Result<()> {
    let path = folder.path().join(sums::SUMS);
    let refused = |text: String| Err(Error::run_directory(format!("{}: {text}", path.display())));
    for file in &manifest.files {
        let (found, expected) = (sum_of(folder, listed, &file.name)?, &file.sha256);
        if found != expected {
            return refused(format!("{}: found {found}, {MANIFEST} has {expected}", file.name));
        }
    }
    match listed.len() == manifest.files.len() + 1 {
        true => Ok(()),
        false => refused(format!("found {} files, {MANIFEST} has others", listed.len())),
    }
}
