//! A shard's file, opened, and what its end proves before HDF5 sees a byte of it.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;

use super::schema::hex;
use super::stamp::Stamp;
use super::superblock::Fault;
use super::trailer::Trailer;
use crate::disk::identity;
use crate::error::{Error, Exit, Result};
use crate::progress::CallGuard;
use crate::system;

/// An open file whose end has been looked at, and all that it proves but the chunks.
pub(crate) struct Opened {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<File>,
    /// Bytes of the file.
    pub(crate) size: u64,
    /// None: the file ends where HDF5 says, without a proof.
    pub(crate) trailer: Option<Arc<Trailer>>,
}

impl Opened {
    /// # Errors
    /// Exit 4: no file, no HDF5 file, a proof that isn't whole, a byte outside the chunks that
    /// isn't as it was written; exit 9: file handles or memory are used up.
    pub(crate) fn open(path: &Path) -> Result<Opened> {
        let _opening = CallGuard::on("opening", path);
        let refused = |error: io::Error| unreadable(path, &error);
        // A pipe would wait for whoever writes into it.
        let flags = OFlags::NONBLOCK.bits() as i32;
        let file = File::options().read(true).custom_flags(flags).open(path).map_err(refused)?;
        let found = file.metadata().map_err(refused)?;
        if !found.is_file() {
            let what = if found.is_dir() { "a folder" } else { "a special file" };
            return Err(Error::input(format!("{}: found {what}, expected a file", path.display())));
        }
        let size = found.len();
        let fault = |fault| match fault {
            Fault::Io(error) => unreadable(path, &error),
            Fault::Wrong { text, hint } => {
                let error = Error::input(format!("{}: {text}", path.display()));
                if hint.is_empty() { error } else { error.hint(hint) }
            }
        };
        let trailer = Trailer::read(&file, size).map_err(fault)?;
        if let Some(trailer) = &trailer {
            trailer.check_outside(&file).map_err(fault)?;
        }
        let (file, trailer) = (Arc::new(file), trailer.map(Arc::new));
        Ok(Opened { path: path.to_path_buf(), file, size, trailer })
    }

    /// What the file system says of it now.
    ///
    /// # Errors
    /// Exit 4.
    pub(crate) fn stamp(&self) -> Result<Stamp> {
        Stamp::of_file(&self.file).map_err(|error| unreadable(&self.path, &error))
    }

    /// The same file through HDF5, which keeps `cache_bytes` of the chunks of each dataset.
    ///
    /// # Errors
    /// Exit 4.
    pub(crate) fn hdf5(&self, cache_bytes: usize) -> Result<hdf5::File> {
        let mut options = hdf5::File::with_options();
        options.with_fapl(|access| access.chunk_cache(CHUNK_PLACES, cache_bytes, CHUNK_PREFERENCE));
        // This open file has been proven; another one may have its name by now.
        let path = match self.trailer {
            Some(_) => system::path_of(&self.file, &self.path),
            None => self.path.clone(),
        };
        options.open(path).map_err(|error| {
            let now = std::fs::metadata(&self.path).map(|now| identity(&now)).ok();
            let then = self.file.metadata().map(|then| identity(&then)).ok();
            let text = match now == then {
                true => error.to_string(),
                false => "was replaced while it was opened".into(),
            };
            Error::input(format!("{}: {text}", self.path.display()))
        })
    }
}

/// The digest of the proof of the shard at `path`, in hex, once all but the chunks is as it says.
/// It tells any other file apart.
///
/// # Errors
/// As `Opened::open`; exit 4: it has no proof.
pub(crate) fn proof_of(path: &Path) -> Result<String> {
    let trailer = Opened::open(path)?.trailer;
    let trailer = trailer
        .ok_or_else(|| Error::input(format!("{}: found a shard without proof", path.display())))?;
    Ok(hex(trailer.digest()))
}

/// Places of HDF5's cache of chunks, a prime as it advises.
const CHUNK_PLACES: usize = 521;

/// How far chunks that have been read to their end make room before others: HDF5's own choice.
/// With 1, chunks read in part are never given up, and the cache grows beyond its size.
const CHUNK_PREFERENCE: f64 = 0.75;

/// What the file system says of a file that is to be read: exit 9 where file handles or memory are
/// used up, else exit 4.
fn unreadable(path: &Path, error: &io::Error) -> Error {
    let refused = Error::file(path, error);
    match refused.exit {
        Exit::Resources => refused,
        _ => Error::input(refused.text),
    }
}
