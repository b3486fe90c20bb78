//! The submission csv of the YouTube-8M challenges (docs/method.md, section 5) and the csv of true
//! labels.
//!
//! ```text
//!   VideoId,LabelConfidencePairs        VideoId,Labels
//!   id,12 0.977451 0 0.962268           id,0 312
//! ```

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use super::csv::{Record, Records, field, shown};
use super::predictions::{NO_SCORES, SEGMENTS_HEADER};
pub use super::source::Source;
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
    let mut line = field(id).into_owned();
    line.push(b',');
    for (index, (score, class)) in top.iter().enumerate() {
        if index > 0 {
            line.push(b' ');
        }
        write!(line, "{class} ")?;
        push_shortest(&mut line, *score);
    }
    line.push(b'\n');
    out.write_all(&line)
}

/// Scores from 0.0001 on are written by whole numbers: formatting exact decimals takes as long as a
/// tenth of the arithmetic of a row on sixteen cores.
fn push_shortest(line: &mut Vec<u8>, score: f32) {
    let exact = f64::from(score);
    let below_one = (0..4).find(|zeros| exact >= [0.1, 0.01, 0.001, 0.0001][*zeros]);
    let (Some(zeros), true) = (below_one, exact < 1.0) else {
        return line.extend(shortest(score).as_bytes());
    };
    // 24 bits times at most 10^9, which has 21 bits without its twos: nothing is rounded before.
    let figures = (exact * [1e6, 1e7, 1e8, 1e9][zeros]).round_ties_even() as u32;
    let (mut figures, zeros) = match (figures, zeros) {
        (1_000_000, 0) => return line.push(b'1'),
        (1_000_000, zeros) => (100_000, zeros - 1),
        found => found,
    };
    line.extend(&b"0.000"[..2 + zeros]);
    let mut digits = [0; 6];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (figures % 10) as u8;
        figures /= 10;
    }
    let length = digits.iter().rposition(|digit| *digit != b'0').map_or(1, |last| last + 1);
    line.extend(&digits[..length]);
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

/// What two files say of videos.
pub struct Both {
    /// Those with predictions in their order, then the others in theirs.
    pub videos: Vec<Video>,
    /// Of classes, where the predictions say them.
    pub(crate) names: BTreeMap<u32, String>,
    /// Those that have predictions, and are not among the labels.
    pub(crate) unlabelled: Apart,
    /// Those that are among the labels, and have no predictions.
    pub(crate) unpredicted: Apart,
    /// Files whose last line has no end.
    pub(crate) cut: Vec<String>,
}

/// Videos that stand in one of two files only.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Apart {
    pub(crate) count: usize,
    /// The id of the first, as messages show it.
    pub(crate) first: String,
}

impl Apart {
    fn of<'a>(videos: impl Iterator<Item = &'a Video>) -> Apart {
        let mut videos = videos.peekable();
        let first = videos.peek().map(|video| named(&video.id)).unwrap_or_default();
        Apart { count: videos.count(), first }
    }
}

/// Predictions of videos, each of which comes once, in their order.
#[derive(Default)]
pub(crate) struct Predictions {
    videos: Vec<Video>,
    places: BTreeMap<Vec<u8>, usize>,
    /// Of the video that `add_score` added a score to last, the classes that have one.
    classes: BTreeSet<u32>,
    /// Files whose last line has no end.
    cut: Vec<String>,
    /// Of classes, where files say them.
    names: BTreeMap<u32, String>,
}

impl Predictions {
    /// Adds a video.
    pub(crate) fn add(&mut self, id: &[u8], scores: Vec<(f32, u32)>) -> Read<()> {
        if self.places.insert(id.to_vec(), self.videos.len()).is_some() {
            return Err("found a second time".into());
        }
        self.videos.push(Video { id: id.to_vec(), scores, labels: Vec::new() });
        Ok(())
    }

