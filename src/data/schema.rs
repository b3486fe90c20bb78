//! What a shard holds, and the check that a file is one.

use std::path::{Path, PathBuf};

use hdf5::filters::Filter;
use serde::{Deserialize, Serialize};

use super::attributes::Attributes;
use super::class_names::{CLASS_NAMES, read_class_names};
use super::content::{Common, ShardDataset};
use super::datasets::{DatasetType, Datasets, numeric};
use super::items::places;
use super::proof::Opened;
use super::stamp::Stamp;
use super::storage;
use super::trailer::{self, Trailer};
use super::versions::{
    OF_PARTS, WITH_PROOF, check_version, encoding_of_bytes, types_of_values, version_of,
};
use crate::encoding::Encoding;
use crate::error::{Error, Result};
use crate::example::{FeaturePart, Run};
use crate::limits::{check_class_count, check_parts};
use crate::names::Names;
use crate::progress::CallGuard;

pub(crate) const FORMAT: &str = "reelscale-shard";

/// Whether a row's features are one vector or one per frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Video,
    Frames,
}

impl Kind {
    /// In words: video-level features, frame-level features.
    pub(crate) fn level(self) -> &'static str {
        match self {
            Kind::Video => "video-level",
            Kind::Frames => "frame-level",
        }
    }
}

/// What the rows of a shard have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardHeader {
    pub parts: Vec<FeaturePart>,
    pub class_count: usize,
    pub kind: Kind,
    /// Where the rows come from, for people.
    pub source: String,
}

impl ShardHeader {
    /// Number of features D.
    pub(crate) fn width(&self) -> usize {
        self.parts.iter().map(|part| part.size).sum()
    }
}

/// How a shard was found to be what it was written as.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Proof {
    /// It wasn't.
    None,
    /// By the proof at its end; `file` is that proof's own digest, in hex, and so tells any other
    /// file apart.
    Own { file: String },
    /// All of it was read once, with the checksums that it has, when the file system said this of
    /// it.
    Read { stamp: Stamp },
}

/// A checked shard, as ranks tell each other of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardInfo {
    pub(crate) path: PathBuf,
    pub kind: Kind,
    pub(crate) parts: Vec<FeaturePart>,
    pub(crate) class_count: usize,
    pub rows: usize,
    /// Frames of all rows; 0 for video-level shards.
    pub frames: usize,
    /// Labels of all rows.
    pub(crate) positives: usize,
    /// Bytes of a chunk of values; 0 where they aren't chunked.
    pub(crate) chunk_bytes: usize,
    /// How values are stored.
    pub encoding: Encoding,
    pub(crate) source: String,
    /// Bytes of an id with its padding.
    pub(crate) id_bytes: usize,
    /// The digest of its content, in hex: the identity of all that its rows are. None where it
    /// hasn't been read in full and has no proof.
    pub digest: Option<String>,
    /// The digest of the names of its classes, if it has some.
    pub(crate) names: Option<String>,
    pub(crate) proof: Proof,
}

/// An error about one dataset or attribute of a file.
pub(crate) fn wrong(path: &Path, field: &str, text: impl std::fmt::Display) -> Error {
    Error::input(format!("{}: {field}: {text}", path.display()))
}

/// A digest as it is shown and compared.
pub(crate) fn hex(digest: trailer::Digest) -> String {
    format!("{digest:032x}")
}

impl ShardInfo {
    /// Number of features D.
    pub(crate) fn width(&self) -> usize {
        self.parts.iter().map(|part| part.size).sum()
    }

