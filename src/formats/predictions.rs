//! The formats of annotations, and what they say read back: the submissions of YouTube-8M, a line
//! for each pair, a line of JSON for each video, HDF5 (which `data/` writes and reads), Parquet
//! (`table/parquet/predictions.rs`).
//!
//! ```text
//!   VideoId,LabelConfidencePairs   VideoId,Class,Score   {"id":"id","classes":[1],"scores":[0.5]}
//!   id,12 0.5 0 0.25               id,12,0.5             {"id_hex":"00ff","classes":[],...}
//! ```
//!
//! Where classes have names, lines of pairs have them in a fourth column `Name`, and JSON as
//! `names` behind `classes`; submissions are of numbers alone. Scores of submissions have six
//! figures, those of the others all that they need to come back. An id that isn't UTF-8 is JSON as
//! `id_hex`.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use super::csv::field;
use super::submission::{self, Predictions, Read, Source, class_of, score_of};
use crate::error::{Error, Result};
use crate::human::hex;
use crate::limits::CLASSES_MAX;
use crate::names::Names;

const LONG_HEADER: &str = "VideoId,Class,Score";
const NAMED_HEADER: &str = "VideoId,Class,Score,Name";
/// Of the submissions of 2019.
pub(crate) const SEGMENTS_HEADER: &str = "Class,Segments";
/// Why those aren't measured.
pub(super) const NO_SCORES: &str = "segments of 2019 stand in order, without the scores that \
     metrics are made of: --format long writes the same rows with scores";

/// How annotations are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WrittenAs {
    Submission,
    Long,
    Hdf5,
    Jsonl,
    Parquet,
    /// Of each class its best segments; one file of all, which nothing here writes or reads.
    Segments,
}

impl WrittenAs {
    pub(crate) const NAMES: [&str; 6] =
        ["submission", "long", "hdf5", "jsonl", "parquet", "segments"];

    const ALL: [WrittenAs; 6] = [
        WrittenAs::Submission,
        WrittenAs::Long,
        WrittenAs::Hdf5,
        WrittenAs::Jsonl,
        WrittenAs::Parquet,
        WrittenAs::Segments,
    ];

    /// The one of this name.
    pub(crate) fn named(name: &str) -> Option<WrittenAs> {
        WrittenAs::ALL.into_iter().find(|one| one.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        WrittenAs::NAMES[self as usize]
    }

    /// What names of its files end in.
    pub(crate) fn ending(self) -> &'static str {
        match self {
            WrittenAs::Submission | WrittenAs::Long | WrittenAs::Segments => "csv",
            WrittenAs::Hdf5 => "h5",
            WrittenAs::Jsonl => "jsonl",
            WrittenAs::Parquet => "parquet",
        }
    }

    /// Whether it says names of classes, where these have any.
    pub(crate) fn has_names(self) -> bool {
        !matches!(self, WrittenAs::Submission | WrittenAs::Segments)
    }

    /// Writes what a file begins with, of classes that have names or don't. HDF5 and Parquet
    /// aren't written here.
    pub(super) fn write_head(self, out: &mut dyn Write, named: bool) -> io::Result<()> {
        match self {
            WrittenAs::Submission => writeln!(out, "{}", submission::HEADER),
            WrittenAs::Long if named => writeln!(out, "{NAMED_HEADER}"),
            WrittenAs::Long => writeln!(out, "{LONG_HEADER}"),
            _ => Ok(()),
        }
    }

    /// Writes a video. HDF5 and Parquet aren't written here.
    pub(super) fn write_video(
        self,
        out: &mut dyn Write,
        id: &[u8],
        best: &[(f32, u32)],
        names: Option<&Names>,
    ) -> io::Result<()> {
        match self {
            WrittenAs::Submission => submission::write_line(out, id, best),
            WrittenAs::Long => write_long(out, id, best, names),
            WrittenAs::Jsonl => write_json(out, id, best, names),
            WrittenAs::Hdf5 | WrittenAs::Parquet | WrittenAs::Segments => Ok(()),
        }
    }

