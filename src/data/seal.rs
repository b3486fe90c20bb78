//! Gives a shard without proof one: its rows are written anew, as this program writes them, in the
//! place of the old file.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::Path;
use std::sync::Arc;

use hdf5::{IndexType, IterationOrder};

use super::class_names::CLASS_NAMES;
use super::content::ShardDataset;
use super::copied::copy;
use super::proof::Opened;
use super::reader::ShardReader;
use super::schema::{ShardInfo, hex, wrong};
use super::storage;
use super::writer::ShardWriter;
use crate::disk::{Disk, folder_of};
use crate::error::{Error, Result};
use crate::model::bounds::FeatureBounds;

/// What has become of a shard that was to be sealed.
#[derive(Debug, PartialEq)]
pub enum SealOutcome {
    /// It has been written anew.
    Now,
    /// It had a whole proof, and is as that says.
    Before,
}

/// Attributes of a shard's file, and of its values.
const ATTRIBUTES: [&str; 6] =
    ["format", "version", "class_count", "feature_parts", "creator", "source"];
const SCALING: [&str; 2] = ["scale", "offset"];

/// Checks the shard at `path` in full and, unless it has a proof, writes it anew with one, with the
/// same content, permissions and owner, in its place. Where `path` is a link, in that of the file
/// that it leads to. What is under that name is at any time the old file or the new one.
///
/// HDF5 sees a file without proof as it is: one that may crash it is for another process to read
/// first.
///
/// # Errors
/// Exit 4: a shard that isn't whole, changes meanwhile, or holds what would be lost; exit 5 where
/// the file system refuses. The file is then as it was.
pub fn seal(path: &Path, disk: &Disk) -> Result<SealOutcome> {
    let refused = |error: std::io::Error| Error::input(Error::file(path, &error).text);
    let place = fs::canonicalize(path).map_err(refused)?;
    let opened = Opened::open(&place)?;
    let before = opened.file.metadata().map_err(refused)?;
    let info = ShardInfo::to_be_sealed(&opened)?;
    let mut reader = ShardReader::of(&opened, info.clone(), Arc::new(FeatureBounds::none()))?;
    let content = reader.check_in_full()?;
    if opened.trailer.is_some() {
        return Ok(SealOutcome::Before);
    }
    let creator = nothing_else(&opened, &info)?;
    let (header, names) = (info.header(), info.class_names()?);
    let mut writer =
        ShardWriter::anew(&place, &header, info.encoding.clone(), (&creator, Some(before.len())))?
            .named(names.map(Arc::new));
    copy(&mut reader, info.rows, &mut writer)?;
    let trailer = writer.complete()?;
    if trailer.content != content {
        let text = format!("found the content {}, then {}", hex(content), hex(trailer.content));
        return Err(Error::input(format!("{}: {text}: it changes", place.display())));
    }
    let replace = |temporary: &Path| -> std::io::Result<bool> {
        take_after(temporary, &before)?;
        let same = same_file(&before, &fs::metadata(&place)?);
        if same {
            disk.rename(temporary, &place)?;
            disk.sync_dir(folder_of(&place))?;
        }
        Ok(same)
    };
    match writer.put(disk, &trailer, replace)? {
        true => Ok(SealOutcome::Now),
        false => Err(Error::input(format!("{}: changed while it was sealed", place.display()))),
    }
}

/// Whether a file's bytes are those that they were, as far as the file system tells.
fn same_file(then: &Metadata, now: &Metadata) -> bool {
    let of =
        |data: &Metadata| (data.dev(), data.ino(), data.size(), data.mtime(), data.mtime_nsec());
    of(then) == of(now)
}

/// Gives a new file the permissions and the owner of the old one; another's file stays one's own
/// where the system doesn't let it be given away.
fn take_after(path: &Path, old: &Metadata) -> std::io::Result<()> {
    let file = File::open(path)?;
    let _ = fchown(&file, Some(old.uid()), Some(old.gid()));
    file.set_permissions(old.permissions())
}

/// Who made a file that holds nothing but a shard, in words for the new one.
///
/// # Errors
/// Exit 4: datasets, groups or attributes that would be lost.
fn nothing_else(opened: &Opened, info: &ShardInfo) -> Result<String> {
    let path = opened.path.as_path();
    let file = opened.hdf5(0)?;
    let parts = ShardDataset::ALL.into_iter().filter(|part| part.is_of(info.kind));
    let mut known: BTreeSet<&str> = parts.map(|part| part.name(info.kind)).collect();
    if info.names.is_some() {
        known.insert(CLASS_NAMES);
    }
    let unreadable = |error: hdf5::Error| Error::input(format!("{}: {error}", path.display()));
    let links = file.links(IndexType::Name, IterationOrder::Native).map_err(unreadable)?;
    let lost = |what: &str, name: &str| {
        let text = format!("found {what} {name:?}, which would be lost");
        let hint = "keep a copy of the file, take that out and seal again";
        Err(Error::input(format!("{}: {text}", path.display())).hint(hint))
    };
    if let Some((name, _)) = links.iter().find(|(name, _)| !known.contains(&**name)) {
        return lost("a dataset or group", name);
    }
    if let Some(name) = unknown(&file, &ATTRIBUTES).map_err(unreadable)? {
        return lost("an attribute", &name);
    }
    for name in &known {
        let own = *name == info.values() && info.encoding.size() == 1;
        let dataset = storage::open(&file, name)
            .map_err(|text| wrong(path, &format!("dataset {name:?}"), text))?;
        if let Some(attribute) =
            unknown(&dataset, if own { &SCALING } else { &[] }).map_err(unreadable)?
        {
            return lost(&format!("in {name:?} an attribute"), &attribute);
        }
    }
    let own = concat!("reelscale ", env!("CARGO_PKG_VERSION"));
    Ok(match ShardInfo::creator(&file, path) {
        Some(creator) => format!("{creator}; sealed by {own}"),
        None => format!("sealed by {own}"),
    })
}

/// The first attribute that isn't one of `known`.
fn unknown(object: &hdf5::Location, known: &[&str]) -> hdf5::Result<Option<String>> {
    let names = object.attr_names()?;
    Ok(names.into_iter().find(|name| !known.contains(&&**name)))
}
