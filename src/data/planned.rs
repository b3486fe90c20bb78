//! Rows that aren't here, as a dataset: what a job plans (`reelscale bench rank`).

use super::schema::Proof;
use super::{Dataset, ShardHeader, ShardInfo};

impl Dataset {
    /// So many rows of one shard that there isn't.
    pub(crate) fn planned(header: ShardHeader, rows: usize) -> Dataset {
        let ShardHeader { parts, class_count, kind, source } = header;
        let shard = ShardInfo {
            path: "[plan]".into(),
            kind,
            parts,
            class_count,
            rows,
            frames: 0,
            positives: 0,
            chunk_bytes: 0,
            quantised: None,
            source,
            id_bytes: 0,
            digest: None,
            proof: Proof::None,
        };
        Dataset::new(vec![shard]).expect("one shard agrees with itself")
    }
}
