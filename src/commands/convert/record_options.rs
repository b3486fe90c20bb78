//! Options of `reelscale convert` for records as people write them, and what is told of those.

use crate::error::{Error, Result};
use crate::example::FeaturePart;
use crate::formats::tf_example::{Notes, Wanted};

/// What TFRecords may be beside those of YouTube-8M.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct RecordOptions {
    /// Key of the labels, whole numbers, in TFRecords. Without this option: `labels`, or else
    /// MediaPipe's `clip/label/index`.
    #[arg(long)]
    labels_key: Option<String>,
    /// Key of the id in TFRecords. Without this option: `id`, or else `video_id` or MediaPipe's.
    #[arg(long)]
    id_key: Option<String>,
    /// Make a row, named id:start, of each segment that has labels (YouTube-8M 2019), and none of
    /// its video.
    #[arg(long, conflicts_with = "labels_key")]
    segments: bool,
    /// Take a byte string of a part in TFRecords, or of a frame of it, for its float32 numbers,
    /// little-endian, as `ndarray.tobytes()` gives them.
    #[arg(long)]
    raw_floats: bool,
    /// Take a list that is several times a part's size in TFRecords for that many frames, end to
    /// end, also where a record has no feature lists.
    #[arg(long)]
    flat_frames: bool,
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
            ("--flat-frames", self.flat_frames),
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
        let RecordOptions { labels_key, id_key, segments, raw_floats, flat_frames } = self;
        format!(
            "--labels-key = {labels_key:?}\n--id-key = {id_key:?}\n--segments = {segments}\n\
             --raw-floats = {raw_floats}\n--flat-frames = {flat_frames}\n"
        )
    }

    /// What they want of records of these parts and so many classes.
    pub(super) fn wanted<'a>(&'a self, parts: &'a [FeaturePart], class_count: usize) -> Wanted<'a> {
        Wanted {
            parts,
            class_count,
            labels_key: self.labels_key.as_deref(),
            id_key: self.id_key.as_deref(),
            raw_floats: self.raw_floats,
            flat_frames: self.flat_frames,
            segments: self.segments,
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
