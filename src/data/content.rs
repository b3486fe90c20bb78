//! The digest of what a shard's rows are, however they are chunked, compressed or padded: its
//! identity. hdf5-data/README.md documents it.

use xxhash_rust::xxh3::Xxh3;

use super::schema::Kind;
use super::trailer::Digest;
use crate::encoding::Encoding;
use crate::example::FeaturePart;

/// The datasets of a shard, in the order of its proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShardDataset {
    /// `features` or `frames`.
    Values,
    LabelOffsets,
    Labels,
    FrameOffsets,
    Ids,
}

impl ShardDataset {
    pub(crate) const ALL: [ShardDataset; 5] = [
        ShardDataset::Values,
        ShardDataset::LabelOffsets,
        ShardDataset::Labels,
        ShardDataset::FrameOffsets,
        ShardDataset::Ids,
    ];

    /// Whether a shard of this kind has it.
    pub(crate) fn is_of(self, kind: Kind) -> bool {
        self != ShardDataset::FrameOffsets || kind == Kind::Frames
    }

    /// The dataset's name.
    pub(crate) fn name(self, kind: Kind) -> &'static str {
        match self {
            ShardDataset::Values if kind == Kind::Video => "features",
            ShardDataset::Values => "frames",
            ShardDataset::LabelOffsets => "label_offsets",
            ShardDataset::Labels => "labels",
            ShardDataset::FrameOffsets => "frame_offsets",
            ShardDataset::Ids => "ids",
        }
    }
}

/// What rows have in common, as far as it changes what is trained.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Common<'a> {
    pub(crate) kind: Kind,
    pub(crate) parts: &'a [FeaturePart],
    pub(crate) class_count: usize,
    pub(crate) rows: usize,
    pub(crate) encoding: &'a Encoding,
}

/// The content of a shard on its way into a digest.
#[derive(Clone, Default)]
pub(crate) struct Content {
    /// In the order of `ShardDataset::ALL`.
    datasets: [Xxh3; 5],
}

impl Content {
    /// The next bytes of a dataset as it is stored, little-endian; ids go through `id`.
    pub(crate) fn add(&mut self, part: ShardDataset, bytes: &[u8]) {
        self.datasets[part as usize].update(bytes);
    }

    /// The next id, without its padding.
    pub(crate) fn id(&mut self, id: &[u8]) {
        self.add(ShardDataset::Ids, &(id.len() as u64).to_le_bytes());
        self.add(ShardDataset::Ids, id);
    }

    pub(crate) fn digest(&self, common: &Common) -> Digest {
        let mut all = Xxh3::new();
        let head = [
            u64::from(common.kind == Kind::Frames),
            common.class_count as u64,
            common.rows as u64,
            common.parts.len() as u64,
        ];
        head.iter().for_each(|number| all.update(&number.to_le_bytes()));
        for part in common.parts {
            all.update(&(part.name.len() as u64).to_le_bytes());
            all.update(part.name.as_bytes());
            all.update(&(part.size as u64).to_le_bytes());
        }
        let (number, scaling) = match common.encoding {
            Encoding::Floats => (0u64, &[[0.0; 2]][..]),
            Encoding::Bytes(scaling) if scaling.len() == 1 => (1, &scaling[..]),
            Encoding::Halves => (2, &[[0.0; 2]][..]),
            Encoding::Bytes(scaling) => (3, &scaling[..]),
        };
        all.update(&number.to_le_bytes());
        scaling.iter().flatten().for_each(|number| all.update(&number.to_le_bytes()));
        for dataset in &self.datasets {
            all.update(&dataset.digest128().to_be_bytes());
        }
        all.digest128()
    }
}

/// An id without the NULs that it is padded with.
pub(crate) fn unpadded(cell: &[u8]) -> &[u8] {
    &cell[..cell.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1)]
}
