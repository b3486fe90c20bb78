//! The versions of shards: what those of each may hold, and how their values are stored.

use std::path::Path;

use half::f16;

use super::attributes::Attributes;
use super::datasets::{DatasetType, numeric};
use super::schema::{Kind, ShardInfo, wrong};
use crate::encoding::Encoding;
use crate::error::Result;

/// The version of shards without proof.
const WITHOUT_PROOF: i128 = 1;
/// That of shards with a proof.
pub(super) const WITH_PROOF: i128 = 2;
/// That of those which hold what earlier programs can't read: frames of floats, 16-bit floats,
/// bytes with a scale and offset of each part.
pub(super) const OF_PARTS: i128 = 3;

/// The version of a shard that stores rows of this kind like this: the earliest that can.
pub(super) fn version_of(kind: Kind, encoding: &Encoding) -> u64 {
    let earlier = match encoding {
        Encoding::Floats => kind == Kind::Video,
        Encoding::Halves => false,
        Encoding::Bytes(scaling) => scaling.len() == 1,
    };
    (if earlier { WITH_PROOF } else { OF_PARTS }) as u64
}

/// Whether this program reads a shard of this version, with or without a proof.
///
/// # Errors
/// Exit 4.
pub(super) fn check_version(path: &Path, version: i128, proven: bool) -> Result<()> {
    match (version, proven) {
        (WITHOUT_PROOF, false) | (WITH_PROOF..=OF_PARTS, true) => Ok(()),
        (WITH_PROOF..=OF_PARTS, false) => {
            let text = format!(
                "found {version}, but no proof behind HDF5's end: it was opened for \
                writing by another program"
            );
            let hint = format!("reelscale inspect --seal {}", path.display());
            Err(wrong(path, "version", text).hint(hint))
        }
        (WITHOUT_PROOF, true) => {
            let text = format!("found 1 in a shard with a proof, expected 2 or {OF_PARTS}");
            Err(wrong(path, "version", text))
        }
        _ => {
            let text = format!("found {version}, this program reads 1 to {OF_PARTS}");
            Err(wrong(path, "version", text).hint("a newer reelscale wrote this shard"))
        }
    }
}

/// The types that values may have.
pub(super) fn types_of_values(kind: Kind, version: i128) -> Vec<DatasetType> {
    match kind {
        _ if version == OF_PARTS => vec![numeric::<f32>(), numeric::<f16>(), numeric::<u8>()],
        Kind::Video => vec![numeric::<f32>(), numeric::<u8>()],
        Kind::Frames => vec![numeric::<u8>()],
    }
}

/// What the bytes of `values` stand for, in version 3 perhaps another number in each part.
///
/// # Errors
/// Exit 4: the attributes are missing, of another size, or tell no bytes apart.
pub(super) fn encoding_of_bytes(
    info: &ShardInfo,
    values: &hdf5::Dataset,
    version: i128,
) -> Result<Encoding> {
    let field = format!("dataset {:?}", info.values());
    let attributes = Attributes { path: &info.path, field: &field, object: values };
    let counts = [1, info.parts.len()];
    let counts = if version == OF_PARTS { &counts[..] } else { &counts[..1] };
    let scales = attributes.reals("scale", counts)?;
    let offsets = attributes.reals("offset", &[scales.len()])?;
    let scaling: Vec<[f32; 2]> =
        scales.iter().zip(&offsets).map(|(scale, offset)| [*scale, *offset]).collect();
    for [scale, offset] in &scaling {
        if *scale == 0.0 || !(255.0 * scale + offset).is_finite() {
            let text = format!("found {scale}, expected a number that tells bytes apart");
            return Err(wrong(&info.path, &format!("{field}: attribute scale"), text));
        }
    }
    Ok(Encoding::of_parts(scaling))
}
