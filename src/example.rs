//! One video as formats give it and shards keep it.

use serde::{Deserialize, Serialize};

/// Features of a video or a frame at most, over all parts.
pub const WIDTH_MAX: usize = (1 << 24) - 1;
/// Classes at most.
pub const CLASSES_MAX: usize = 1 << 24;
/// Bytes of an id at most.
pub const ID_BYTES_MAX: usize = 1 << 16;

/// A named run of feature columns, such as rgb with 1024.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeaturePart {
    pub name: String,
    pub size: usize,
}

/// The features of one video, parts concatenated in their order (rgb first).
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Video level: D numbers.
    Video(Vec<f32>),
    /// Frame level: T x D bytes, frame after frame, to be dequantised as `q * SCALE + OFFSET`.
    Frames(Vec<u8>),
}

/// Dequantisation of YouTube-8M's and AudioSet's bytes (method.md, section 2): q * 4/255 + 4/512 -
/// 2.
pub const BYTE_SCALE: f32 = 4.0 / 255.0;
pub const BYTE_OFFSET: f32 = 4.0 / 512.0 - 2.0;

/// One video: its id, its true classes (ascending, distinct), its features.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    pub id: Vec<u8>,
    pub labels: Vec<u32>,
    pub values: Values,
}

/// Whether shards can keep this id as it is.
///
/// # Errors
/// What was found and what was expected.
pub fn check_id(id: &[u8]) -> Result<(), String> {
    if id.len() > ID_BYTES_MAX {
        return Err(format!("id: found {} bytes, expected at most {ID_BYTES_MAX}", id.len()));
    }
    match id.last() {
        // Shards pad ids with NUL, so two ids might become one.
        Some(0) => Err("id: found NUL at its end, which shards can't keep".into()),
        _ => Ok(()),
    }
}

/// Whether shards can keep features of these parts.
///
/// # Errors
/// What was found and what was expected.
pub fn check_parts(parts: &[FeaturePart]) -> Result<(), String> {
    match parts.iter().try_fold(0usize, |sum, part| sum.checked_add(part.size)) {
        Some(1..=WIDTH_MAX) => Ok(()),
        Some(found) => Err(format!("found {found} features, expected 1 to {WIDTH_MAX}")),
        None => Err(format!("found too many features, expected 1 to {WIDTH_MAX}")),
    }
}
