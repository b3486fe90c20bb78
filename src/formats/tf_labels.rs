//! The labels of a record (`tf_example`): whole numbers, also as floats or as texts.

use super::csv::shown;
use super::tf_example::{Notes, Record, Wanted};
use super::tf_feature::{Content, floats, integers, strings};
use super::tf_keys::{Wrong, is_of_labels};
use super::wire::Read;

/// The key of the labels where nobody names another one.
const LABELS_KEY: &str = "labels";
/// The same in MediaPipe's records.
const CLIP_LABELS_KEY: &str = "clip/label/index";

/// So many values that are all 0 or 1 are no labels, of which each stands once.
const VECTOR_MIN: usize = 16;

impl Record<'_> {
    /// The labels as they stand there.
    pub(super) fn labels(&self, wanted: &Wanted, notes: &mut Notes) -> Result<Vec<u32>, Wrong> {
        let of_clip = self.get(LABELS_KEY).is_none() && self.get(CLIP_LABELS_KEY).is_some();
        let by_default = if of_clip { CLIP_LABELS_KEY } else { LABELS_KEY };
        let key = wanted.labels_key.unwrap_or(by_default);
        let in_place = |text: String| format!("{key}: {text}");
        let Some(feature) = self.get(key) else {
            return self.without_labels(key, wanted.labels_key.is_none());
        };
        let found = whole_numbers(feature, notes).map_err(in_place)?;
        let vector = found.len() > 2 && found.len() >= wanted.class_count.min(VECTOR_MIN);
        if vector && found.iter().all(|label| [0, 1].contains(label)) {
            let text = format!("found {} values, all 0 or 1, expected class numbers", found.len());
            return Err(in_place(text).into());
        }
        Ok(found
            .iter()
            .map(|label| class_of(*label, wanted))
            .collect::<Read<_>>()
            .map_err(in_place)?)
    }

    /// No labels, unless they may stand under another key.
    fn without_labels(&self, key: &str, by_default: bool) -> Result<Vec<u32>, Wrong> {
        if self.lists.iter().any(|list| list.0 == key.as_bytes()) {
            let text = "found a feature list, expected whole numbers in the context";
            return Err(format!("{key}: {text}").into());
        }
        let Some(other) = self.other_labels().filter(|_| by_default) else {
            return Ok(Vec::new());
        };
        let hint =
            format!("--labels-key {other}, or --labels-key {key} if these records have no labels");
        Err(Wrong { hint: Some(hint), ..Wrong::missing(format!("{key}: not found")) })
    }

    /// A key that has the name of labels and holds what is read as such. Those of segments aren't
    /// the video's.
    fn other_labels(&self) -> Option<String> {
        for (key, feature) in &self.context {
            let Ok(name) = std::str::from_utf8(key) else { continue };
            let named = is_of_labels(name) && !name.to_lowercase().starts_with("segment");
            let numbers = whole_numbers(feature, &mut Notes::default()).unwrap_or_default();
            if named && !numbers.is_empty() {
                return Some(name.into());
            }
        }
        None
    }
}

/// A label as a class.
pub(super) fn class_of(label: i64, wanted: &Wanted) -> Read<u32> {
    let class = u32::try_from(label).ok().filter(|class| (*class as usize) < wanted.class_count);
    let most = wanted.class_count.saturating_sub(1);
    class.ok_or_else(|| format!("found {label}, expected 0 to {most}"))
}

/// The whole numbers that a feature holds, as such, as floats or as texts.
pub(super) fn whole_numbers(feature: &[u8], notes: &mut Notes) -> Read<Vec<i64>> {
    let content = Content::of(feature)?;
    if content.kinds() > 1 {
        return Err(format!("found {content}, expected whole numbers"));
    }
    if content.floats > 0 {
        notes.labels_of_floats += 1;
        return floats(feature)?.iter().enumerate().map(|(at, value)| whole(at, *value)).collect();
    }
    if content.strings > 0 {
        notes.labels_of_texts += 1;
        return strings(feature)?.iter().enumerate().map(|(at, text)| number(at, text)).collect();
    }
    integers(feature)
}

fn whole(at: usize, value: f32) -> Read<i64> {
    // Beyond this not every whole number is a float32: it may have been another one.
    const EXACT_MAX: f32 = 16_777_216.0;
    match value.fract() == 0.0 && value.abs() < EXACT_MAX {
        true => Ok(value as i64),
        false => Err(format!("found {value} at {at} of floats, expected whole numbers")),
    }
}

fn number(at: usize, text: &[u8]) -> Read<i64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(text).ok().filter(|_| digits).and_then(|t| t.parse().ok());
    number.ok_or_else(|| {
        format!("found the text {} at {at} of byte strings, expected whole numbers", shown(text))
    })
}
