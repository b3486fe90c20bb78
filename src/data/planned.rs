//! Rows that aren't here, as a dataset: what a job plans (`reelscale bench rank`). A few rows stand
//! for all of them.

use std::ops::Range;
use std::sync::Arc;

use super::schema::Proof;
use super::{Dataset, Kind, ShardHeader, ShardInfo};
use crate::encoding::Encoding;
use crate::labels::Labels;
use crate::model::features::Frames;

/// What scales bytes of frames: to numbers within 1 of 0.
const SCALING: [f32; 2] = [1.0 / 128.0, -1.0];

/// Rows that stand for all of a dataset.
#[derive(Clone, Debug)]
pub(crate) struct PlannedRows {
    /// `[rows][D]` of videos, or none.
    pub(crate) videos: Vec<f32>,
    /// The frames of each row, or none.
    pub(crate) frames: Vec<Vec<u8>>,
    pub(crate) labels: Labels,
}

impl PlannedRows {
    /// Of consecutive rows of videos of `width` features.
    pub(super) fn read(&self, rows: Range<usize>, features: &mut [f32], width: usize) {
        let here = self.videos.len() / width;
        for (row, place) in rows.zip(features.chunks_exact_mut(width)) {
            let from = row % here * width;
            place.copy_from_slice(&self.videos[from..from + width]);
        }
    }

    pub(super) fn read_frames(&self, rows: Range<usize>, to: &mut Frames) {
        rows.for_each(|row| to.push(&self.frames[row % self.frames.len()], SCALING));
    }

    pub(super) fn read_labels(&self, rows: Range<usize>, labels: &mut Labels) {
        rows.for_each(|row| labels.push(self.labels.row(row % self.labels.rows())));
    }
}

impl Dataset {
    /// So many rows of one shard that there isn't, for which `planned` stand.
    pub(crate) fn planned(header: ShardHeader, rows: usize, planned: PlannedRows) -> Dataset {
        let ShardHeader { parts, class_count, kind, source } = header;
        let encoding = match kind {
            Kind::Video => Encoding::Floats,
            Kind::Frames => Encoding::Bytes(vec![SCALING]),
        };
        let shard = ShardInfo {
            path: "[plan]".into(),
            kind,
            parts,
            class_count,
            rows,
            frames: 0,
            positives: 0,
            chunk_bytes: 0,
            encoding,
            source,
            id_bytes: 0,
            digest: None,
            names: None,
            proof: Proof::None,
        };
        let mut dataset = Dataset::new(vec![shard]).expect("one shard agrees with itself");
        dataset.planned = Some(Arc::new(planned));
        dataset
    }
}
