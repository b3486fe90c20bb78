//! tf.train.Example and tf.train.SequenceExample (method.md, section 6), by a small reader of the
//! wire format that never looks beyond what it was given.
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

use crate::example::{Example, FeaturePart, Values};

/// What is wrong with a record, to be told with its place.
pub type Wrong = String;
type Read<T> = std::result::Result<T, Wrong>;

/// A record and what was put right while reading it.
#[derive(Debug)]
pub struct Parsed {
    pub example: Example,
    /// Labels that stood there more than once.
    pub repeated_labels: usize,
}

/// One field: its number and its value, a number or bytes.
enum Field<'a> {
    Number,
    Bytes(&'a [u8]),
}

/// Fields of a message, one after the other.
struct Message<'a>(&'a [u8]);

impl<'a> Message<'a> {
    fn varint(&mut self) -> Read<u64> {
        let mut value = 0u64;
        for (index, byte) in self.0.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.0 = &self.0[index + 1..];
                return Ok(value);
            }
        }
        Err("found a broken number".into())
    }

    fn take(&mut self, count: u64) -> Read<&'a [u8]> {
        if count > self.0.len() as u64 {
            return Err(format!("found a field of {count} bytes, {} are left", self.0.len()));
        }
        let (taken, rest) = self.0.split_at(count as usize);
        self.0 = rest;
        Ok(taken)
    }

    fn next(&mut self) -> Read<Option<(u64, Field<'a>)>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => {
                self.varint()?;
                Field::Number
            }
            1 => Field::Bytes(self.take(8)?),
            2 => {
                let length = self.varint()?;
                Field::Bytes(self.take(length)?)
            }
            5 => Field::Bytes(self.take(4)?),
            other => return Err(format!("found the wire type {other}")),
        };
        Ok(Some((tag >> 3, value)))
    }

    /// Calls `visit` with the bytes of every field `number`.
    fn each(mut self, number: u64, mut visit: impl FnMut(&'a [u8]) -> Read<()>) -> Read<()> {
        while let Some((found, value)) = self.next()? {
            if let (true, Field::Bytes(bytes)) = (found == number, value) {
                visit(bytes)?;
            }
        }
        Ok(())
    }
}

/// Entries of a map of messages, in the order of the record.
fn entries<'a>(map: &'a [u8], all: &mut Vec<(&'a [u8], &'a [u8])>) -> Read<()> {
    Message(map).each(1, |entry| {
        let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
        Message(entry).each(1, |bytes| {
            key = bytes;
            Ok(())
        })?;
        Message(entry).each(2, |bytes| {
            value = bytes;
            Ok(())
        })?;
        all.push((key, value));
        Ok(())
    })
}

/// The only value of a BytesList.
fn single_bytes(feature: &[u8]) -> Read<Option<&[u8]>> {
    let mut found = None;
    Message(feature).each(1, |list| {
        Message(list).each(1, |bytes| {
            found = Some(bytes);
            Ok(())
        })
    })?;
    Ok(found)
}

fn floats(feature: &[u8]) -> Read<Vec<f32>> {
    let mut values = Vec::new();
    Message(feature).each(2, |list| {
        Message(list).each(1, |bytes| {
            if bytes.len() % 4 != 0 {
                return Err(format!("found {} bytes of floats", bytes.len()));
            }
            let one = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("four bytes"));
            values.extend(bytes.chunks_exact(4).map(one));
            Ok(())
        })
    })?;
    Ok(values)
}

fn integers(feature: &[u8]) -> Read<Vec<i64>> {
    let mut values = Vec::new();
    Message(feature).each(3, |list| {
        let mut list = Message(list);
        while !list.0.is_empty() {
            // Packed into one field, or one field each.
            match list.varint()? {
                0x0a => {
                    let length = list.varint()?;
                    let mut packed = Message(list.take(length)?);
                    while !packed.0.is_empty() {
                        values.push(packed.varint()? as i64);
                    }
                }
                0x08 => values.push(list.varint()? as i64),
                tag => return Err(format!("found the field {tag} among integers")),
            }
        }
        Ok(())
    })?;
    Ok(values)
}

