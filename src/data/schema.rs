//! What a shard holds, and the check that a file is one.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use hdf5::types::{FloatSize, IntSize, TypeDescriptor, VarLenUnicode};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::example::FeaturePart;
use crate::progress::Call;

pub const FORMAT: &str = "reelscale-shard";
pub const VERSION: u32 = 1;

/// Whether a row's features are one vector or one per frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Video,
    Frames,
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
    pub fn width(&self) -> usize {
        self.parts.iter().map(|part| part.size).sum()
    }
}

/// A checked shard, as ranks tell each other of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardInfo {
    pub path: PathBuf,
    pub kind: Kind,
    pub parts: Vec<FeaturePart>,
    pub class_count: usize,
    pub rows: usize,
    /// Frames of all rows; 0 for video-level shards.
    pub frames: usize,
    /// Labels of all rows.
    pub positives: usize,
    /// Bytes of a chunk of values; 0 where they aren't chunked.
    pub chunk_bytes: usize,
    /// Whether values are bytes with scale and offset.
    pub quantised: Option<(f32, f32)>,
    pub source: String,
}

/// An error about one dataset or attribute of a file.
pub fn wrong(path: &Path, field: &str, text: impl std::fmt::Display) -> Error {
    Error::input(format!("{}: {field}: {text}", path.display()))
}

impl ShardInfo {
    /// Number of features D.
    pub fn width(&self) -> usize {
        self.parts.iter().map(|part| part.size).sum()
    }

    /// The dataset that holds the values: `features` or `frames`.
    pub fn values(&self) -> &'static str {
        match self.kind {
            Kind::Video => "features",
            Kind::Frames => "frames",
        }
    }

    /// Opens and checks the shard at `path`: format, version, every dataset's type, shape, order of
    /// bytes and checksums, and that the sizes fit each other.
    ///
    /// # Errors
    /// Exit 4, with dataset, found and expected.
    pub fn read(path: &Path) -> Result<ShardInfo> {
        let _opening = Call::on("opening", path);
        let file = open(path)?;
        let attributes = Attributes { path, file: &file };
        let format = attributes.text("format")?;
        if format != FORMAT {
            return Err(wrong(path, "format", format!("found {format:?}, expected {FORMAT:?}")));
        }
        let version = attributes.number("version")?;
        if version != u64::from(VERSION) {
            let text = format!("found {version}, this program reads {VERSION}");
            return Err(wrong(path, "version", text).hint("a newer reelscale wrote this shard"));
        }
        let parts: Vec<FeaturePart> = serde_json::from_str(&attributes.text("feature_parts")?)
            .map_err(|error| wrong(path, "feature_parts", error))?;
        let width = parts.iter().try_fold(0usize, |sum, part| sum.checked_add(part.size));
        let width = width.filter(|width| (1..1 << 24).contains(width)).ok_or_else(|| {
            wrong(path, "feature_parts", "found sizes that add up to nothing or too much")
        })?;
        let kind = if file.link_exists("frames") { Kind::Frames } else { Kind::Video };
        let mut info = ShardInfo {
            path: path.to_path_buf(),
            kind,
            parts,
            class_count: attributes.number("class_count")? as usize,
            rows: 0,
            frames: 0,
            positives: 0,
            chunk_bytes: 0,
            quantised: None,
            source: attributes.text("source")?,
        };
        info.check_datasets(&file, width)?;
        Ok(info)
    }

    fn check_datasets(&mut self, file: &hdf5::File, width: usize) -> Result<()> {
        let path = self.path.clone();
        let check = |name: &str, types: &[TypeDescriptor], shape: &[Option<usize>]| {
            checked_dataset(&path, file, name, types, shape)
        };
        let int = |size| TypeDescriptor::Integer(size);
        let float = TypeDescriptor::Float(FloatSize::U4);
        let byte = TypeDescriptor::Unsigned(IntSize::U1);
        let word = TypeDescriptor::Unsigned(IntSize::U4);
        let offsets = check("label_offsets", &[int(IntSize::U8)], &[None])?;
        self.rows = offsets.size().checked_sub(1).ok_or_else(|| {
            wrong(&path, "label_offsets", "found no number, expected one more than rows")
        })?;
        self.positives = check("labels", &[word], &[None])?.size();
        let ids = checked_dataset(&path, file, "ids", &[], &[Some(self.rows)])?;
        let id_type = ids.dtype().and_then(|dtype| dtype.to_descriptor());
        if !matches!(id_type, Ok(TypeDescriptor::FixedAscii(1..=65536))) {
            return Err(wrong(&path, "ids", "found another type, expected fixed-length bytes"));
        }
        let rows = match self.kind {
            Kind::Video => Some(self.rows),
            Kind::Frames => None,
        };
        let values = check(self.values(), &[float, byte.clone()], &[rows, Some(width)])?;
        let size = values.dtype().map_or(0, |dtype| dtype.size());
        self.chunk_bytes = values.chunk().map_or(0, |chunk| chunk.iter().product::<usize>() * size);
        if self.kind == Kind::Frames {
            self.frames = values.shape()[0];
            check("frame_offsets", &[int(IntSize::U8)], &[Some(self.rows + 1)])?;
        }
        if values.dtype().and_then(|dtype| dtype.to_descriptor()).is_ok_and(|found| found == byte) {
            let number = |name: &str| {
                values.attr(name).and_then(|attribute| attribute.read_scalar::<f32>()).map_err(
                    |_| {
                        let text = format!("attribute {name} is missing, expected a 32-bit float");
                        wrong(&path, self.values(), text)
                    },
                )
            };
            self.quantised = Some((number("scale")?, number("offset")?));
        }
        Ok(())
    }
}

