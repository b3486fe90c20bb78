//! `manifest.json`: what the model is and which files hold it.

use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::folder::sums::is_sha256;
use crate::model::annotator::{Annotator, Shape};
use crate::model::experts::EXPERTS_MAX;

pub(crate) const MANIFEST: &str = "manifest.json";
const FORMAT: &str = "reelscale-model";
const VERSION: u32 = 2;
/// Models of this version have no SHA256SUMS.
const VERSION_WITHOUT_SUMS: u32 = 1;
/// No manifest is larger; what claims to be is not read.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 64 << 20;
const FLOAT: u64 = size_of::<f32>() as u64;

/// One file of the directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileEntry {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    /// The classes that it holds; none for the shared layers.
    pub(crate) classes: Option<Range<usize>>,
}

/// The whole manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub(crate) format: String,
    pub(crate) version: u32,
    /// Program and version that wrote it.
    pub(crate) creator: String,
    pub(crate) shape: Shape,
    /// Number of experts of all classes.
    pub(crate) experts: usize,
    pub(crate) content_hash: String,
    pub(crate) files: Vec<FileEntry>,
}

/// The name of the file of the shared layers.
pub(crate) const SHARED: &str = "shared.h5";

/// The name of an experts file, counted from 0.
pub(crate) fn experts_name(index: usize) -> String {
    format!("experts-{index:05}.h5")
}

impl Manifest {
    pub(crate) fn new(
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

    /// As it is written.
    pub fn text(&self) -> String {
        serde_json::to_string_pretty(self).expect("a manifest is plain data") + "\n"
    }

    /// What `text` says; `path` is what errors name.
    ///
    /// # Errors
    /// Exit 6: it is damaged, of another format or of a newer version, or says what no model can
    /// be or what files of the lengths that it names can't hold.
    pub fn parse(path: &Path, text: &[u8]) -> Result<Manifest> {
        let refused = |what: String| Error::run_directory(format!("{}: {what}", path.display()));
        let value: serde_json::Value =
            serde_json::from_slice(text).map_err(|error| refused(error.to_string()))?;
        if value["format"] != FORMAT {
            return Err(refused(format!("format: found {}, expected {FORMAT:?}", value["format"])));
        }
        let read = [VERSION_WITHOUT_SUMS, VERSION].map(u64::from);
        if !value["version"].as_u64().is_some_and(|version| read.contains(&version)) {
            let found = &value["version"];
            let read = format!("{VERSION_WITHOUT_SUMS} and {VERSION}");
            return Err(refused(format!("version: found {found}, this program reads {read}")));
        }
        // From the text, not from the value, whose numbers are f64: each f32 is the one written.
        let manifest: Manifest =
            serde_json::from_slice(text).map_err(|error| refused(error.to_string()))?;
        let shape = manifest.shape.fault().map(|what| format!("shape: {what}"));
        // One after the other: what passes the first is what the second counts with.
        match shape.or_else(|| manifest.fault()) {
            None => Ok(manifest),
            Some(what) => Err(refused(what)),
        }
    }

    /// Whether `SHA256SUMS` belongs to it.
    pub(crate) fn has_sums(&self) -> bool {
        self.version > VERSION_WITHOUT_SUMS
    }

    /// The files that hold experts, in the order of classes.
    pub(crate) fn expert_files(&self) -> impl Iterator<Item = (&FileEntry, Range<usize>)> {
        self.files.iter().filter_map(|file| Some((file, file.classes.clone()?)))
    }

    /// What of it no manifest can say, given that its shape is one.
    fn fault(&self) -> Option<String> {
        let classes = self.shape.class_count;
        let experts = classes..=classes * EXPERTS_MAX;
        if !experts.contains(&self.experts) {
            let found = format!("experts: found {}", self.experts);
            return Some(format!("{found}, expected {} to {}", experts.start(), experts.end()));
        }
        if !is_sha256(&self.content_hash) {
            return Some(format!("content_hash: found {:?}", self.content_hash));
        }
        let mut next_class = 0;
        for (index, file) in self.files.iter().enumerate() {
            let (name, first) = match index {
                0 => (SHARED.to_string(), None),
                _ => (experts_name(index - 1), Some(next_class)),
            };
            let found = (file.name.as_str(), file.classes.as_ref().map(|classes| classes.start));
            if found != (name.as_str(), first) {
                let of = |first: Option<usize>| match first {
                    None => "without classes".to_string(),
                    Some(first) => format!("with classes from {first}"),
                };
                let (found, expected) = ((found.0, of(found.1)), of(first));
                return Some(format!(
                    "files: found {:?} {}, expected {name} {expected}",
                    found.0, found.1
                ));
            }
            if let Some(range) = &file.classes {
                if range.is_empty() || range.end > classes {
                    return Some(format!("files: {name}: found the classes {range:?}"));
                }
                next_class = range.end;
            }
            if !is_sha256(&file.sha256) {
                return Some(format!("files: {name}: sha256: found {:?}", file.sha256));
            }
        }
        if next_class != classes {
            return Some(format!("files: found {next_class} classes, expected {classes}"));
        }
        self.too_short()
    }

    /// Which of its files can't hold what the shape says, so that nothing is made room for that
    /// isn't there.
    fn too_short(&self) -> Option<String> {
        let shared = self.shape.shared_numbers().and_then(|numbers| numbers.checked_mul(FLOAT));
        let bytes = self.files[0].bytes;
        if shared.is_none_or(|wanted| wanted > bytes) {
            return Some(format!("files: {SHARED}: found {bytes} bytes, too few for the layers"));
        }
        let numbers = (self.experts as u64).checked_mul(self.shape.outputs() as u64 + 1);
        let wanted = numbers.and_then(|numbers| numbers.checked_mul(FLOAT));
        let bytes = self.expert_files().try_fold(0u64, |sum, file| sum.checked_add(file.0.bytes));
        let fits = wanted.zip(bytes).is_some_and(|(wanted, bytes)| wanted <= bytes);
        (!fits).then(|| "files: too few bytes for the experts".to_string())
    }
}