    /// Adds another score of the video that was added last, or the first one of another.
    pub(crate) fn add_score(&mut self, id: &[u8], pair: (f32, u32)) -> Read<()> {
        match self.videos.last_mut().filter(|video| video.id == id) {
            Some(video) => video.scores.push(pair),
            None => {
                self.add(id, vec![pair])?;
                self.classes.clear();
            }
        }
        match self.classes.insert(pair.1) {
            true => Ok(()),
            false => Err(format!("found class {} twice", pair.1)),
        }
    }

    /// Takes `name` for the name of a class, if it isn't empty.
    pub(crate) fn name(&mut self, class: u32, name: &[u8]) -> Read<()> {
        let Ok(name) = std::str::from_utf8(name) else {
            return Err(format!("class {class}: found a name that isn't UTF-8"));
        };
        match self.names.get(&class) {
            _ if name.is_empty() => Ok(()),
            Some(before) if before == name => Ok(()),
            Some(before) => Err(format!(
                "class {class}: found the name {name:?}, expected {before:?} as before"
            )),
            None => {
                self.names.insert(class, name.into());
                Ok(())
            }
        }
    }

    /// Adds the videos of a file in the format of submissions.
    ///
    /// # Errors
    /// Exit 4 with file, line and what was found.
    pub(crate) fn read(&mut self, source: Source) -> Result<()> {
        self.read_lines(source, &[HEADER], |own, _, fields| own.add_line(fields))
    }

    /// Adds the video of a line of that format.
    pub(super) fn add_line(&mut self, fields: &[Vec<u8>]) -> Read<()> {
        self.add(&fields[0], scores_of(&fields[1])?)
    }

    /// Adds those of a csv whose records `add` takes, with the number of the one of `headers` that
    /// it has.
    pub(super) fn read_lines(
        &mut self,
        source: Source,
        headers: &[&str],
        add: impl Fn(&mut Predictions, usize, &[Vec<u8>]) -> Read<()>,
    ) -> Result<()> {
        let name = source.name.clone();
        if !lines(source, headers, |header, fields| add(self, header, fields))? {
            self.cut.push(name);
        }
        Ok(())
    }

    /// These videos and those of `labels`.
    ///
    /// # Errors
    /// Exit 4 with file, line and what was found.
    pub(crate) fn with_labels(self, labels: Source) -> Result<Both> {
        let Predictions { mut videos, mut places, mut cut, names, .. } = self;
        let (name, predicted, mut labelled) = (labels.name.clone(), videos.len(), BTreeSet::new());
        let whole = lines(labels, &[LABELS_HEADER], |_, fields| {
            let id = &fields[0];
            if !labelled.insert(id.clone()) {
                return Err("found a second time".into());
            }
            let mut own = words(&fields[1]).map(class_of).collect::<Read<Vec<u32>>>()?;
            own.sort_unstable();
            own.dedup();
            let place = *places.entry(id.clone()).or_insert_with(|| {
                videos.push(Video { id: id.clone(), ..Video::default() });
                videos.len() - 1
            });
            videos[place].labels = own;
            Ok(())
        })?;
        if !whole {
            cut.push(name);
        }
        let without = |video: &&Video| !labelled.contains(&video.id);
        let unlabelled = Apart::of(videos[..predicted].iter().filter(without));
        let unpredicted = Apart::of(videos[predicted..].iter());
        Ok(Both { videos, names, unlabelled, unpredicted, cut })
    }
}

/// All videos of both files.
///
/// # Errors
/// Exit 4 with file, line and what was found.
pub fn read_both(predictions: Source, labels: Source) -> Result<Both> {
    let mut found = Predictions::default();
    found.read(predictions)?;
    found.with_labels(labels)
}

/// What was found and what was expected; the caller adds where it was.
pub(super) type Read<T> = std::result::Result<T, String>;

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

fn number_of<T: std::str::FromStr>(word: &[u8]) -> Option<T> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

pub(super) fn class_of(word: &[u8]) -> Read<u32> {
    number_of(word).filter(|class| *class <= CLASS_MAX).ok_or_else(|| {
        format!(
            "found the class {}, expected 0 to {CLASS_MAX}, with spaces between them",
            shown(word)
        )
    })
}

