//! tf.train.Example and tf.train.SequenceExample (docs/method.md, section 6).
//!
//! ```text
//!   Example          { 1: Features }      SequenceExample { 1: Features context, 2: FeatureLists }
//!   Features         { 1: map<key, Feature> }    FeatureLists { 1: map<key, FeatureList> }
//!   FeatureList      { 1: repeated Feature }
//!   Feature          { 1: BytesList, 2: FloatList, 3: Int64List }, each { 1: repeated value }
//! ```
//!
//! Map keys come in any order; unknown fields are passed over; video-level records may carry an
//! empty field 2. A record is frame-level if it has a feature list. Which labels it has is for
//! `tf_labels`, what a user is told of its keys for `tf_keys`.

use super::first_bytes::{LOOKED_AT, told_of_data};
use super::tf_feature::{Content, FLOATS, floats, has_only, integers, numbers_of, single_bytes};
use super::tf_keys::{Wrong, Wrongs};
use super::tf_segments::Segment;
use super::wire::{Field, Message, Read};
use crate::example::{Example, FeaturePart, Values};

/// What is to be read of each record.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// The features, in order: at video level the float list `mean_NAME` or `NAME`, at frame level
    /// the feature list `NAME`, or MediaPipe's of that name (`tf_frames`).
    pub parts: &'a [FeaturePart],
    pub class_count: usize,
    /// The key of the labels. `None`: `labels`, and a record that lacks it but has another key that
    /// looks like labels is an error.
    pub labels_key: Option<&'a str>,
    /// The key of the id. `None`: the first of `ID_KEYS` that is there.
    pub id_key: Option<&'a str>,
    /// Whether a part, or a frame of it, may also be one byte string: its float32 numbers,
    /// little-endian.
    pub raw_floats: bool,
    /// Whether lists that are several times as long as a part are that many frames, end to end,
    /// also those of records without feature lists.
    pub flat_frames: bool,
    /// Whether labels are those of segments (YouTube-8M 2019), and not those of the video.
    pub segments: bool,
}

/// Keys of ids, those of MediaPipe's records at the end.
const ID_KEYS: [&str; 5] = ["id", "video_id", "example/id", "clip/media_id", "clip/data_path"];

/// A record and what was put right while reading it.
#[derive(Debug)]
pub struct Parsed {
    pub example: Example,
    /// Labels that stood there more than once.
    pub repeated_labels: usize,
    /// Where they are wanted, those that have labels.
    pub segments: Vec<Segment>,
    pub notes: Notes,
}

/// What users are told of records that were read, in numbers that add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Notes {
    /// Records with labels of segments, which aren't wanted.
    pub(crate) unused_segments: u64,
    /// Records without them, where they are.
    pub(crate) without_segments: u64,
    /// Segments that end after the video's last frame.
    pub(crate) cut_segments: u64,
    /// Segments that begin after it.
    pub(crate) lost_segments: u64,
    /// Records whose labels are floats, or texts.
    pub(crate) labels_of_floats: u64,
    pub(crate) labels_of_texts: u64,
}

impl Notes {
    pub(crate) fn add(&mut self, other: &Notes) {
        let (own, other): (&mut [u64; 6], &[u64; 6]) =
            (bytemuck::cast_mut(self), bytemuck::cast_ref(other));
        own.iter_mut().zip(other).for_each(|(own, other)| *own += other);
    }
}

/// Entries of a map of messages, in the order of the record.
fn entries<'a>(map: &'a [u8], all: &mut Vec<(&'a [u8], &'a [u8])>) -> Read<()> {
    Message(map).each(1, |entry| {
        let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
        let mut entry = Message(entry);
        while let Some(field) = entry.next()? {
            match field {
                (1, Field::Bytes(bytes)) => key = bytes,
                (2, Field::Bytes(bytes)) => value = bytes,
                _ => {}
            }
        }
        all.push((key, value));
        Ok(())
    })
}

/// The two maps of a record, in its order.
pub(super) struct Record<'a> {
    pub(super) context: Vec<(&'a [u8], &'a [u8])>,
    pub(super) lists: Vec<(&'a [u8], &'a [u8])>,
}

/// The feature of this key; of several the last one counts.
pub(super) fn get<'a>(map: &[(&'a [u8], &'a [u8])], key: &str) -> Option<&'a [u8]> {
    map.iter().rfind(|entry| entry.0 == key.as_bytes()).map(|entry| entry.1)
}

/// Reads one record. Labels come out ascending and distinct; a record without them has none.
///
/// # Errors
/// What was found and what was expected, everything that is wrong in one text.
pub fn parse(data: &[u8], wanted: &Wanted) -> Read<Parsed> {
    let record = Record::of(data)?;
    let (mut wrongs, mut notes) = (Wrongs::default(), Notes::default());
    let id = wrongs.take(record.id(wanted));
    let labels = match wanted.segments {
        true => Some(Vec::new()),
        false => wrongs.take(record.labels(wanted, &mut notes)),
    };
    let values = match record.lists.is_empty() {
        true if !wanted.flat_frames => record.video(wanted, &mut wrongs).map(Values::Video),
        _ => record.frames(wanted, &mut wrongs),
    };
    let (Some(id), Some(found), Some(values)) = (id, labels, values) else {
        return Err(wrongs.text(&record));
    };
    let labels = ordered(&found);
    let repeated_labels = found.len() - labels.len();
    let segments = match wanted.segments {
        true => record.segments(wanted, &values, &mut notes)?,
        false => Vec::new(),
    };
    notes.unused_segments = u64::from(!wanted.segments && record.get("segment_labels").is_some());
    Ok(Parsed { example: Example { id, labels, values }, repeated_labels, segments, notes })
}

