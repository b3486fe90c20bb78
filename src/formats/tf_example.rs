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
//! empty field 2. A record is frame-level if it has a feature list.

use super::tf_feature::{Content, FLOATS, INTEGERS, floats, has_only, integers, single_bytes};
use super::wire::{Field, Message, Read, Wrong};
use crate::example::{Example, FeaturePart, Values};

/// What is to be read of each record.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The features, in order: at video level the float list `mean_NAME` or `NAME`, at frame level
    /// the feature list `NAME`.
    pub parts: &'a [FeaturePart],
    pub class_count: usize,
    /// The key of the labels. `None`: `labels`, and a record that lacks it but has another key that
    /// looks like labels is an error.
    pub labels_key: Option<&'a str>,
}

/// A record and what was put right while reading it.
#[derive(Debug)]
pub struct Parsed {
    pub example: Example,
    /// Labels that stood there more than once.
    pub repeated_labels: usize,
    /// Whether it has labels of segments (YouTube-8M 2019), which aren't read.
    pub(crate) segments: bool,
}

/// The labels of a record where nobody names another key.
const LABELS_KEY: &str = "labels";

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
struct Record<'a> {
    context: Vec<(&'a [u8], &'a [u8])>,
    lists: Vec<(&'a [u8], &'a [u8])>,
}

/// The feature of this key; of several the last one counts.
fn get<'a>(map: &[(&'a [u8], &'a [u8])], key: &str) -> Option<&'a [u8]> {
    map.iter().rfind(|entry| entry.0 == key.as_bytes()).map(|entry| entry.1)
}