/// What HDF5 keeps of chunks it has read, for each open dataset, unless it is told otherwise.
const CHUNK_CACHE: usize = 1 << 20;
/// The largest chunk that is kept (hdf5-data/README.md: chunks of 256 KiB to 4 MiB).
const CHUNK_CACHE_MAX: usize = 4 << 20;
/// Places of the cache, a prime as HDF5 advises.
const CHUNK_PLACES: usize = 521;

/// How far chunks that have been read to their end make room before others: HDF5's own choice.
/// With 1, chunks read in part are never given up, and the cache grows beyond its size.
const CHUNK_PREFERENCE: f64 = 0.75;

/// Opens an HDF5 file for reading, after a look at what HDF5 itself would stumble over.
pub fn open(path: &Path) -> Result<hdf5::File> {
    open_with(path, CHUNK_CACHE)
}

/// As `open`, for reads one after the other from chunks of `chunk_bytes`: the chunk that two of
/// them share is kept, where it would otherwise be read and checked twice.
pub fn open_chunked(path: &Path, chunk_bytes: usize) -> Result<hdf5::File> {
    open_with(path, chunk_bytes.clamp(CHUNK_CACHE, CHUNK_CACHE_MAX))
}

fn open_with(path: &Path, cache_bytes: usize) -> Result<hdf5::File> {
    let plain = |text: &dyn std::fmt::Display| Error::input(format!("{}: {text}", path.display()));
    let mut file = File::open(path).map_err(|error| plain(&error))?;
    let size = file.metadata().map_err(|error| plain(&error))?.len();
    let mut magic = [0; 48];
    let known = file.read_exact(&mut magic).is_ok() && magic[..8] == *b"\x89HDF\r\n\x1a\n";
    if !known {
        return Err(plain(&format!("found {size} bytes that aren't an HDF5 file")));
    }
    // Superblock version 0: the file's claimed end stands at byte 40.
    let claimed = u64::from_le_bytes(magic[40..48].try_into().expect("eight bytes"));
    if magic[8] == 0 && claimed != size {
        let text = format!("found {size} bytes, expected {claimed}: cut or not closed");
        return Err(plain(&text).hint("its writer was stopped; write the shard anew"));
    }
    file.seek(SeekFrom::Start(0)).map_err(|error| plain(&error))?;
    let mut options = hdf5::File::with_options();
    options.with_fapl(|access| access.chunk_cache(CHUNK_PLACES, cache_bytes, CHUNK_PREFERENCE));
    options.open(path).map_err(|error| plain(&error))
}

struct Attributes<'a> {
    path: &'a Path,
    file: &'a hdf5::File,
}

impl Attributes<'_> {
    fn get(&self, name: &str) -> Result<hdf5::Attribute> {
        self.file.attr(name).map_err(|_| {
            wrong(self.path, name, "attribute is missing").hint("is this a reelscale shard?")
        })
    }

    fn text(&self, name: &str) -> Result<String> {
        let text = self.get(name)?.read_scalar::<VarLenUnicode>();
        Ok(text.map_err(|_| wrong(self.path, name, "expected a text"))?.to_string())
    }

    fn number(&self, name: &str) -> Result<u64> {
        let number = self.get(name)?.read_scalar::<u64>();
        number.map_err(|_| wrong(self.path, name, "expected a whole number"))
    }
}

/// The dataset `name`, if its type is one of `types` (none: any), little-endian as native, its
/// shape `shape` (None: any extent), and its filters are known.
fn checked_dataset(
    path: &Path,
    file: &hdf5::File,
    name: &str,
    types: &[TypeDescriptor],
    shape: &[Option<usize>],
) -> Result<hdf5::Dataset> {
    if !file.link_exists(name) {
        return Err(wrong(path, &format!("dataset {name:?}"), "is missing"));
    }
    let field = format!("dataset {name:?}");
    let broken = |error: hdf5::Error| wrong(path, &field, error);
    let dataset = file.dataset(name).map_err(broken)?;
    let dtype = dataset.dtype().map_err(broken)?;
    let found = dtype.to_descriptor().map_err(broken)?;
    let extents = |shape: &[usize]| format!("{shape:?}");
    let expected_extents = || {
        let extent = |size: &Option<usize>| size.map_or("*".into(), |size| size.to_string());
        format!("[{}]", shape.iter().map(extent).collect::<Vec<_>>().join(", "))
    };
    let fits = dataset.ndim() == shape.len()
        && dataset.shape().iter().zip(shape).all(|(n, expected)| expected.is_none_or(|e| e == *n));
    if !fits || !(types.is_empty() || types.contains(&found)) {
        let expected: Vec<String> = types.iter().map(ToString::to_string).collect();
        let text = format!(
            "found {found} {}, expected {} {}",
            extents(&dataset.shape()),
            expected.join(" or "),
            expected_extents()
        );
        return Err(wrong(path, &field, text));
    }
    if dtype.byte_order() == hdf5::datatype::ByteOrder::BigEndian {
        return Err(wrong(path, &field, "found big-endian numbers, expected little-endian"));
    }
    for filter in dataset.filters() {
        if !matches!(filter, hdf5::filters::Filter::Fletcher32) && !known_filter(&filter) {
            return Err(wrong(
                path,
                &field,
                format!("found the filter {filter:?}, which isn't known"),
            ));
        }
    }
    Ok(dataset)
}

/// Filters that every HDF5 library has.
fn known_filter(filter: &hdf5::filters::Filter) -> bool {
    use hdf5::filters::Filter::{Deflate, Shuffle};
    matches!(filter, Deflate(_) | Shuffle)
}
