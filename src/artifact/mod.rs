//! The model on disk: a directory that any number of ranks writes and any other number reads, which
//! is all that scoring, exporting and serving need of a run.
//!
//! ```text
//!   manifest.json         shape of the model, every file's classes, size and SHA-256, content hash
//!   shared.h5             /layer_0/weights [inputs, outputs], /layer_0/biases [outputs], ...
//!   experts-00000.h5 ...  classes in order, cut at about 1 GiB between class blocks, never by
//!                         rank: /gate_weights [gates, d] and /gate_offsets [classes + 1]: gates
//!                         of class k (the dummy state's first where it is learned);
//!                         /expert_weights [experts, d], /expert_biases [experts],
//!                         /expert_offsets [classes + 1]; /class_names [classes] where they
//!                         have names
//!   SHA256SUMS            of all other files: `sha256sum -c SHA256SUMS`
//! ```
//!
//! It is written under a temporary name, synced and renamed. One is used only if it holds exactly
//! the files that it lists, each with its digest, and if what was read has the content hash that
//! the manifest names. What is computed with the weights is left to others.

mod content;
pub(crate) mod export;
mod files;
mod manifest;
mod model_folder;
mod read;

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use content::content_hash;
pub(crate) use files::{Visit, to_rows};
pub use manifest::Manifest;
pub(crate) use model_folder::ModelFolder;

use crate::comm::Comm;
use crate::disk::{Disk, folder_of};
use crate::error::{Error, Result};
use crate::model::annotator::Annotator;
use crate::model::experts::{Experts, layouts};
use crate::model::shared::SharedLayers;
use crate::names::Names;
use read::{ExpertsFile, read_shared};

/// Bytes after which a new experts file begins.
const FILE_BYTES: usize = 1 << 30;

/// Writes `annotator` to the directory `path`, which must not exist unless it holds the same model.
/// Every rank takes part; returns the content hash.
///
/// # Errors
/// Exit 5 where the file system refuses, common to all ranks.
pub fn save(comm: &Comm, path: &Path, annotator: &Annotator) -> Result<String> {
    let hash = content_hash(comm, annotator);
    save_hashed(comm, &Disk::default(), path, annotator, &hash)?;
    Ok(hash)
}

/// As `save`, on this disk, of a model whose content hash is known.
///
/// # Errors
/// As `save`.
pub(crate) fn save_hashed(
    comm: &Comm,
    disk: &Disk,
    path: &Path,
    annotator: &Annotator,
    hash: &str,
) -> Result<()> {
    save_cut(comm, disk, path, (annotator, hash), FILE_BYTES)
}

fn save_cut(
    comm: &Comm,
    disk: &Disk,
    path: &Path,
    (annotator, hash): (&Annotator, &str),
    file_bytes: usize,
) -> Result<()> {
    let there = ModelFolder::open_whole(comm, path);
    if there.is_ok_and(|there| there.manifest.content_hash == hash) {
        // Whoever put the model there may have been stopped before the sync.
        let synced = if comm.is_root() { disk.sync_dir(folder_of(path)) } else { Ok(()) };
        comm.agree(synced.map_err(|error| Error::file(path, &error)))?;
        disk.lasts(path);
        return Ok(());
    }
    let prepared = comm.is_root().then(|| files::prepare(disk, path)).transpose();
    let temporary = comm.agree(prepared)?.unwrap_or_default();
    let name = comm.all_gather_any(temporary.as_os_str().as_bytes()).swap_remove(0);
    let temporary = PathBuf::from(OsString::from_vec(name));
    let entries = files::write_experts(comm, disk, &temporary, annotator, file_bytes)?;
    let finished = if comm.is_root() {
        files::write_shared(disk, &temporary, annotator).and_then(|shared| {
            let manifest = Manifest::new(annotator, shared, entries, hash.to_string());
            files::write_manifest(disk, &temporary, &manifest)?;
            files::put_in_place(disk, &temporary, path)
        })
    } else {
        Ok(())
    };
    comm.agree(finished)?;
    disk.lasts(path);
    Ok(())
}

/// Reads the model in `path`: the shared layers, and this rank's share of the class blocks.
///
/// # Errors
/// Exit 6 where the directory isn't a model, is damaged, is replaced while it is read, or is of a
/// newer version; common to all ranks.
pub fn load(comm: &Comm, path: &Path) -> Result<Annotator> {
    load_opened(comm, &ModelFolder::open_whole(comm, path)?).map(|loaded| loaded.0)
}

