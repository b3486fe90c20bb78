//! The frames of a record (`tf_example`): byte strings, as YouTube-8M's are, or floats, as those of
//! most other networks (MediaPipe's, CLIP, I3D, VGGish).

use super::tf_example::{Record, Wanted, get};
use super::tf_feature::{Content, FLOATS, floats, has_only, numbers_of, single_bytes, strings};
use super::tf_keys::{Wrong, Wrongs};
use super::wire::{Message, Read};
use crate::example::{FeaturePart, Values};

/// What MediaPipe puts behind a stream's name.
pub(super) const FLOAT_LISTS: &str = "/feature/floats";

/// The frames of a part, end to end: of one kind, so one of these is empty.
#[derive(Default)]
struct Column<'a> {
    bytes: Vec<&'a [u8]>,
    numbers: Vec<f32>,
}

impl Column<'_> {
    fn frames(&self, size: usize) -> usize {
        self.bytes.len() + self.numbers.len() / size
    }
}

/// The keys that the frames of a part may have.
fn keys_of(part: &FeaturePart) -> [String; 3] {
    let name = &part.name;
    let upper = name.to_uppercase();
    [name.clone(), format!("{name}{FLOAT_LISTS}"), format!("{upper}{FLOAT_LISTS}")]
}

impl<'a> Record<'a> {
    /// All frames, those of the parts side by side.
    pub(super) fn frames(&self, wanted: &Wanted, wrongs: &mut Wrongs) -> Option<Values> {
        let parts = wanted.parts;
        let mut columns = Vec::new();
        for part in parts {
            columns.extend(wrongs.take(self.frames_of(part, wanted)));
        }
        if !wrongs.is_empty() {
            return None;
        }
        wrongs.take(beside_each_other(parts, &columns))
    }

    /// The frames of this part.
    fn frames_of(&self, part: &FeaturePart, wanted: &Wanted) -> Result<Column<'a>, Wrong> {
        let keys = keys_of(part);
        let lists = keys.iter().find_map(|key| get(&self.lists, key).map(|list| (key, list)));
        let mut features = Vec::new();
        let key = match lists {
            Some((key, list)) => {
                Message(list).each(1, |feature| {
                    features.push(feature);
                    Ok(())
                })?;
                key
            }
            None => {
                let own = keys.iter().find_map(|key| self.get(key).map(|feature| (key, feature)));
                let Some((key, feature)) = own.filter(|_| wanted.flat_frames) else {
                    return Err(Wrong::missing(format!("{}: not found", part.name)));
                };
                features.push(feature);
                key
            }
        };
        let mut column = Column::default();
        for feature in features {
            entry(&mut column, feature, part.size, wanted).map_err(|wrong| {
                let frame = column.frames(part.size);
                Wrong { text: format!("{key}: frame {frame}: {}", wrong.text), ..wrong }
            })?;
        }
        Ok(column)
    }
}

/// The frames of all parts as rows have them.
fn beside_each_other(parts: &[FeaturePart], columns: &[Column]) -> Result<Values, Wrong> {
    let counts = || parts.iter().zip(columns).map(|(part, column)| column.frames(part.size));
    let (first, count) = (&parts[0].name, columns[0].frames(parts[0].size));
    if let Some((part, found)) = parts.iter().zip(counts()).find(|(_, found)| *found != count) {
        let name = &part.name;
        let text = format!("{name}: found {found} frames, expected {count} as {first} has");
        return Err(text.into());
    }
    let of_bytes = !columns[0].bytes.is_empty();
    let kind = |bytes: bool| if bytes { "bytes" } else { "floats" };
    let other = |column: &Column| column.bytes.is_empty() == of_bytes;
    if let Some(at) = columns.iter().position(other).filter(|_| count > 0) {
        let (name, found, expected) = (&parts[at].name, kind(!of_bytes), kind(of_bytes));
        let text = format!("{name}: found frames of {found}, expected {expected} as {first} has");
        let hint = "convert reads floats or bytes, not both in one record";
        return Err(Wrong { hint: Some(hint.into()), ..text.into() });
    }
    if of_bytes || count == 0 {
        let mut values = Vec::new();
        for frame in 0..count {
            columns.iter().for_each(|column| values.extend_from_slice(column.bytes[frame]));
        }
        return Ok(Values::Frames(values));
    }
    let mut values = Vec::new();
    for frame in 0..count {
        for (part, column) in parts.iter().zip(columns) {
            values.extend_from_slice(&column.numbers[frame * part.size..][..part.size]);
        }
    }
    Ok(Values::FrameNumbers(values))
}

