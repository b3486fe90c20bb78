//! How numbers of rows are stored: as floats of 32 or 16 bits, or as bytes of a range.

use half::f16;
use serde::{Deserialize, Serialize};

use crate::example::{BYTE_OFFSET, BYTE_SCALE, FeaturePart, Run, nearest_byte};

/// How the numbers of a shard are stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Encoding {
    /// 32-bit floats.
    Floats,
    /// 16-bit floats (IEEE binary16).
    Halves,
    /// Bytes; scale and offset of all features, or of each part: number = byte * scale + offset.
    Bytes(Vec<[f32; 2]>),
}

impl Encoding {
    /// Bytes of YouTube-8M and AudioSet.
    pub fn of_youtube8m() -> Encoding {
        Encoding::Bytes(vec![[BYTE_SCALE, BYTE_OFFSET]])
    }

    /// Bytes of these scales and offsets, one of each part: a single one where all are alike.
    pub(crate) fn of_parts(mut scaling: Vec<[f32; 2]>) -> Encoding {
        if scaling.windows(2).all(|pair| pair[0] == pair[1]) {
            scaling.truncate(1);
        }
        Encoding::Bytes(scaling)
    }

    /// Bytes of a number.
    pub(crate) fn size(&self) -> usize {
        match self {
            Encoding::Floats => 4,
            Encoding::Halves => 2,
            Encoding::Bytes(_) => 1,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Encoding::Floats => "f32",
            Encoding::Halves => "f16",
            Encoding::Bytes(_) => "u8",
        }
    }

    /// The scale and offset of bytes where all features have the same.
    pub(crate) fn only_scaling(&self) -> Option<(f32, f32)> {
        match self {
            Encoding::Bytes(scaling) if scaling.len() == 1 => Some((scaling[0][0], scaling[0][1])),
            _ => None,
        }
    }

    /// Scale and offset of a part's bytes; of floats what says nothing.
    pub(crate) fn scaling_of(&self, part: usize) -> [f32; 2] {
        match self {
            Encoding::Bytes(scaling) => scaling[part.min(scaling.len() - 1)],
            _ => [1.0, 0.0],
        }
    }

    /// Runs of features with the scale and offset of their bytes; of floats one that says nothing.
    pub(crate) fn runs(&self, parts: &[FeaturePart]) -> Vec<Run> {
        if !matches!(self, Encoding::Bytes(scaling) if scaling.len() > 1) {
            return vec![(parts.iter().map(|part| part.size).sum(), self.scaling_of(0))];
        }
        let mut end = 0;
        let run = |(index, part): (usize, &FeaturePart)| {
            end += part.size;
            (end, self.scaling_of(index))
        };
        parts.iter().enumerate().map(run).collect()
    }

    /// Appends the bytes of `numbers`, which are those of rows or frames with these runs. What
    /// 16-bit floats can't hold becomes infinite.
    pub(crate) fn encode(&self, runs: &[Run], numbers: &[f32], to: &mut Vec<u8>) {
        match self {
            Encoding::Floats => to.extend_from_slice(bytemuck::cast_slice(numbers)),
            Encoding::Halves => {
                numbers.iter().for_each(|number| to.extend(f16::from_f32(*number).to_le_bytes()));
            }
            Encoding::Bytes(_) => {
                for row in numbers.chunks_exact(runs[runs.len() - 1].0) {
                    let mut from = 0;
                    for (end, [scale, offset]) in runs {
                        let own = row[from..*end].iter();
                        to.extend(own.map(|number| nearest_byte(*number, (*scale, *offset))));
                        from = *end;
                    }
                }
            }
        }
    }

    /// What comes back of a number, that of a run of this scale and offset.
    pub(crate) fn nearest(&self, number: f32, [scale, offset]: [f32; 2]) -> f32 {
        match self {
            Encoding::Floats => number,
            Encoding::Halves => f16::from_f32(number).to_f32(),
            Encoding::Bytes(_) => f32::from(nearest_byte(number, (scale, offset))) * scale + offset,
        }
    }
}
