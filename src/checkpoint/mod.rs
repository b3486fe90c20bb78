//! Checkpoints of a run (`store.rs`), and the model on disk: directories that any number of ranks
//! writes and any other number reads. A model:
//!
//! ```text
//!   manifest.json         shape of the model, every file's classes, size and SHA-256, content hash
//!   shared.h5             /layer_0/weights [inputs, outputs], /layer_0/biases [outputs], ...
//!   experts-00000.h5 ...  classes in order, cut at about 1 GiB between class blocks, never by
//!                         rank: /gate_weights [gates, d] and /gate_offsets [classes + 1]: gates
//!                         of class k (the dummy state's first where it is learned);
//!                         /expert_weights [experts, d], /expert_biases [experts],
//!                         /expert_offsets [classes + 1]
//! ```
//!
//! It is written under a temporary name, synced and renamed. What is computed with the weights is
//! left to others.

mod content;
mod files;
mod loaded;
mod manifest;
mod store;

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use content::content_hash;
pub use loaded::{Blocks, Items, Loaded};
pub use manifest::Manifest;
pub use store::{Contents, Family, Store};

use crate::comm::{Comm, same_on_all};
use crate::disk::Disk;
use crate::error::{Error, Exit, Result};
use crate::model::annotator::Annotator;
use crate::model::experts::{Experts, layouts};
use crate::partition::owned;

/// Bytes after which a new experts file begins.
const FILE_BYTES: usize = 1 << 30;

/// Writes `annotator` to the directory `path`, which must not exist unless it holds the same model.
/// Every rank takes part; returns the content hash.
///
/// # Errors
/// Exit 5 where the file system refuses, common to all ranks.
pub fn save(comm: &Comm, path: &Path, annotator: &Annotator) -> Result<String> {
    save_on(comm, &Disk::default(), path, annotator)
}

/// As `save`, on this disk.
///
/// # Errors
/// As `save`.
pub fn save_on(comm: &Comm, disk: &Disk, path: &Path, annotator: &Annotator) -> Result<String> {
    save_cut(comm, disk, path, annotator, FILE_BYTES)
}

fn save_cut(
    comm: &Comm,
    disk: &Disk,
    path: &Path,
    annotator: &Annotator,
    file_bytes: usize,
) -> Result<String> {
    let hash = content_hash(comm, annotator);
    let there = Manifest::read(path).is_ok_and(|there| there.content_hash == hash);
    if comm.max(u64::from(!there)) == 0 {
        return Ok(hash);
    }
    let prepared = comm.is_root().then(|| files::prepare(disk, path)).transpose();
    let temporary = comm.agree(prepared)?.unwrap_or_default();
    let name = comm.all_gather_any(temporary.as_os_str().as_bytes()).swap_remove(0);
    let temporary = PathBuf::from(OsString::from_vec(name));
    let entries = files::write_experts(comm, disk, &temporary, &annotator.experts, file_bytes)?;
    let finished = if comm.is_root() {
        files::write_shared(disk, &temporary, annotator).and_then(|shared| {
            let manifest = Manifest::new(annotator, shared, entries, hash.clone());
            manifest.write(disk, &temporary)?;
            files::put_in_place(disk, &temporary, path)
        })
    } else {
        Ok(())
    };
    comm.agree(finished)?;
    Ok(hash)
}

/// Reads the model in `path`: the shared layers, and this rank's share of the class blocks.
///
/// # Errors
/// Exit 6 where the directory isn't a model, is damaged or is of a newer version; exit 3 where
/// ranks see different models there; common to all ranks.
pub fn load(comm: &Comm, path: &Path) -> Result<Annotator> {
    let manifest = comm.agree(Manifest::read(path))?;
    same_on_all(comm, Exit::Launch, &path.display().to_string(), &manifest.described())?;
    comm.agree(files::verify(path, &manifest, comm.rank(), comm.size()))?;
    let shape = manifest.shape.clone();
    let layers = shape.shared_layers();
    let read = files::read_shared(path, &layers).and_then(|shared| {
        let counts = files::read_expert_counts(path, &manifest)?;
        if counts.len() != shape.class_count {
            let found = counts.len();
            return Err(Error::run_directory(format!(
                "{}: found experts of {found} classes, expected {}",
                path.display(),
                shape.class_count
            )));
        }
        let layouts = layouts(&counts, shape.dummy, layers.outputs(), shape.class_blocks);
        let own = owned(layouts.len(), comm.size(), comm.rank());
        let parameters = files::read_experts(path, &manifest, &layouts[own.clone()])?;
        let parameters = parameters.into_iter().map(Arc::new).collect();
        Ok(Annotator { experts: Experts { layouts, own, parameters }, shared, layers, shape })
    });
    comm.agree(read)
}