/// Reads one record. Labels come out ascending and distinct; a record without them has none.
///
/// # Errors
/// What was found and what was expected.
pub fn parse(data: &[u8], wanted: &Wanted) -> Read<Parsed> {
    let record = Record::of(data)?;
    let id = record.id()?;
    let found = record.labels(wanted)?;
    let mut labels = Vec::with_capacity(found.len());
    for label in &found {
        match u32::try_from(*label).ok().filter(|label| (*label as usize) < wanted.class_count) {
            Some(label) => labels.push(label),
            None => {
                let most = wanted.class_count - 1;
                return Err(format!("labels: found {label}, expected 0 to {most}"));
            }
        }
    }
    labels.sort_unstable();
    labels.dedup();
    let repeated_labels = found.len() - labels.len();
    let values = match record.lists.is_empty() {
        true => Values::Video(record.video(wanted.parts)?),
        false => Values::Frames(record.frames(wanted.parts)?),
    };
    let segments = get(&record.context, "segment_labels").is_some();
    Ok(Parsed { example: Example { id, labels, values }, repeated_labels, segments })
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

    fn id(&self) -> Read<Vec<u8>> {
        let found = get(&self.context, "id").or(get(&self.context, "video_id"));
        let Some(feature) = found else {
            let text = "id: found neither id nor video_id";
            return Err(format!("{text}; {}{}", self.keys(), self.features_hint()));
        };
        single_bytes(feature)?
            .map(<[u8]>::to_vec)
            .map_err(|found| format!("id: found {found}, expected 1 byte string"))
    }

    /// The labels as they stand there.
    fn labels(&self, wanted: &Wanted) -> Read<Vec<i64>> {
        let key = wanted.labels_key.unwrap_or(LABELS_KEY);
        let Some(feature) = get(&self.context, key) else {
            if get(&self.lists, key).is_some() {
                return Err(format!(
                    "{key}: found a feature list, expected whole numbers in the context"
                ));
            }
            let other = match wanted.labels_key {
                None => self.other_labels(),
                Some(_) => None,
            };
            let Some(other) = other else { return Ok(Vec::new()) };
            return Err(format!(
                "{key}: not found; {}; hint: --labels-key {other}, or --labels-key {key} if these \
                 records have no labels",
                self.keys()
            ));
        };
        let labels = || -> Read<Vec<i64>> {
            if !has_only(INTEGERS, feature)? {
                let content = Content::of(feature)?;
                if (content.strings, content.floats) != (0, 0) {
                    return Err(format!("found {content}, expected whole numbers"));
                }
            }
            integers(feature)
        };
        labels().map_err(|text| format!("{key}: {text}"))
    }

    /// A key of whole numbers that has the name of labels. Those of segments aren't the video's.
    fn other_labels(&self) -> Option<String> {
        for (key, feature) in &self.context {
            let name = String::from_utf8_lossy(key).into_owned();
            let lower = name.to_lowercase();
            let named = lower.contains("label") || lower.contains("class");
            let content = Content::of(feature).unwrap_or_default();
            if named && !lower.starts_with("segment") && content.integers > 0 {
                return Some(name);
            }
        }
        None
    }

    fn video(&self, parts: &[FeaturePart]) -> Read<Vec<f32>> {
        let mut values = Vec::new();
        for part in parts {
            let names = [format!("mean_{}", part.name), part.name.clone()];
            let features = names.iter().map(|name| get(&self.context, name));
            let Some((key, Some(feature))) =
                names.iter().zip(features).find(|named| named.1.is_some())
            else {
                return Err(self.missing(part));
            };
            let found = floats(feature).map_err(|text| format!("{key}: {text}"))?;
            if found.len() != part.size || !has_only(FLOATS, feature)? {
                let content = Content::of(feature)?;
                if content != (Content { floats: part.size, ..Content::default() }) {
                    return Err(format!("{key}: found {content}, expected {} floats", part.size));
                }
            }
            if let Some(at) = found.iter().position(|value| !value.is_finite()) {
                return Err(format!("{key}: found {} at {at}, expected a number", found[at]));
            }
            values.extend(found);
        }
        Ok(values)
    }

    fn frames(&self, parts: &[FeaturePart]) -> Read<Vec<u8>> {
        let mut columns = Vec::new();
        for part in parts {
            let Some(list) = get(&self.lists, &part.name) else { return Err(self.missing(part)) };
            let mut frames: Vec<&[u8]> = Vec::new();
            Message(list).each(1, |feature| {
                let found = match single_bytes(feature)? {
                    Ok(frame) if frame.len() == part.size => {
                        frames.push(frame);
                        return Ok(());
                    }
                    Ok(frame) => format!("{} bytes", frame.len()),
                    Err(content) => content.to_string(),
                };
                let (name, at, size) = (&part.name, frames.len(), part.size);
                Err(format!("{name}: frame {at}: found {found}, expected {size} bytes"))
            })?;
            columns.push(frames);
        }
        let count = columns[0].len();
        for (part, column) in parts.iter().zip(&columns) {
            if column.len() != count {
                let (name, found) = (&part.name, column.len());
                return Err(format!(
                    "{name}: found {found} frames, expected {count} as {} has",
                    parts[0].name
                ));
            }
        }
        let mut values = Vec::new();
        for frame in 0..count {
            columns.iter().for_each(|column| values.extend_from_slice(column[frame]));
        }
        Ok(values)
    }

    fn missing(&self, part: &FeaturePart) -> Wrong {
        format!("{}: not found; {}{}", part.name, self.keys(), self.features_hint())
    }

    /// All keys with what they hold, for errors. A feature that can't be read is listed with the
    /// reason.
    fn keys(&self) -> String {
        let mut all = Vec::new();
        for (key, feature) in &self.context {
            let content =
                Content::of(feature).map_or_else(|wrong| wrong, |found| found.to_string());
            all.push(format!("{} ({content})", String::from_utf8_lossy(key)));
        }
        for (key, list) in &self.lists {
            let name = String::from_utf8_lossy(key);
            all.push(match frame_of(list) {
                Ok(Some(Ok(size))) => format!("{name} (frames of {size} bytes)"),
                Ok(Some(Err(content))) => format!("{name} (frames of {content})"),
                Ok(None) => format!("{name} (no frames)"),
                Err(wrong) => format!("{name} ({wrong})"),
            });
        }
        all.sort();
        format!("found the keys {}", all.join(", "))
    }

    /// The option that would take what this record has for features.
    fn features_hint(&self) -> String {
        let mut flags = Vec::new();
        for (key, list) in &self.lists {
            if let Ok(Some(Ok(size @ 1..))) = frame_of(list) {
                flags.push(format!("{}:{size}", String::from_utf8_lossy(key)));
            }
        }
        for (key, feature) in self.context.iter().filter(|_| self.lists.is_empty()) {
            if let Ok(Content { floats: size @ 1.., .. }) = Content::of(feature) {
                let name = String::from_utf8_lossy(key);
                flags.push(format!("{}:{size}", name.strip_prefix("mean_").unwrap_or(&name)));
            }
        }
        flags.sort();
        flags.reverse();
        match flags.is_empty() {
            true => String::new(),
            false => format!("; hint: --features {}", flags.join(",")),
        }
    }
}

/// Bytes of the first frame of a feature list, or what else it is; `None` where there is none.
fn frame_of(list: &[u8]) -> Read<Option<Result<usize, Content>>> {
    let mut first = None;
    Message(list).each(1, |feature| {
        if first.is_none() {
            first = Some(single_bytes(feature)?.map(<[u8]>::len));
        }
        Ok(())
    })?;
    Ok(first)
}