/// Appends the frames of an entry of a feature list: one, several byte strings of a frame each, or
/// where it is wanted any number end to end.
fn entry<'a>(
    column: &mut Column<'a>,
    feature: &'a [u8],
    size: usize,
    wanted: &Wanted,
) -> Result<(), Wrong> {
    if column.numbers.is_empty()
        && let Ok(frame) = single_bytes(feature)?
        && frame.len() == size
    {
        column.bytes.push(frame);
        return Ok(());
    }
    let fits = |found: usize| found == size || wanted.flat_frames && found.is_multiple_of(size);
    if column.bytes.is_empty() && has_only(FLOATS, feature)? {
        let found = floats(feature)?;
        if !found.is_empty() && fits(found.len()) {
            return numbers(column, found);
        }
    }
    let (content, all) = (Content::of(feature)?, strings(feature)?);
    let only = content.kinds() == 1;
    if only && content.strings > 0 {
        let each = |fits: &dyn Fn(usize) -> bool| all.iter().all(|one| fits(one.len()));
        let filled = all.iter().all(|one| !one.is_empty());
        let raw = |found: usize| found.is_multiple_of(4) && fits(found / 4);
        if wanted.raw_floats && column.bytes.is_empty() && filled && each(&raw) {
            return numbers(column, all.iter().flat_map(|one| numbers_of(one)).collect());
        }
        if column.numbers.is_empty() && filled && each(&fits) {
            column.bytes.extend(all.iter().flat_map(|one| one.chunks_exact(size)));
            return Ok(());
        }
    }
    if only && content.floats > 0 && column.bytes.is_empty() && fits(content.floats) {
        return numbers(column, floats(feature)?);
    }
    Err(no_frame(column, content, size, wanted))
}

fn numbers(column: &mut Column, found: Vec<f32>) -> Result<(), Wrong> {
    if let Some(at) = found.iter().position(|value| !value.is_finite()) {
        return Err(format!("found {} at {at}, expected a number", found[at]).into());
    }
    column.numbers.extend(found);
    Ok(())
}

/// What is wrong with an entry of a feature list.
fn no_frame(column: &Column, content: Content, size: usize, wanted: &Wanted) -> Wrong {
    let one = content.strings == 1 && content.kinds() == 1;
    let found = match one {
        true => format!("{} bytes", content.bytes),
        false => content.to_string(),
    };
    let expected = match (column.bytes.is_empty(), column.numbers.is_empty()) {
        (false, _) => format!("{size} bytes as in the frames before"),
        (_, false) => format!("{size} floats as in the frames before"),
        _ => format!("{size} bytes or {size} floats"),
    };
    let text = format!("found {found}, expected {expected}");
    let flat = |found: usize| found > size && found.is_multiple_of(size) && !wanted.flat_frames;
    let floats = content.kinds() == 1 && content.floats > 0;
    let (more, hint) = match content {
        _ if one && content.bytes == 4 * size && !wanted.raw_floats => {
            (format!("; they may be {size} float32 numbers"), "--raw-floats")
        }
        _ if one && flat(content.bytes) || floats && flat(content.floats) => {
            let frames = content.bytes.max(content.floats) / size;
            (format!("; they may be {frames} frames end to end"), "--flat-frames")
        }
        _ => return text.into(),
    };
    Wrong { hint: Some(hint.into()), ..format!("{text}{more}").into() }
}

/// What the first frame of a feature list is, as far as options go by it.
pub(super) enum Frame {
    Bytes(usize),
    Floats(usize),
    Other(String),
}

/// The frames of a feature list, told from the first one; `None` where there is none. Byte strings
/// of several sizes are pictures or the like.
pub(super) fn frame_of(list: &[u8]) -> Read<Option<Frame>> {
    let mut found = None;
    Message(list).each(1, |feature| {
        let content = Content::of(feature)?;
        let single = content.kinds() == 1 && content.strings == 1;
        match &found {
            Some(Frame::Bytes(size)) if single && content.bytes != *size => {
                found = Some(Frame::Other("bytes of several sizes".into()));
            }
            Some(_) => {}
            None if single => found = Some(Frame::Bytes(content.bytes)),
            None if content.kinds() == 1 && content.floats > 0 => {
                found = Some(Frame::Floats(content.floats));
            }
            None => found = Some(Frame::Other(content.to_string())),
        }
        Ok(())
    })?;
    Ok(found)
}