    /// Adds the videos of a file of this format to `found`. HDF5 and Parquet aren't read
    /// here.
    ///
    /// # Errors
    /// Exit 4 with file, line and what was found.
    pub(crate) fn read(self, source: Source, found: &mut Predictions) -> Result<()> {
        match self {
            WrittenAs::Submission => found.read(source),
            WrittenAs::Long => {
                let headers = [LONG_HEADER, NAMED_HEADER];
                found.read_lines(source, &headers, |found, _, fields| add_pair(found, fields))
            }
            WrittenAs::Jsonl => read_json(source, found),
            WrittenAs::Hdf5 | WrittenAs::Parquet | WrittenAs::Segments => Ok(()),
        }
    }
}

/// Adds the videos of a csv, in either format that is one, to `found`.
///
/// # Errors
/// Exit 4 with file, line and what was found.
pub(crate) fn read_csv(source: Source, found: &mut Predictions) -> Result<()> {
    let headers = [submission::HEADER, LONG_HEADER, NAMED_HEADER];
    found.read_lines(source, &headers, |found, header, fields| match header {
        0 => found.add_line(fields),
        _ => add_pair(found, fields),
    })
}

/// Adds the pair of a line: id, class, score and, in some files, the name of the class.
fn add_pair(found: &mut Predictions, fields: &[Vec<u8>]) -> Read<()> {
    let class = class_of(&fields[1])?;
    found.add_score(&fields[0], (score_of(class, &fields[2])?, class))?;
    fields.get(3).map_or(Ok(()), |name| found.name(class, name))
}

fn write_long(
    out: &mut dyn Write,
    id: &[u8],
    best: &[(f32, u32)],
    names: Option<&Names>,
) -> io::Result<()> {
    let (id, mut lines) = (field(id), Vec::with_capacity(32 * best.len()));
    for (score, class) in best {
        lines.extend_from_slice(&id);
        write!(lines, ",{class},{score}")?;
        if let Some(names) = names {
            lines.push(b',');
            lines.extend_from_slice(&name_field(names.of(*class as usize)));
        }
        lines.push(b'\n');
    }
    out.write_all(&lines)
}

/// A name as a field of csv: nothing where there is none.
pub(crate) fn name_field(name: &str) -> Cow<'_, [u8]> {
    if name.is_empty() { Cow::Borrowed(b"") } else { field(name.as_bytes()) }
}

/// A video in JSON.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonVideo {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// In its stead where it isn't UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id_hex: Option<String>,
    classes: Vec<u32>,
    /// Of the classes, where these have some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    names: Option<Vec<String>>,
    scores: Vec<f32>,
}

fn write_json(
    out: &mut dyn Write,
    id: &[u8],
    best: &[(f32, u32)],
    names: Option<&Names>,
) -> io::Result<()> {
    let (scores, classes): (Vec<f32>, Vec<u32>) = best.iter().copied().unzip();
    let of = |names: &Names| classes.iter().map(|class| names.of(*class as usize).into()).collect();
    let names = names.map(of);
    let (id, id_hex) = match std::str::from_utf8(id) {
        Ok(id) => (Some(id.to_string()), None),
        Err(_) => (None, Some(hex(id))),
    };
    let mut line = serde_json::to_vec(&JsonVideo { id, id_hex, classes, names, scores })?;
    line.push(b'\n');
    out.write_all(&line)
}

fn read_json(source: Source, found: &mut Predictions) -> Result<()> {
    let (name, mut number) = (source.name().to_string(), 0);
    source.each_line(|line| {
        number += 1;
        let mark = "\u{feff}".as_bytes();
        let line = line.strip_prefix(mark).filter(|_| number == 1).unwrap_or(line);
        if line.is_empty() {
            return Ok(());
        }
        add_json(line, found).map_err(|text| Error::input(format!("{name}: line {number}: {text}")))
    })
}

