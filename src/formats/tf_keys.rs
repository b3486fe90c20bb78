//! What users are told of a record (`tf_example`): all that is wrong with it at once, the keys that
//! it has, and the options that would take them.

use super::tf_example::Record;
use super::tf_feature::{Content, single_bytes};
use super::wire::{Message, Read};

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
                Ok(Some(Ok(size))) => format!("{name} (frames of {size} bytes)"),
                Ok(Some(Err(content))) => format!("{name} (frames of {content})"),
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
        let mut parts = Vec::new();
        for (key, list) in &self.lists {
            if let (Some(name), Ok(Some(Ok(size @ 1..)))) = (named(key), frame_of(list)) {
                parts.push((name.to_string(), size));
            }
        }
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