/// Labels as rows have them.
pub(super) fn ordered(found: &[u32]) -> Vec<u32> {
    let mut labels = found.to_vec();
    labels.sort_unstable();
    labels.dedup();
    labels
}

/// The keys of a record with what they hold, for people.
///
/// # Errors
/// A record that can't be read.
pub fn keys(data: &[u8]) -> Read<String> {
    Ok(Record::of(data)?.keys())
}

impl<'a> Record<'a> {
    fn of(data: &'a [u8]) -> Read<Record<'a>> {
        let read = Record::read(data);
        let empty = match &read {
            Ok(record) => record.context.is_empty() && record.lists.is_empty(),
            Err(_) => true,
        };
        match told_of_data(&data[..data.len().min(LOOKED_AT)]).filter(|_| empty) {
            Some(found) => Err(format!("found {found}, expected a tf.train.Example")),
            None => read,
        }
    }

    fn read(data: &'a [u8]) -> Read<Record<'a>> {
        let mut record = Record { context: Vec::new(), lists: Vec::new() };
        let mut fields = Message(data);
        while let Some(field) = fields.next()? {
            match field {
                (1, Field::Bytes(features)) => entries(features, &mut record.context)?,
                (2, Field::Bytes(features)) => entries(features, &mut record.lists)?,
                _ => {}
            }
        }
        Ok(record)
    }

    /// The feature of this key in the context.
    pub(super) fn get(&self, key: &str) -> Option<&'a [u8]> {
        get(&self.context, key)
    }

    /// A byte string, or a whole number as text.
    fn id(&self, wanted: &Wanted) -> Result<Vec<u8>, Wrong> {
        let keys: &[&str] = match &wanted.id_key {
            Some(key) => std::slice::from_ref(key),
            None => &ID_KEYS,
        };
        let found = keys.iter().find_map(|key| self.get(key).map(|feature| (key, feature)));
        let Some((key, feature)) = found else {
            let looked_for = wanted
                .id_key
                .map_or("neither id nor video_id".into(), |key| format!("no key {key:?}"));
            return Err(Wrong::missing(format!("id: found {looked_for}")));
        };
        let content = match single_bytes(feature)? {
            Ok(bytes) => return Ok(bytes.to_vec()),
            Err(content) => content,
        };
        match &integers(feature)?[..] {
            [number] if content.kinds() == 1 => Ok(number.to_string().into_bytes()),
            _ => {
                let expected = "1 byte string or 1 whole number";
                Err(format!("{key}: found {content}, expected {expected}").into())
            }
        }
    }

    fn video(&self, wanted: &Wanted, wrongs: &mut Wrongs) -> Option<Vec<f32>> {
        let mut values = Vec::new();
        for part in wanted.parts {
            wrongs.take(self.video_part(part, wanted.raw_floats, &mut values));
        }
        wrongs.is_empty().then_some(values)
    }

    /// Appends the numbers of this part.
    fn video_part(
        &self,
        part: &FeaturePart,
        raw_floats: bool,
        values: &mut Vec<f32>,
    ) -> Result<(), Wrong> {
        let names = [format!("mean_{}", part.name), part.name.clone()];
        let features = names.iter().map(|name| self.get(name));
        let Some((key, Some(feature))) = names.iter().zip(features).find(|named| named.1.is_some())
        else {
            return Err(Wrong::missing(format!("{}: not found", part.name)));
        };
        let mut found = floats(feature).map_err(|text| format!("{key}: {text}"))?;
        if found.len() != part.size || !has_only(FLOATS, feature)? {
            let content = Content::of(feature)?;
            if raw_floats && content == Content::of_bytes(4 * part.size) {
                let bytes = single_bytes(feature)?.expect("one byte string");
                found = numbers_of(bytes).collect();
            } else if content != Content::of_floats(part.size) {
                return Err(not_floats(key, content, part.size, raw_floats));
            }
        }
        if let Some(at) = found.iter().position(|value| !value.is_finite()) {
            return Err(format!("{key}: found {} at {at}, expected a number", found[at]).into());
        }
        values.extend(found);
        Ok(())
    }
}

/// What is wrong with a part at video level.
fn not_floats(key: &str, content: Content, size: usize, raw_floats: bool) -> Wrong {
    let raw = match raw_floats {
        true => format!(", or 1 byte string of {} bytes", 4 * size),
        false => String::new(),
    };
    let text = format!("{key}: found {content}, expected {size} floats{raw}");
    let one = content == Content::of_bytes(content.bytes);
    let (numbers, hint) = match content.bytes {
        bytes if one && bytes == 4 * size => ("float32", "--raw-floats"),
        bytes if one && bytes == 8 * size => ("float64", "write such bytes as float32"),
        _ => return text.into(),
    };
    let text = format!("{text}; they may be {size} {numbers} numbers");
    Wrong { hint: Some(hint.into()), ..text.into() }
}
