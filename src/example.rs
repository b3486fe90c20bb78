//! One video as formats give it and shards keep it.

use serde::{Deserialize, Serialize};

/// A named run of feature columns, such as rgb with 1024.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeaturePart {
    pub name: String,
    pub size: usize,
}

/// Of rows or frames of these parts the numbers of each part, with its place, row after row.
pub(crate) fn by_part<'a>(
    parts: &'a [FeaturePart],
    numbers: &'a [f32],
) -> impl Iterator<Item = (usize, &'a [f32])> {
    let rows = numbers.chunks_exact(parts.iter().map(|part| part.size).sum());
    rows.flat_map(move |row| {
        let mut rest = row;
        parts.iter().enumerate().map(move |(place, part)| {
            let (own, others) = rest.split_at(part.size);
            rest = others;
            (place, own)
        })
    })
}

/// Consecutive features whose bytes have one scale and offset: where they end, and these.
pub type Run = (usize, [f32; 2]);

/// The features of one video, parts concatenated in their order (rgb first).
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Video level: D numbers.
    Video(Vec<f32>),
    /// Frame level: T x D bytes, frame after frame, to be dequantised as `q * SCALE + OFFSET`.
    Frames(Vec<u8>),
    /// Frame level: T x D numbers, frame after frame.
    FrameNumbers(Vec<f32>),
}

impl Values {
    /// The numbers, unless they are bytes already.
    pub(crate) fn numbers(&self) -> Option<&[f32]> {
        match self {
            Values::Video(numbers) | Values::FrameNumbers(numbers) => Some(numbers),
            Values::Frames(_) => None,
        }
    }

    /// So many frames of `width` features; None at video level.
    pub(crate) fn frames(&self, width: usize) -> Option<usize> {
        match self {
            Values::Video(_) => None,
            Values::Frames(bytes) => Some(bytes.len() / width),
            Values::FrameNumbers(numbers) => Some(numbers.len() / width),
        }
    }
}

/// Dequantisation of YouTube-8M's and AudioSet's bytes (docs/method.md, section 2.1): q * 4/255 +
/// 4/512 - 2.
pub(crate) const BYTE_SCALE: f32 = 4.0 / 255.0;
pub(crate) const BYTE_OFFSET: f32 = 4.0 / 512.0 - 2.0;

/// The byte whose value is nearest; a cast saturates.
pub(crate) fn nearest_byte(value: f32, (scale, offset): (f32, f32)) -> u8 {
    ((value - offset) / scale).round() as u8
}

/// One video: its id, its true classes (ascending, distinct), its features.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    pub id: Vec<u8>,
    pub labels: Vec<u32>,
    pub values: Values,
}