/// The same of a model that all ranks have opened, and its content hash.
///
/// # Errors
/// As `load`.
pub(crate) fn load_opened(comm: &Comm, model: &ModelFolder) -> Result<(Annotator, String)> {
    if comm.is_root() && !model.manifest.has_sums() {
        let creator = &model.manifest.creator;
        log::warn!(
            "{}: no SHA256SUMS, a model by {creator}: its numbers are proven, but not how its \
             classes are cut into blocks, which decides last digits of losses",
            model.path().display()
        );
    }
    let annotator = comm.agree(read(comm, model))?;
    comm.agree(model.unchanged())?;
    let (found, expected) = (content_hash(comm, &annotator), &model.manifest.content_hash);
    if found != *expected {
        let text = format!("found the content {found}, expected {expected}");
        let error = refused(model, text).hint("it was changed, or replaced while it was read");
        return Err(Error { agreed: true, ..error });
    }
    Ok((annotator, found))
}

/// All of a model but its mixtures, and the files that hold these.
struct Head<'a> {
    layers: SharedLayers,
    shared: Vec<f32>,
    files: Vec<ExpertsFile<'a>>,
    /// Number of experts of each class.
    counts: Vec<usize>,
    names: Option<Arc<Names>>,
}

/// The head of a model that is whole.
fn head(model: &ModelFolder) -> Result<Head<'_>> {
    let layers = model.manifest.shape.shared_layers();
    let shared = read_shared(model.shared(), &layers)?;
    let files = ExpertsFile::all(model)?;
    let counts: Vec<usize> = files.iter().flat_map(ExpertsFile::counts).collect();
    let (found, expected) = (counts.iter().sum::<usize>(), model.manifest.experts);
    if found != expected {
        return Err(refused(model, format!("found {found} experts, expected {expected}")));
    }
    if let Some(layer) = layers.odd_layer(&shared) {
        return Err(refused(model, format!("layer {layer}: found NaN or infinity")));
    }
    let names = names_in(model, &files)?.map(Arc::new);
    Ok(Head { layers, shared, files, counts, names })
}

/// A model of which only some classes are wanted.
pub(crate) struct Opened<'a> {
    head: Head<'a>,
}

impl<'a> Opened<'a> {
    /// # Errors
    /// Exit 6: what the files of `model` say of its layers and classes no model has.
    pub(crate) fn new(model: &'a ModelFolder) -> Result<Opened<'a>> {
        Ok(Opened { head: head(model)? })
    }

    /// Parameters of the shared layers.
    pub(crate) fn shared(&self) -> &[f32] {
        &self.head.shared
    }

    /// Number of experts of each class.
    pub(crate) fn experts(&self) -> &[usize] {
        &self.head.counts
    }

    /// The names of its classes, where they have some.
    pub(crate) fn names(&self) -> Option<&Names> {
        self.head.names.as_deref()
    }

    /// The mixture of a class: the weights of its gates and of its experts, then the biases of
    /// these.
    ///
    /// # Errors
    /// Exit 6: its file holds something else.
    pub(crate) fn mixture(&self, class: usize) -> Result<Vec<f32>> {
        let width = self.head.layers.outputs();
        let found = self.head.files.iter().find_map(|file| file.mixture(class, width));
        let rows = found.expect("files hold all classes")?;
        Ok([rows.gates, rows.experts, rows.biases].concat())
    }
}

/// The names of a model's classes, if it has some.
///
/// # Errors
/// Exit 6.
pub(crate) fn names_of(model: &ModelFolder) -> Result<Option<Names>> {
    names_in(model, &ExpertsFile::all(model)?)
}

fn names_in(model: &ModelFolder, files: &[ExpertsFile]) -> Result<Option<Names>> {
    let found = files.iter().map(ExpertsFile::names).collect::<Result<Vec<_>>>()?;
    if found.iter().all(Option::is_none) {
        return Ok(None);
    }
    let Some(all) = found.into_iter().collect::<Option<Vec<_>>>() else {
        return Err(refused(model, "found class_names in some files, expected them in all".into()));
    };
    let names = Names::new(all.concat());
    names.map(Some).map_err(|text| refused(model, format!("class_names: {text}")))
}

fn refused(model: &ModelFolder, what: String) -> Error {
    Error::run_directory(format!("{}: {what}", model.path().display()))
}

/// This rank's share of a model that is whole.
fn read(comm: &Comm, model: &ModelFolder) -> Result<Annotator> {
    let shape = model.manifest.shape.clone();
    let Head { layers, shared, files, counts, names } = head(model)?;
    let layouts = layouts(&counts, shape.dummy, layers.outputs(), shape.class_blocks);
    let owners = comm.deal(layouts.len());
    let mut parameters = Vec::with_capacity(owners.own().len());
    for layout in &layouts[owners.own()] {
        match files.iter().find_map(|file| file.block(layout)) {
            Some(block) => parameters.push(Arc::new(block?)),
            None => {
                let what = format!("no file holds the classes {:?}", layout.classes);
                return Err(refused(model, what));
            }
        }
    }
    let experts = Experts { layouts, owners, parameters };
    if let Some(class) = experts.odd_class() {
        return Err(refused(model, format!("class {class}: found NaN or infinity")));
    }
    Ok(Annotator { experts, shared, layers, shape, names })
}
