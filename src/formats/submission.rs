//! The submission csv of the YouTube-8M challenges (docs/method.md, section 5) and the csv of true
//! labels.
//!
//! ```text
//!   VideoId,LabelConfidencePairs        VideoId,Labels
//!   id,12 0.977451 0 0.962268           id,0 312
//! ```

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use super::csv::{Record, Records, field, shown};
use crate::error::{Error, Result};
use crate::limits::CLASSES_MAX;

pub const HEADER: &str = "VideoId,LabelConfidencePairs";
const LABELS_HEADER: &str = "VideoId,Labels";

/// The largest class; what is above is taken for garbage.
const CLASS_MAX: u32 = CLASSES_MAX as u32 - 1;

/// One video of a file of predictions and a file of labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Video {
    pub id: Vec<u8>,
    /// (score, class), as they stand in the file.
    pub scores: Vec<(f32, u32)>,
    /// Ascending, distinct.
    pub labels: Vec<u32>,
}

/// Writes one line; the id in quotes where it must be.
pub fn write_line(out: &mut dyn Write, id: &[u8], top: &[(f32, u32)]) -> std::io::Result<()> {
    let pairs: Vec<String> =
        top.iter().map(|(score, class)| format!("{class} {}", shortest(*score))).collect();
    out.write_all(&field(id))?;
    writeln!(out, ",{}", pairs.join(" "))
}

/// A number as C's `%g` prints it: six figures, no trailing zeros.
pub(crate) fn shortest(score: f32) -> String {
    if score == 0.0 {
        return "0".into();
    }
    let scientific = format!("{:.5e}", f64::from(score));
    let (digits, exponent) = scientific.split_once('e').expect("scientific form");
    let exponent: i32 = exponent.parse().expect("an exponent");
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text.to_string(),
    };
    if (-4..6).contains(&exponent) {
        let decimals = (5 - exponent) as usize;
        return trimmed(&format!("{:.decimals$}", f64::from(score)));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trimmed(digits), exponent.abs())
}

/// A file under way: its name for messages and its content.
pub struct Source<'a> {
    name: String,
    from: Box<dyn BufRead + 'a>,
}

impl<'a> Source<'a> {
    pub fn new(name: impl Into<String>, from: impl BufRead + 'a) -> Source<'a> {
        Source { name: name.into(), from: Box::new(from) }
    }

    /// # Errors
    /// Exit 4 where the file can't be opened.
    pub(crate) fn open(path: &Path) -> Result<Source<'static>> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| Error::input(format!("{name}: {error}")))?;
        Ok(Source::new(name, BufReader::new(file)))
    }
}

/// What two files say of videos.
pub struct Both {
    /// Those with predictions in their order, then the others in theirs.
    pub videos: Vec<Video>,
    /// How many of them have predictions, and are not among the labels.
    pub(crate) unlabelled: usize,
    /// How many of them are among the labels, and have no predictions.
    pub(crate) unpredicted: usize,
    /// Files whose last line has no end.
    pub(crate) cut: Vec<String>,
}

/// All videos of both files.
///
/// # Errors
/// Exit 4 with file, line and what was found.
pub fn read_both(predictions: Source, labels: Source) -> Result<Both> {
    let names = [predictions.name.clone(), labels.name.clone()];
    let mut videos: Vec<Video> = Vec::new();
    let mut places: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    let predictions_end = lines(predictions, HEADER, |id, rest| {
        if places.insert(id.to_vec(), videos.len()).is_some() {
            return Err("found a second time".into());
        }
        let scores = scores_of(rest)?;
        videos.push(Video { id: id.to_vec(), scores, labels: Vec::new() });
        Ok(())
    })?;
    let predicted = videos.len();
    let mut labelled = BTreeSet::new();
    let labels_end = lines(labels, LABELS_HEADER, |id, rest| {
        if !labelled.insert(id.to_vec()) {
            return Err("found a second time".into());
        }
        let mut own = words(rest).map(class_of).collect::<Read<Vec<u32>>>()?;
        own.sort_unstable();
        own.dedup();
        let place = *places.entry(id.to_vec()).or_insert_with(|| {
            videos.push(Video { id: id.to_vec(), ..Video::default() });
            videos.len() - 1
        });
        videos[place].labels = own;
        Ok(())
    })?;
    let unpredicted = videos.len() - predicted;
    let unlabelled = videos.len() - labelled.len();
    let ends = [predictions_end, labels_end];
    let cut = names.into_iter().zip(ends).filter(|(_, end)| !end).map(|(name, _)| name).collect();
    Ok(Both { videos, unlabelled, unpredicted, cut })
}

