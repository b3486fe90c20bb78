//! The submission csv of the YouTube-8M challenges (method.md, section 5) and the csv of true
//! labels.
//!
//! ```text
//!   VideoId,LabelConfidencePairs        VideoId,Labels
//!   id,12 0.977451 0 0.962268           id,0 312
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use crate::error::{Error, Result};

pub const HEADER: &str = "VideoId,LabelConfidencePairs";
const LABELS_HEADER: &str = "VideoId,Labels";

/// One video of a file of predictions and a file of labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Video {
    pub id: String,
    /// (class, score), as they stand in the file.
    pub scores: Vec<(u32, f32)>,
    /// Ascending, distinct.
    pub labels: Vec<u32>,
}

/// Writes one line.
pub fn write_line(out: &mut dyn Write, id: &[u8], top: &[(f32, u32)]) -> std::io::Result<()> {
    let pairs: Vec<String> =
        top.iter().map(|(score, class)| format!("{class} {}", shortest(*score))).collect();
    out.write_all(id)?;
    writeln!(out, ",{}", pairs.join(" "))
}

/// A number as C's `%g` prints it: six figures, no trailing zeros.
pub fn shortest(score: f32) -> String {
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

/// All videos of both files: those with predictions in their order, then the others in theirs.
///
/// # Errors
/// Exit 4 with file, line and what was found.
pub fn read_both(predictions: &Path, labels: &Path) -> Result<Vec<Video>> {
    let mut videos: Vec<Video> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    lines(predictions, HEADER, |id, rest| {
        if places.insert(id.to_string(), videos.len()).is_some() {
            return Err(format!("{id}: found a second time"));
        }
        let mut scores: Vec<(u32, f32)> = Vec::new();
        let mut words = rest.split_ascii_whitespace();
        while let Some(class) = words.next() {
            let Some(score) = words.next() else {
                return Err(format!("{id}: found class {class} without a score"));
            };
            let score = score.parse().ok().filter(|score: &f32| score.is_finite());
            let (Some(class), Some(score)) = (class_of(class), score) else {
                return Err(format!("{id}: found {class:?} {score:?}, expected class and score"));
            };
            if scores.iter().any(|pair| pair.0 == class) {
                return Err(format!("{id}: found class {class} twice"));
            }
            scores.push((class, score));
        }
        videos.push(Video { id: id.to_string(), scores, labels: Vec::new() });
        Ok(())
    })?;
    let mut labelled = std::collections::BTreeSet::new();
    lines(labels, LABELS_HEADER, |id, rest| {
        if !labelled.insert(id.to_string()) {
            return Err(format!("{id}: found a second time"));
        }
        let own: Option<Vec<u32>> = rest.split_ascii_whitespace().map(class_of).collect();
        let mut own = own.ok_or_else(|| format!("{id}: found {rest:?}, expected classes"))?;
        own.sort_unstable();
        own.dedup();
        let place = *places.entry(id.to_string()).or_insert_with(|| {
            videos.push(Video { id: id.to_string(), ..Video::default() });
            videos.len() - 1
        });
        videos[place].labels = own;
        Ok(())
    })?;
    Ok(videos)
}

/// A class; what is above 2^24 is taken for garbage.
fn class_of(word: &str) -> Option<u32> {
    word.parse().ok().filter(|class| *class < 1 << 24)
}

/// Calls `take` with id and rest of every line after the header.
fn lines(
    path: &Path,
    header: &str,
    mut take: impl FnMut(&str, &str) -> std::result::Result<(), String>,
) -> Result<()> {
    let wrong = |line: usize, text: String| {
        Error::input(format!("{}: line {line}: {text}", path.display()))
    };
    let file = File::open(path).map_err(|e| Error::input(format!("{}: {e}", path.display())))?;
    let mut seen = false;
    for (index, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|error| wrong(index + 1, error.to_string()))?;
        let line = line.trim_end_matches('\r');
        if index == 0 {
            if line != header {
                return Err(wrong(1, format!("found {line:?}, expected {header:?}")));
            }
            seen = true;
            continue;
        }
        let Some((id, rest)) = line.split_once(',') else {
            return Err(wrong(index + 1, format!("found {line:?}, expected id,...")));
        };
        take(id, rest).map_err(|text| wrong(index + 1, text))?;
    }
    if seen { Ok(()) } else { Err(wrong(1, format!("found nothing, expected {header:?}"))) }
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
