//! Options of `reelscale convert` for records as people write them, and what is told of those.

use crate::error::{Error, Result};
use crate::formats::tf_example::{Notes, Wanted};

/// What TFRecords may be beside those of YouTube-8M.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct RecordOptions {
    /// Key of the labels, whole numbers, in TFRecords. Without this option: `labels`.
    #[arg(long)]
    labels_key: Option<String>,
    /// Key of the id in TFRecords. Without this option: `id`, or else `video_id`.
    #[arg(long)]
    id_key: Option<String>,
    /// Make a row, named id:start, of each segment that has labels (YouTube-8M 2019), and none of
    /// its video.
    #[arg(long, conflicts_with = "labels_key")]
    segments: bool,
    /// Take a byte string of a part's size in TFRecords for its float32 numbers, little-endian, as
    /// `ndarray.tobytes()` gives them.
    #[arg(long)]
    raw_floats: bool,
}

impl RecordOptions {
    /// # Errors
    /// Exit 2: one of them, and files that aren't TFRecords.
    pub(super) fn check(&self, tfrecord: bool) -> Result<()> {
        let given = [
            ("--labels-key", self.labels_key.is_some()),
            ("--id-key", self.id_key.is_some()),
            ("--segments", self.segments),
            ("--raw-floats", self.raw_floats),
        ];
        match given.into_iter().find(|option| option.1 && !tfrecord) {
            Some((name, _)) => {
                Err(Error::usage(format!("{name}: expected --from tfrecord with this option")))
            }
            None => Ok(()),
        }
    }

    /// These as text that ranks compare.
    pub(super) fn described(&self) -> String {
        let RecordOptions { labels_key, id_key, segments, raw_floats } = self;
        format!(
            "--labels-key = {labels_key:?}\n--id-key = {id_key:?}\n--segments = {segments}\n\
             --raw-floats = {raw_floats}\n"
        )
    }

    /// These and what `wanted` says already.
    pub(super) fn wanted<'a>(&'a self, wanted: Wanted<'a>) -> Wanted<'a> {
        Wanted {
            labels_key: self.labels_key.as_deref(),
            id_key: self.id_key.as_deref(),
            raw_floats: self.raw_floats,
            segments: self.segments,
            ..wanted
        }
    }
}

/// Warns of what was put right, left out or passed over in records.
pub(super) fn warn_of(notes: &Notes) {
    let warn = |count: u64, text: &str| {
        if count > 0 {
            log::warn!("{count} {text}");
        }
    };
    warn(
        notes.unused_segments,
        "records carry segment_labels, which aren't used; --segments makes a row of each segment",
    );
    warn(notes.without_segments, "records carry no segment_labels and make no row");
    warn(notes.cut_segments, "segments end after their video's last frame and are cut there");
    warn(notes.lost_segments, "segments begin after their video's last frame and make no row");
    warn(notes.labels_of_floats, "records have floats for labels, whole ones, taken as numbers");
    warn(notes.labels_of_texts, "records have texts for labels, digits, taken as numbers");
}