/// What was found and what was expected; the caller adds where it was.
type Read<T> = std::result::Result<T, String>;

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

fn number_of<T: std::str::FromStr>(word: &[u8]) -> Option<T> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

fn class_of(word: &[u8]) -> Read<u32> {
    number_of(word).filter(|class| *class <= CLASS_MAX).ok_or_else(|| {
        format!(
            "found the class {}, expected 0 to {CLASS_MAX}, with spaces between them",
            shown(word)
        )
    })
}

fn scores_of(text: &[u8]) -> Read<Vec<(f32, u32)>> {
    let mut scores: Vec<(f32, u32)> = Vec::new();
    let mut words = words(text);
    while let Some(word) = words.next() {
        let class = class_of(word)?;
        let word = words.next().ok_or_else(|| format!("found class {class} without a score"))?;
        let score = number_of(word).filter(|score: &f32| score.is_finite()).ok_or_else(|| {
            format!("class {class}: found the score {}, expected a number", shown(word))
        })?;
        scores.push((score, class));
    }
    let mut classes: Vec<u32> = scores.iter().map(|pair| pair.1).collect();
    classes.sort_unstable();
    match classes.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("found class {} twice", pair[0])),
        None => Ok(scores),
    }
}

/// Calls `take` with id and rest of every record after the header. Whether the last one's line has
/// an end.
fn lines(
    source: Source,
    header: &str,
    mut take: impl FnMut(&[u8], &[u8]) -> Read<()>,
) -> Result<bool> {
    let name = source.name;
    let wrong =
        |(line, text): (usize, String)| Error::input(format!("{name}: line {line}: {text}"));
    let mut records = Records::new(source.from);
    let Some(Record { line, fields }) = records.next().map_err(wrong)? else {
        return Err(wrong((1, format!("found nothing, expected {header:?}"))));
    };
    let found = fields.join(&b',');
    if found != header.as_bytes() {
        return Err(wrong((line, format!("found {}, expected {header:?}", shown(&found)))));
    }
    while let Some(Record { line, fields }) = records.next().map_err(wrong)? {
        let [id, rest] = &fields[..] else {
            let (count, expected) = (fields.len(), header.replace(',', " and "));
            let found = shown(&fields.join(&b','));
            let text = format!("found {found}, {count} fields, expected 2, {expected}");
            return Err(wrong((line, text)));
        };
        take(id, rest).map_err(|text| wrong((line, format!("{}: {text}", named(id)))))?;
    }
    Ok(records.ends_with_a_line())
}

/// An id in a message: as it is where that can't be mistaken.
fn named(id: &[u8]) -> String {
    match std::str::from_utf8(id) {
        Ok(text) if id.len() <= 40 && matches!(field(id), Cow::Borrowed(_)) => text.into(),
        _ => shown(id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_printed_as_c_prints_them() {
        let table = [
            (1.0, "1"),
            (0.5, "0.5"),
            (0.0, "0"),
            (1e-5, "1e-05"),
            (1e-4, "0.0001"),
            (123_456.0, "123456"),
            (1e6, "1e+06"),
            (0.977_451, "0.977451"),
            (0.123_456_7, "0.123457"),
            (2.5e-10, "2.5e-10"),
            (0.999_999_9, "1"),
        ];
        for (score, expected) in table {
            assert_eq!(shortest(score), expected);
        }
    }
}