    /// The dataset that holds the values: `features` or `frames`.
    pub(crate) fn values(&self) -> &'static str {
        ShardDataset::Values.name(self.kind)
    }

    /// What changes what is trained, beside the rows themselves.
    pub(crate) fn common(&self) -> Common<'_> {
        let ShardInfo { kind, class_count, rows, .. } = *self;
        Common { kind, parts: &self.parts, class_count, rows, encoding: &self.encoding }
    }

    /// The description, as JSON, of which checkpoints hold a hash that know no digests.
    pub(crate) fn without_digest(&self) -> Vec<u8> {
        // Its fields and their order are those of the first version.
        #[derive(Serialize)]
        struct Older<'a> {
            path: &'a Path,
            kind: Kind,
            parts: &'a [FeaturePart],
            class_count: usize,
            rows: usize,
            frames: usize,
            positives: usize,
            chunk_bytes: usize,
            quantised: Option<(f32, f32)>,
            source: &'a str,
        }
        let ShardInfo { kind, class_count, rows, frames, positives, chunk_bytes, .. } = *self;
        let (path, parts, source) = (&self.path, &self.parts, &self.source);
        let quantised = self.encoding.only_scaling();
        let older = Older {
            path,
            kind,
            parts,
            class_count,
            rows,
            frames,
            positives,
            chunk_bytes,
            quantised,
            source,
        };
        let plain = |text: serde_json::Result<Vec<u8>>| text.expect("a description is plain data");
        let mut bytes = plain(serde_json::to_vec(&older));
        if i128::from(version_of(kind, &self.encoding)) == OF_PARTS {
            bytes.extend(plain(serde_json::to_vec(&self.encoding)));
        }
        bytes
    }

    /// Opens and checks the shard at `path`: its proof, then format, version, every dataset's
    /// type and shape, and that the sizes fit each other. Chunks are checked when they are read.
    ///
    /// # Errors
    /// Exit 4, with dataset, found and expected; a shard without proof.
    pub fn read(path: &Path) -> Result<ShardInfo> {
        ShardInfo::look(path)?.ok_or_else(|| {
            let text = format!("{}: found a shard without proof", path.display());
            Error::input(text).hint(format!("reelscale inspect --seal {}", path.display()))
        })
    }

    /// As `read`, or None for an HDF5 file that ends where it should but has no proof. HDF5 hasn't
    /// seen that: it may crash it, or keep it for ever.
    ///
    /// # Errors
    /// Exit 4.
    pub fn look(path: &Path) -> Result<Option<ShardInfo>> {
        let opened = Opened::open(path)?;
        opened.trailer.is_some().then(|| ShardInfo::of(&opened)).transpose()
    }

    /// As `read`, for a shard without proof too: HDF5 sees bytes that nothing has checked. Only for
    /// a file that a process of its own has read in full.
    ///
    /// # Errors
    /// Exit 4.
    pub fn read_unproven(path: &Path) -> Result<ShardInfo> {
        ShardInfo::of(&Opened::open(path)?)
    }

    /// As `read_unproven`, also for a shard whose proof another program has cut off, or hasn't
    /// written.
    ///
    /// # Errors
    /// Exit 4.
    pub(super) fn to_be_sealed(opened: &Opened) -> Result<ShardInfo> {
        ShardInfo::of_version(opened, |version| match opened.trailer {
            None if (WITH_PROOF..=OF_PARTS).contains(&version) => Ok(()),
            _ => check_version(&opened.path, version, opened.trailer.is_some()),
        })
    }

    /// Who has made the file, if it says so.
    pub(super) fn creator(file: &hdf5::File, path: &Path) -> Option<String> {
        Attributes { path, field: "", object: file }.text("creator").ok()
    }

    /// The names of its classes, if it has some.
    ///
    /// # Errors
    /// Exit 4.
    pub fn class_names(&self) -> Result<Option<Names>> {
        let opened = Opened::open(&self.path)?;
        names_in(&opened, &opened.hdf5(0)?, self.class_count)
    }

    /// The datasets with a chunk that has no Fletcher-32 checksum of HDF5's.
    ///
    /// # Errors
    /// Exit 4.
    pub(crate) fn without_checksums(&self) -> Result<Vec<&'static str>> {
        let opened = Opened::open(&self.path)?;
        let file = opened.hdf5(0)?;
        let mut names = Vec::new();
        for part in ShardDataset::ALL.into_iter().filter(|part| part.is_of(self.kind)) {
            let name = part.name(self.kind);
            let dataset = storage::open(&file, name)
                .map_err(|text| wrong(&self.path, &format!("dataset {name:?}"), text))?;
            names.extend((!storage::has_checksums(&dataset)).then_some(name));
        }
        Ok(names)
    }

    pub(super) fn of(opened: &Opened) -> Result<ShardInfo> {
        let proven = opened.trailer.is_some();
        ShardInfo::of_version(opened, |version| check_version(&opened.path, version, proven))
    }

    fn of_version(opened: &Opened, check: impl FnOnce(i128) -> Result<()>) -> Result<ShardInfo> {
        let path = opened.path.as_path();
        let _opening = CallGuard::on("opening", path);
        let file = opened.hdf5(0)?;
        let attributes = Attributes { path, field: "", object: &file };
        let format = attributes.text("format")?;
        if format != FORMAT {
            let found: String = format.chars().take(80).collect();
            return Err(wrong(path, "format", format!("found {found:?}, expected {FORMAT:?}")));
        }
        let version = attributes.whole("version")?;
        check(version)?;
        let parts: Vec<FeaturePart> = serde_json::from_str(&attributes.text("feature_parts")?)
            .map_err(|error| wrong(path, "feature_parts", error))?;
        check_parts(&parts).map_err(|text| wrong(path, "feature_parts", text))?;
        let class_count = check_class_count(attributes.whole("class_count")?)
            .map_err(|text| wrong(path, "class_count", text))?;
        let kind = match [Kind::Frames, Kind::Video]
            .map(|kind| file.link_exists(ShardDataset::Values.name(kind)))
        {
            [true, true] => {
                return Err(wrong(path, "frames", "found beside features, expected one of them"));
            }
            [true, false] => Kind::Frames,
            [false, _] => Kind::Video,
        };
        let mut info = ShardInfo {
            path: path.to_path_buf(),
            kind,
            parts,
            class_count,
            rows: 0,
            frames: 0,
            positives: 0,
            chunk_bytes: 0,
            encoding: Encoding::Floats,
            source: attributes.text("source")?,
            id_bytes: 0,
            digest: None,
            names: None,
            proof: Proof::None,
        };
        let mut datasets = Datasets { opened, file: &file, kind, open: Vec::new() };
        info.check_datasets(&mut datasets, version)?;
        info.names = names_in(opened, &file, class_count)?.map(|names| names.digest());
        if let Some(trailer) = &opened.trailer {
            info.check_places(trailer, &datasets)?;
            info.digest = Some(hex(trailer.content));
            info.proof = Proof::Own { file: hex(trailer.digest()) };
        }
        Ok(info)
    }

    fn check_datasets(&mut self, datasets: &mut Datasets, version: i128) -> Result<()> {
        let path = self.path.clone();
        let integers = [numeric::<i64>()];
        let offsets = datasets.take(ShardDataset::LabelOffsets, &integers, &[None])?;
        self.rows = offsets.size().checked_sub(1).ok_or_else(|| {
            wrong(&path, "label_offsets", "found no number, expected one more than rows")
        })?;
        self.positives = datasets.take(ShardDataset::Labels, &[numeric::<u32>()], &[None])?.size();
        let ids = datasets.take(ShardDataset::Ids, &[DatasetType::Bytes], &[Some(self.rows)])?;
        self.id_bytes = ids.dtype().map_or(0, |dtype| dtype.size());
        let types = types_of_values(self.kind, version);
        let rows = (self.kind == Kind::Video).then_some(self.rows);
        let values = datasets.take(ShardDataset::Values, &types, &[rows, Some(self.width())])?;
        let size = values.dtype().map_or(0, |dtype| dtype.size());
        self.chunk_bytes = values.chunk().map_or(0, |chunk| chunk.iter().product::<usize>() * size);
        if self.kind == Kind::Frames {
            self.frames = values.shape()[0];
            datasets.take(ShardDataset::FrameOffsets, &integers, &[Some(self.rows + 1)])?;
        }
        self.encoding = match size {
            4 => Encoding::Floats,
            2 => Encoding::Halves,
            _ => encoding_of_bytes(self, &values, version)?,
        };
        Ok(())
    }

    /// Runs of features, with the scale and offset of their bytes.
    pub(crate) fn runs(&self) -> Vec<Run> {
        self.encoding.runs(&self.parts)
    }

    /// Items and bytes of an item of each dataset, in the order of a proof.
    pub(super) fn sizes(&self) -> Vec<(usize, usize)> {
        let value = self.encoding.size();
        let (values, frame_offsets) = match self.kind {
            Kind::Video => (self.rows, 0),
            Kind::Frames => (self.frames, self.rows + 1),
        };
        vec![
            (values, self.width() * value),
            (self.rows + 1, size_of::<i64>()),
            (self.positives, size_of::<u32>()),
            (frame_offsets, size_of::<i64>()),
            (self.rows, self.id_bytes),
        ]
    }

    /// Whether HDF5 says of chunks what the proof says, so that they can be read without it.
    fn check_places(&self, trailer: &Trailer, datasets: &Datasets) -> Result<()> {
        let places = places(trailer, &self.sizes())
            .map_err(|text| Error::input(format!("{}: {text}", self.path.display())))?;
        for (part, dataset) in &datasets.open {
            let place = &places[*part as usize];
            let own = match dataset.chunk() {
                _ if place.items == 0 => true,
                None => false,
                Some(chunk) => {
                    let whole = chunk[1..] == dataset.shape()[1..];
                    let filters = dataset.filters();
                    whole
                        && chunk[0] == place.per_chunk
                        && matches!(filters[..], [Filter::Fletcher32])
                        && dataset.num_chunks() == Some(place.chunks.len())
                }
            };
            if !own {
                let field = format!("dataset {:?}", part.name(self.kind));
                return Err(wrong(&self.path, &field, "found other chunks than the proof has"));
            }
        }
        Ok(())
    }
}

/// The names of classes that a shard's file holds, if it does.
fn names_in(opened: &Opened, file: &hdf5::File, classes: usize) -> Result<Option<Names>> {
    let found = read_class_names(file, opened.size, Some(classes));
    let names = found.and_then(|found| found.map(Names::new).transpose());
    names.map_err(|text| wrong(&opened.path, &format!("dataset {CLASS_NAMES:?}"), text))
}
