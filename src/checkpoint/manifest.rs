//! `manifest.json`: what the model is and which files hold it.

use std::fs;
use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::disk::{self, Disk};
use crate::error::{Error, Result};
use crate::model::annotator::{Annotator, Shape};

const FORMAT: &str = "reelscale-model";
const VERSION: u32 = 1;
/// No manifest is larger; what claims to be is not read.
const BYTES_MAX: u64 = 64 << 20;

/// One file of the directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileEntry {
    pub name: String,
    pub bytes: u64,
    pub sha256: String,
    /// The classes that it holds; none for the shared layers.
    pub classes: Option<Range<usize>>,
}

/// The whole manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: String,
    pub version: u32,
    /// Program and version that wrote it.
    pub creator: String,
    pub shape: Shape,
    /// Number of experts of all classes.
    pub experts: usize,
    pub content_hash: String,
    pub files: Vec<FileEntry>,
}

impl Manifest {
    pub fn new(
        annotator: &Annotator,
        shared: FileEntry,
        experts: Vec<FileEntry>,
        content_hash: String,
    ) -> Manifest {
        Manifest {
            format: FORMAT.into(),
            version: VERSION,
            creator: concat!("reelscale ", env!("CARGO_PKG_VERSION")).into(),
            shape: annotator.shape.clone(),
            experts: annotator.experts.counts().iter().sum(),
            content_hash,
            files: std::iter::once(shared).chain(experts).collect(),
        }
    }

    /// A line `field = value` each, for ranks to compare.
    pub fn described(&self) -> String {
        let value = serde_json::to_value(self).expect("a manifest is plain data");
        let fields = value.as_object().expect("a manifest has fields");
        fields.iter().map(|(name, value)| format!("{name} = {value}\n")).collect()
    }

    /// Writes it as `manifest.json` into `directory` and syncs it.
    pub fn write(&self, disk: &Disk, directory: &Path) -> Result<()> {
        let path = directory.join("manifest.json");
        let text = serde_json::to_string_pretty(self).expect("a manifest is plain data") + "\n";
        disk.write_atomic(&path, |to| to.write_all(text.as_bytes()))
            .map_err(|error| Error::file(&path, &error))
    }

    /// Reads the manifest of the model directory `directory`.
    ///
    /// # Errors
    /// Exit 6: there is none, it is damaged, of another format or of a newer version, or names
    /// files outside its directory.
    pub fn read(directory: &Path) -> Result<Manifest> {
        let path = directory.join("manifest.json");
        let refused = |what: String| Error::run_directory(format!("{}: {what}", path.display()));
        let size = fs::metadata(&path).map_err(|error| {
            refused(error.to_string()).hint("a model is a directory such as RUN/model")
        })?;
        if size.len() > BYTES_MAX {
            return Err(refused(format!("found {} bytes, expected a manifest", size.len())));
        }
        let text = disk::read(&path).map_err(|error| refused(error.to_string()))?;
        let value: serde_json::Value =
            serde_json::from_slice(&text).map_err(|error| refused(error.to_string()))?;
        if value["format"] != FORMAT {
            return Err(refused(format!("format: found {}, expected {FORMAT:?}", value["format"])));
        }
        if value["version"].as_u64() != Some(VERSION.into()) {
            let found = &value["version"];
            return Err(refused(format!("version: found {found}, this program reads {VERSION}")));
        }
        let manifest: Manifest =
            serde_json::from_value(value).map_err(|error| refused(error.to_string()))?;
        for file in &manifest.files {
            if file.name.contains(['/', '\\', '\0']) || file.name.starts_with('.') {
                return Err(refused(format!("files: found the name {:?}", file.name)));
            }
        }
        Ok(manifest)
    }

    /// The files that hold experts, in the order of classes.
    pub fn expert_files(&self) -> impl Iterator<Item = (&FileEntry, Range<usize>)> {
        self.files.iter().filter_map(|file| Some((file, file.classes.clone()?)))
    }
}
