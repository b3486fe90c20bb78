//! What users are told of a record (`tf_example`): all that is wrong with it at once, the keys that
//! it has, and the options that would take them.

use super::tf_example::Record;
use super::tf_feature::{Content, single_bytes};
use super::tf_frames::{FLOAT_LISTS, Frame, frame_of};

/// One thing that is wrong with a record.
#[derive(Default)]
pub(super) struct Wrong {
    pub(super) text: String,
    /// Whether something isn't there: then it helps to know what is.
    pub(super) missing: bool,
    pub(super) hint: Option<String>,
}

impl Wrong {
    pub(super) fn missing(text: String) -> Wrong {
        Wrong { text, missing: true, hint: None }
    }
}

impl From<String> for Wrong {
    fn from(text: String) -> Wrong {
        Wrong { text, ..Wrong::default() }
    }
}

/// All that is wrong with a record.
#[derive(Default)]
pub(super) struct Wrongs(Vec<Wrong>);

impl Wrongs {
    /// What was read, if nothing is wrong with it.
    pub(super) fn take<T>(&mut self, outcome: Result<T, Wrong>) -> Option<T> {
        outcome.map_err(|wrong| self.0.push(wrong)).ok()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As one text: what is wrong, what is there where something is missing, what to try.
    pub(super) fn text(self, record: &Record) -> String {
        let mut texts: Vec<String> = self.0.iter().map(|wrong| wrong.text.clone()).collect();
        let mut hints: Vec<String> = Vec::new();
        if self.0.iter().any(|wrong| wrong.missing) {
            texts.push(record.keys());
        }
        let without_features = |wrong: &Wrong| wrong.missing && wrong.hint.is_none();
        if self.0.iter().any(without_features) {
            let id = self.0.iter().any(|wrong| wrong.text.starts_with("id: "));
            hints.extend(record.id_hint().filter(|_| id));
            hints.extend(record.features_hint());
        }
        // Several parts may have the same trouble.
        for hint in self.0.into_iter().filter_map(|wrong| wrong.hint) {
            if !hints.contains(&hint) {
                hints.push(hint);
            }
        }
        if !hints.is_empty() {
            texts.push(format!("hint: {}", hints.join(" ")));
        }
        texts.join("; ")
    }
}

impl Record<'_> {
    /// All keys with what they hold. A feature that can't be read is listed with the reason.
    pub(super) fn keys(&self) -> String {
        let mut all = Vec::new();
        for (key, feature) in &self.context {
            let content =
                Content::of(feature).map_or_else(|wrong| wrong, |found| found.to_string());
            all.push(format!("{} ({content})", String::from_utf8_lossy(key)));
        }
        for (key, list) in &self.lists {
            let name = String::from_utf8_lossy(key);
            all.push(match frame_of(list) {
                Ok(Some(Frame::Bytes(size))) => format!("{name} (frames of {size} bytes)"),
                Ok(Some(Frame::Floats(1))) => format!("{name} (frames of 1 float)"),
                Ok(Some(Frame::Floats(size))) => format!("{name} (frames of {size} floats)"),
                Ok(Some(Frame::Other(text))) => format!("{name} (frames of {text})"),
                Ok(None) => format!("{name} (no frames)"),
                Err(wrong) => format!("{name} ({wrong})"),
            });
        }
        all.sort();
        match all.is_empty() {
            true => "found no key".into(),
            false => format!("found the keys {}", all.join(", ")),
        }
    }

    /// The option that would take what this record has for features.
    fn features_hint(&self) -> Option<String> {
        let mut parts = self.parts_of_frames();
        for (key, feature) in self.context.iter().filter(|_| self.lists.is_empty()) {
            let (Some(name), Ok(content)) = (named(key), Content::of(feature)) else { continue };
            let floats = content.kinds() == 1 && content.floats > 0;
            if floats && !is_of_labels(name) && !name.starts_with("segment_") {
                parts.push((name.strip_prefix("mean_").unwrap_or(name).into(), content.floats));
            }
        }
        // Single numbers beside others are times or weights.
        if parts.iter().any(|part| part.1 > 1) {
            parts.retain(|part| part.1 > 1);
        }
        parts.sort();
        parts.reverse();
        let flags: Vec<String> =
            parts.iter().map(|(name, size)| format!("{name}:{size}")).collect();
        let flags = flags.join(",");
        let classes = if flags == "audio_embedding:128" { " --classes 527" } else { "" };
        (!flags.is_empty()).then(|| format!("--features {flags}{classes}"))
    }

    /// The feature lists that may be parts, of one kind: bytes, unless there are floats of
    /// MediaPipe's.
    fn parts_of_frames(&self) -> Vec<(String, usize)> {
        let (mut bytes, mut floats) = (Vec::new(), Vec::new());
        for (key, list) in &self.lists {
            match (named(key), frame_of(list)) {
                (Some(name), Ok(Some(Frame::Bytes(size @ 1..)))) => {
                    bytes.push((name.to_string(), size));
                }
                // Single numbers are times.
                (Some(name), Ok(Some(Frame::Floats(size @ 2..)))) => {
                    floats.push((name.to_string(), size));
                }
                _ => {}
            }
        }
        let of_stream = |part: &(String, usize)| part.0.ends_with(FLOAT_LISTS);
        if floats.iter().any(of_stream) {
            floats.retain(of_stream);
            floats.iter_mut().for_each(|part| part.0 = stream_of(&part.0));
            return floats;
        }
        if bytes.is_empty() { floats } else { bytes }
    }

    /// The option that would take what this record has for an id.
    fn id_hint(&self) -> Option<String> {
        let mut keys = self.context.iter().filter(|(_, feature)| {
            // What is longer is an image or features.
            const ID_LIKELY: usize = 256;
            matches!(single_bytes(feature), Ok(Ok(text)) if (1..=ID_LIKELY).contains(&text.len())
                && std::str::from_utf8(text).is_ok())
        });
        let name = named(keys.next()?.0)?;
        keys.next().is_none().then(|| format!("--id-key {name}"))
    }
}

/// A key that options can name.
fn named(key: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(key).ok()?;
    let plain = |letter: char| !letter.is_control() && !matches!(letter, ':' | ',' | ' ');
    (!name.is_empty() && name.chars().all(plain)).then_some(name)
}

/// Whether a key has the name of labels.
pub(super) fn is_of_labels(name: &str) -> bool {
    let lower = name.to_lowercase();
    lower.contains("label") || lower.contains("class")
}

/// The part that a float list of MediaPipe's is found by: `rgb` of `RGB/feature/floats`.
fn stream_of(key: &str) -> String {
    let stream = key.strip_suffix(FLOAT_LISTS).filter(|stream| !stream.is_empty()).unwrap_or(key);
    let lower = stream.to_lowercase();
    if lower.to_uppercase() == stream { lower } else { stream.into() }
}