pub(super) fn score_of(class: u32, word: &[u8]) -> Read<f32> {
    number_of(word)
        .filter(|score: &f32| score.is_finite())
        .ok_or_else(|| format!("class {class}: found the score {}, expected a number", shown(word)))
}

fn scores_of(text: &[u8]) -> Read<Vec<(f32, u32)>> {
    let mut scores: Vec<(f32, u32)> = Vec::new();
    let mut words = words(text);
    while let Some(word) = words.next() {
        let class = class_of(word)?;
        let word = words.next().ok_or_else(|| format!("found class {class} without a score"))?;
        scores.push((score_of(class, word)?, class));
    }
    let mut classes: Vec<u32> = scores.iter().map(|pair| pair.1).collect();
    classes.sort_unstable();
    match classes.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("found class {} twice", pair[0])),
        None => Ok(scores),
    }
}

/// Calls `take` with the fields of every record after the header, which is one of `headers`, and
/// that one's number: as many as it has, the first of which is the id. Whether the last one's line
/// has an end.
fn lines(
    source: Source,
    headers: &[&str],
    mut take: impl FnMut(usize, &[Vec<u8>]) -> Read<()>,
) -> Result<bool> {
    let name = source.name;
    let wrong =
        |(line, text): (usize, String)| Error::input(format!("{name}: line {line}: {text}"));
    let mut records = Records::new(source.from);
    let mut first = records.next().map_err(wrong)?;
    // Comments before the header; behind it an id may begin with #.
    while first.as_ref().is_some_and(|record| record.fields[0].starts_with(b"#")) {
        first = records.next().map_err(wrong)?;
    }
    let expected = || {
        let all: Vec<String> = headers.iter().map(|header| format!("{header:?}")).collect();
        all.join(" or ")
    };
    let Some(Record { line, fields }) = first else {
        return Err(wrong((1, format!("found nothing, expected {}", expected()))));
    };
    let names: Vec<&[u8]> = fields.iter().map(|field| field.trim_ascii()).collect();
    let found = fields.join(&b',');
    let same = |header: &&str| names == header.split(',').map(str::as_bytes).collect::<Vec<_>>();
    let Some(number) = headers.iter().position(same) else {
        let error = wrong((line, format!("found {}, expected {}", shown(&found), expected())));
        return Err(if same(&SEGMENTS_HEADER) { error.hint(NO_SCORES) } else { error });
    };
    let (header, width) = (headers[number], fields.len());
    while let Some(Record { line, fields }) = records.next().map_err(wrong)? {
        if fields.len() != width {
            let (count, expected) = (fields.len(), header.replace(',', " and "));
            let found = shown(&fields.join(&b','));
            let text = format!("found {found}, {count} fields, expected {width}, {expected}");
            return Err(wrong((line, text)));
        }
        take(number, &fields)
            .map_err(|text| wrong((line, format!("{}: {text}", named(&fields[0])))))?;
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

    #[test]
    fn pairs_of_a_video_are_added_without_looking_through_all_of_them() {
        let (mut found, began) = (Predictions::default(), std::time::Instant::now());
        for class in 0..400_000 {
            found.add_score(b"a", (0.5, class)).unwrap();
        }
        assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
        assert!(found.add_score(b"a", (0.5, 7)).unwrap_err().contains("class 7 twice"));
        found.add_score(b"b", (0.5, 7)).unwrap();
    }

    #[test]
    fn whole_numbers_give_what_exact_decimals_give() {
        // Ties at the sixth figure, both sides of each power of ten, and numbers of all sizes.
        let ties = (0..=1 << 15).map(|whole| whole as f32 / (1 << 15) as f32);
        let powers = [1.0f32, 0.1, 0.01, 1e-3, 1e-4, 1e-5].map(f32::to_bits);
        let near = powers.iter().flat_map(|bits| bits - 300..bits + 300).map(f32::from_bits);
        let others = (0..200_000u32).map(|step| f32::from_bits(0x3800_0000 + step * 671));
        for score in ties.chain(near).chain(others) {
            let mut line = Vec::new();
            push_shortest(&mut line, score);
            assert_eq!(String::from_utf8(line).unwrap(), shortest(score), "{score:e}");
        }
    }
}
