//! Labels of segments, as YouTube-8M 2019 has them (`tf_example`): runs of a video's frames, one a
//! second, of which somebody has said whether they show a class.

use std::collections::BTreeMap;

use super::tf_example::{Notes, Record, Wanted, ordered};
use super::tf_feature::floats;
use super::tf_labels::{class_of, whole_numbers};
use super::wire::Read;
use crate::example::{Example, Values};

const LABELS: &str = "segment_labels";
const SCORES: &str = "segment_scores";
const STARTS: &str = "segment_start_times";
const ENDS: &str = "segment_end_times";

/// Some seconds of a video, and what they show.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// Its first frame.
    start: usize,
    /// Behind its last one.
    end: usize,
    /// Ascending, distinct.
    labels: Vec<u32>,
}

impl Segment {
    /// The row that this segment of a video with frames makes, named `id:start`.
    pub fn row(&self, video: &Example, width: usize) -> Example {
        let own = self.start * width..self.end * width;
        let values = match &video.values {
            Values::Frames(bytes) => Values::Frames(bytes[own].to_vec()),
            Values::FrameNumbers(numbers) => Values::FrameNumbers(numbers[own].to_vec()),
            Values::Video(_) => panic!("segments are of frames"),
        };
        let id = [&video.id[..], format!(":{}", self.start).as_bytes()].concat();
        Example { id, labels: self.labels.clone(), values }
    }
}

impl Record<'_> {
    /// The segments that have labels, in the order of time.
    pub(super) fn segments(
        &self,
        wanted: &Wanted,
        values: &Values,
        notes: &mut Notes,
    ) -> Read<Vec<Segment>> {
        let width = wanted.parts.iter().map(|part| part.size).sum::<usize>();
        let Some(frames) = values.frames(width) else {
            return Err("found video-level features, expected frames, which --segments cuts".into());
        };
        if self.get(LABELS).is_none() {
            notes.without_segments += 1;
            return Ok(Vec::new());
        }
        let (labels, scores) = (self.column(LABELS)?, self.scores()?);
        let (starts, ends) = (self.column(STARTS)?, self.column(ENDS)?);
        for (key, found) in [(SCORES, scores.len()), (STARTS, starts.len()), (ENDS, ends.len())] {
            if found != labels.len() {
                let expected = labels.len();
                return Err(format!(
                    "{key}: found {found} values, expected {expected} as {LABELS}"
                ));
            }
        }
        // End and positives of each start.
        let mut found: BTreeMap<i64, (i64, Vec<u32>)> = BTreeMap::new();
        for (at, label) in labels.iter().enumerate() {
            let (start, end) = (starts[at], ends[at]);
            if start < 0 || end <= start {
                return Err(format!("{ENDS}: found a segment from {start} to {end} s at {at}"));
            }
            let segment = found.entry(start).or_insert((end, Vec::new()));
            if segment.0 != end {
                let other = segment.0;
                return Err(format!(
                    "{ENDS}: found {other} and {end} for the segment at {start} s"
                ));
            }
            let class = class_of(*label, wanted).map_err(|text| format!("{LABELS}: {text}"))?;
            segment.1.extend(scores[at].then_some(class));
        }
        Ok(within(found, frames as i64, notes))
    }

    /// Whole numbers, one for each label.
    fn column(&self, key: &str) -> Read<Vec<i64>> {
        let feature = self.get(key).ok_or_else(|| self.lacks(key))?;
        whole_numbers(feature, &mut Notes::default()).map_err(|text| format!("{key}: {text}"))
    }

    /// Whether each label is there.
    fn scores(&self) -> Read<Vec<bool>> {
        let feature = self.get(SCORES).ok_or_else(|| self.lacks(SCORES))?;
        let mut scores = floats(feature).map_err(|text| format!("{SCORES}: {text}"))?;
        if scores.is_empty() {
            scores = self.column(SCORES)?.iter().map(|score| *score as f32).collect();
        }
        let says = |score: &f32| match *score {
            0.0 => Ok(false),
            1.0 => Ok(true),
            other => Err(format!("{SCORES}: found {other}, expected 0 or 1")),
        };
        scores.iter().map(says).collect()
    }

    fn lacks(&self, key: &str) -> String {
        format!("{key}: not found beside {LABELS}; {}", self.keys())
    }
}

/// Those segments that have frames.
fn within(found: BTreeMap<i64, (i64, Vec<u32>)>, frames: i64, notes: &mut Notes) -> Vec<Segment> {
    let mut segments = Vec::new();
    for (start, (end, labels)) in found {
        if start >= frames {
            notes.lost_segments += 1;
            continue;
        }
        notes.cut_segments += u64::from(end > frames);
        let (start, end) = (start as usize, end.min(frames) as usize);
        segments.push(Segment { start, end, labels: ordered(&labels) });
    }
    segments
}