/// Reads one record. `parts` are the features wanted, in order: at video level the float list
/// `mean_NAME` or `NAME`, at frame level the feature list `NAME`.
///
/// Labels come out ascending and distinct; a record without `labels` has none.
///
/// # Errors
/// What was found and what was expected.
pub fn parse(data: &[u8], parts: &[FeaturePart], class_count: usize) -> Read<Parsed> {
    let (mut context, mut lists) = (Vec::new(), Vec::new());
    Message(data).each(1, |features| entries(features, &mut context))?;
    Message(data).each(2, |features| entries(features, &mut lists))?;
    let get = |map: &[(&[u8], &'_ [u8])], key: &str| -> Option<usize> {
        map.iter().rposition(|entry| entry.0 == key.as_bytes())
    };
    let id = match get(&context, "id").or(get(&context, "video_id")) {
        Some(at) => single_bytes(context[at].1)?.unwrap_or_default().to_vec(),
        None => {
            return Err(format!("id: found neither id nor video_id; {}", keys(&context, &lists)?));
        }
    };
    let found = match get(&context, "labels") {
        Some(at) => integers(context[at].1).map_err(|text| format!("labels: {text}"))?,
        None => Vec::new(),
    };
    let mut labels = Vec::with_capacity(found.len());
    for label in &found {
        match u32::try_from(*label).ok().filter(|label| (*label as usize) < class_count) {
            Some(label) => labels.push(label),
            None => {
                return Err(format!("labels: found {label}, expected 0 to {}", class_count - 1));
            }
        }
    }
    labels.sort_unstable();
    labels.dedup();
    let repeated_labels = found.len() - labels.len();
    let values = if lists.is_empty() {
        Values::Video(video(&context, parts)?)
    } else {
        Values::Frames(frames(&context, &lists, parts)?)
    };
    Ok(Parsed { example: Example { id, labels, values }, repeated_labels })
}

type Entries<'a> = [(&'a [u8], &'a [u8])];

fn video(context: &Entries, parts: &[FeaturePart]) -> Read<Vec<f32>> {
    let mut values = Vec::with_capacity(parts.iter().map(|part| part.size).sum());
    for part in parts {
        let names = [format!("mean_{}", part.name), part.name.clone()];
        let entry =
            names.iter().find_map(|name| context.iter().rfind(|entry| entry.0 == name.as_bytes()));
        let Some((key, feature)) = entry else { return Err(missing(part, context, &[])?) };
        let key = String::from_utf8_lossy(key);
        let found = floats(feature).map_err(|text| format!("{key}: {text}"))?;
        if found.len() != part.size {
            return Err(format!("{key}: found {} floats, expected {}", found.len(), part.size));
        }
        if let Some(at) = found.iter().position(|value| !value.is_finite()) {
            return Err(format!("{key}: found {} at {at}, expected a number", found[at]));
        }
        values.extend(found);
    }
    Ok(values)
}

fn frames(context: &Entries, lists: &Entries, parts: &[FeaturePart]) -> Read<Vec<u8>> {
    let mut columns = Vec::new();
    for part in parts {
        let Some((_, list)) = lists.iter().rfind(|entry| entry.0 == part.name.as_bytes()) else {
            return Err(missing(part, context, lists)?);
        };
        let mut frames: Vec<&[u8]> = Vec::new();
        Message(list).each(1, |feature| {
            let frame = single_bytes(feature)?.unwrap_or_default();
            if frame.len() != part.size {
                let (name, at, found) = (&part.name, frames.len(), frame.len());
                return Err(format!(
                    "{name}: frame {at}: found {found} bytes, expected {}",
                    part.size
                ));
            }
            frames.push(frame);
            Ok(())
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

fn missing(part: &FeaturePart, context: &Entries, lists: &Entries) -> Read<Wrong> {
    Ok(format!("{}: not found; {}", part.name, keys(context, lists)?))
}

/// The keys of a record with their sizes, and the option that would take its features.
fn keys(context: &Entries, lists: &Entries) -> Read<String> {
    let (mut all, mut flags) = (Vec::new(), Vec::new());
    for (key, feature) in context {
        let (name, size) = (String::from_utf8_lossy(key), floats(feature)?.len());
        if size > 0 {
            flags.push(format!("{}:{size}", name.trim_start_matches("mean_")));
            all.push(format!("{name} ({size} floats)"));
        } else {
            all.push(name.into_owned());
        }
    }
    for (key, list) in lists {
        let name = String::from_utf8_lossy(key);
        let mut size = 0;
        Message(list).each(1, |feature| {
            size = single_bytes(feature)?.map_or(0, <[u8]>::len);
            Ok(())
        })?;
        flags.push(format!("{name}:{size}"));
        all.push(format!("{name} (frames of {size} bytes)"));
    }
    all.sort();
    flags.sort();
    flags.reverse();
    let hint = match flags.is_empty() {
        true => String::new(),
        false => format!("; hint: --features {}", flags.join(",")),
    };
    Ok(format!("found the keys {}{hint}", all.join(", ")))
}