/// Adds a video, as it is written in JSON.
fn add_json(line: &[u8], found: &mut Predictions) -> Read<()> {
    let video: JsonVideo = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let id = match (video.id, video.id_hex) {
        (Some(id), None) => id.into_bytes(),
        (None, Some(hex)) => bytes_of(&hex).ok_or_else(|| format!("id_hex: found {hex:?}"))?,
        _ => return Err("expected one of id and id_hex".into()),
    };
    checked(&video.classes, &video.scores)?;
    if let Some(names) = video.names {
        if names.len() != video.classes.len() {
            let (classes, names) = (video.classes.len(), names.len());
            return Err(format!("found {classes} classes and {names} names"));
        }
        let mut named = video.classes.iter().zip(&names);
        named.try_for_each(|(class, name)| found.name(*class, name.as_bytes()))?;
    }
    found.add(&id, video.scores.into_iter().zip(video.classes).collect())
}

/// Sees that a video's classes are some, each once, and its scores numbers, one for each.
pub(crate) fn checked(classes: &[u32], scores: &[f32]) -> Read<()> {
    if classes.len() != scores.len() {
        return Err(format!("found {} classes and {} scores", classes.len(), scores.len()));
    }
    if let Some(score) = scores.iter().find(|score| !score.is_finite()) {
        return Err(format!("found the score {score}, expected a number"));
    }
    let mut sorted = classes.to_vec();
    sorted.sort_unstable();
    if let Some(class) = sorted.last().filter(|class| **class as usize >= CLASSES_MAX) {
        return Err(format!("found the class {class}, expected 0 to {}", CLASSES_MAX - 1));
    }
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("found class {} twice", pair[0])),
        None => Ok(()),
    }
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = hex.chars().map(|digit| digit.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A video's id, and its scores with their classes.
    type Video<'a> = (&'a [u8], &'a [(f32, u32)]);

    #[test]
    fn every_format_comes_back() {
        let videos: [Video; 4] = [
            (b"plain", &[(0.9, 7), (0.123_456_79, 0)]),
            (b"a,\"b\"\r\n", &[(1.0, 3)]),
            (b"caf\xe9", &[(f32::MIN_POSITIVE, 9), (0.0, 1)]),
            (b"", &[(0.5, 2), (0.25, 1)]),
        ];
        for name in WrittenAs::NAMES {
            let written_as = WrittenAs::named(name).unwrap();
            assert_eq!(written_as.name(), name);
            if matches!(written_as.ending(), "h5" | "parquet") || written_as == WrittenAs::Segments
            {
                continue;
            }
            let (mut text, mut found) = (Vec::new(), Predictions::default());
            written_as.write_head(&mut text, false).unwrap();
            for (id, best) in &videos {
                written_as.write_video(&mut text, id, best, None).unwrap();
            }
            written_as.read(Source::new("part", &text[..]), &mut found).unwrap();
            let labels = Source::new("labels", &b"VideoId,Labels\n"[..]);
            let found = found.with_labels(labels).unwrap();
            assert!(found.cut.is_empty());
            for (video, (id, best)) in found.videos.iter().zip(&videos) {
                assert_eq!(video.id, *id, "{name}");
                let scores: Vec<_> = match written_as {
                    WrittenAs::Submission => best
                        .iter()
                        .map(|pair| (format!("{:.6e}", pair.0).parse().unwrap(), pair.1))
                        .collect(),
                    _ => best.to_vec(),
                };
                let close = |(a, b): (&(f32, u32), &(f32, u32))| {
                    a.1 == b.1 && (a.0 - b.0).abs() <= 5e-6 * b.0
                };
                match written_as {
                    WrittenAs::Submission => {
                        assert!(video.scores.iter().zip(&scores).all(close), "{name}");
                    }
                    _ => assert_eq!(video.scores, scores, "{name}"),
                }
            }
        }
    }

    #[test]
    fn empty_lines_and_the_mark_of_utf_8_are_passed_over() {
        let text = "\u{feff}\r\n{\"id\":\"a\",\"classes\":[1],\"scores\":[0.5]}\r\n\n \n";
        let mut found = Predictions::default();
        WrittenAs::Jsonl.read(Source::new("part", text.as_bytes()), &mut found).unwrap();
        let labels = Source::new("labels", &b"VideoId,Labels\n"[..]);
        assert_eq!(found.with_labels(labels).unwrap().videos[0].id, b"a");
    }

    #[test]
    fn what_isnt_json_of_a_video_is_told_with_its_line() {
        let good = "{\"id\":\"a\",\"classes\":[1],\"scores\":[0.5]}\n";
        for (line, expected) in [
            ("{\"id\":\"b\",\"classes\":[1],\"scores\":[]}", "found 1 classes and 0 scores"),
            ("{\"id\":\"b\",\"classes\":[1,1],\"scores\":[1,1]}", "found class 1 twice"),
            ("{\"id\":\"a\",\"classes\":[],\"scores\":[]}", "found a second time"),
            ("{\"classes\":[],\"scores\":[]}", "expected one of id and id_hex"),
            ("{\"id_hex\":\"abc\",\"classes\":[],\"scores\":[]}", "id_hex: found \"abc\""),
            ("{\"id\":\"b\",\"classes\":[99999999],\"scores\":[1]}", "found the class 99999999"),
            ("{\"id\":\"b\",\"cla", "EOF while parsing"),
        ] {
            let text = format!("{good}{line}\n");
            let source = Source::new("part", text.as_bytes());
            let error = WrittenAs::Jsonl.read(source, &mut Predictions::default()).unwrap_err();
            assert!(error.text.starts_with("part: line 2: "), "{error}");
            assert!(error.text.contains(expected), "{error}");
        }
    }

    #[test]
    fn names_of_classes_come_back_where_the_format_has_them() {
        let list = ["", "cat, \"black\"", "dog\n", " owl"].map(String::from);
        let names = Names::new(list.to_vec()).unwrap();
        for written_as in [WrittenAs::Submission, WrittenAs::Long, WrittenAs::Jsonl] {
            let (mut text, mut found) = (Vec::new(), Predictions::default());
            written_as.write_head(&mut text, true).unwrap();
            for (id, best) in [("a", &[(0.5, 1), (0.25, 0)]), ("b", &[(0.5, 3), (0.25, 2)])] {
                written_as.write_video(&mut text, id.as_bytes(), best, Some(&names)).unwrap();
            }
            match written_as {
                WrittenAs::Jsonl => {
                    written_as.read(Source::new("part", &text[..]), &mut found).unwrap();
                }
                _ => read_csv(Source::new("part", &text[..]), &mut found).unwrap(),
            }
            let labels = Source::new("labels", &b"VideoId,Labels\n"[..]);
            let both = found.with_labels(labels).unwrap();
            assert_eq!(both.videos.len(), 2, "{written_as:?}");
            let found: Vec<(u32, &str)> =
                both.names.iter().map(|(class, name)| (*class, name.as_str())).collect();
            let expected = [(1, &list[1][..]), (2, &list[2]), (3, &list[3])];
            let expected = if written_as.has_names() { &expected[..] } else { &[] };
            assert_eq!(found, expected, "{written_as:?}");
        }
        let text = "VideoId,Class,Score,Name\na,1,0.5,cat\nb,1,0.5,dog\n";
        let source = Source::new("part", text.as_bytes());
        let error = WrittenAs::Long.read(source, &mut Predictions::default()).unwrap_err();
        let expected = "part: line 3: b: class 1: found the name \"dog\", expected \"cat\"";
        assert!(error.text.starts_with(expected), "{error}");
    }
}
