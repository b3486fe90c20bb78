//! The formats of annotations, and what they say read back: the submissions of YouTube-8M, a line
//! for each pair, a line of JSON for each video, HDF5 (which `data/` writes and reads).
//!
//! ```text
//!   VideoId,LabelConfidencePairs   VideoId,Class,Score   {"id":"id","classes":[1],"scores":[0.5]}
//!   id,12 0.5 0 0.25               id,12,0.5             {"id_hex":"00ff","classes":[],...}
//! ```
//!
//! Scores of submissions have six figures, those of the others all that they need to come back. An
//! id that isn't UTF-8 is JSON as `id_hex`.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use super::csv::field;
use super::submission::{self, Predictions, Read, Source, class_of, score_of};
use crate::error::{Error, Result};
use crate::human::hex;
use crate::limits::CLASSES_MAX;

const LONG_HEADER: &str = "VideoId,Class,Score";

/// How annotations are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WrittenAs {
    Submission,
    Long,
    Hdf5,
    Jsonl,
}

impl WrittenAs {
    pub(crate) const NAMES: [&str; 4] = ["submission", "long", "hdf5", "jsonl"];

    const ALL: [WrittenAs; 4] =
        [WrittenAs::Submission, WrittenAs::Long, WrittenAs::Hdf5, WrittenAs::Jsonl];

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
            WrittenAs::Submission | WrittenAs::Long => "csv",
            WrittenAs::Hdf5 => "h5",
            WrittenAs::Jsonl => "jsonl",
        }
    }

    /// Writes what a file begins with. HDF5 isn't written here.
    pub(crate) fn write_head(self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            WrittenAs::Submission => writeln!(out, "{}", submission::HEADER),
            WrittenAs::Long => writeln!(out, "{LONG_HEADER}"),
            WrittenAs::Jsonl | WrittenAs::Hdf5 => Ok(()),
        }
    }

    /// Writes a video. HDF5 isn't written here.
    pub(crate) fn write_video(
        self,
        out: &mut dyn Write,
        id: &[u8],
        best: &[(f32, u32)],
    ) -> io::Result<()> {
        match self {
            WrittenAs::Submission => submission::write_line(out, id, best),
            WrittenAs::Long => write_long(out, id, best),
            WrittenAs::Jsonl => write_json(out, id, best),
            WrittenAs::Hdf5 => Ok(()),
        }
    }

    /// Adds the videos of a file of this format to `found`. HDF5 isn't read here.
    ///
    /// # Errors
    /// Exit 4 with file, line and what was found.
    pub(crate) fn read(self, source: Source, found: &mut Predictions) -> Result<()> {
        match self {
            WrittenAs::Submission => found.read(source),
            WrittenAs::Long => found.read_lines(source, LONG_HEADER, |found, fields| {
                let class = class_of(&fields[1])?;
                found.add_score(&fields[0], (score_of(class, &fields[2])?, class))
            }),
            WrittenAs::Jsonl => read_json(source, found),
            WrittenAs::Hdf5 => Ok(()),
        }
    }
}

fn write_long(out: &mut dyn Write, id: &[u8], best: &[(f32, u32)]) -> io::Result<()> {
    let (id, mut lines) = (field(id), Vec::with_capacity(32 * best.len()));
    for (score, class) in best {
        lines.extend_from_slice(&id);
        writeln!(lines, ",{class},{score}")?;
    }
    out.write_all(&lines)
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
    scores: Vec<f32>,
}

fn write_json(out: &mut dyn Write, id: &[u8], best: &[(f32, u32)]) -> io::Result<()> {
    let (scores, classes) = best.iter().copied().unzip();
    let (id, id_hex) = match std::str::from_utf8(id) {
        Ok(id) => (Some(id.to_string()), None),
        Err(_) => (None, Some(hex(id))),
    };
    let mut line = serde_json::to_vec(&JsonVideo { id, id_hex, classes, scores })?;
    line.push(b'\n');
    out.write_all(&line)
}

/// An id with its pairs.
type IdAndScores = (Vec<u8>, Vec<(f32, u32)>);

fn read_json(source: Source, found: &mut Predictions) -> Result<()> {
    let (name, mut number) = (source.name().to_string(), 0);
    source.each_line(|line| {
        number += 1;
        let mark = "\u{feff}".as_bytes();
        let line = line.strip_prefix(mark).filter(|_| number == 1).unwrap_or(line);
        if line.is_empty() {
            return Ok(());
        }
        let video = video_of(line);
        let added = video.and_then(|(id, scores)| found.add(&id, scores));
        added.map_err(|text| Error::input(format!("{name}: line {number}: {text}")))
    })
}

/// A video, as it is written in JSON.
fn video_of(line: &[u8]) -> Read<IdAndScores> {
    let video: JsonVideo = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let id = match (video.id, video.id_hex) {
        (Some(id), None) => id.into_bytes(),
        (None, Some(hex)) => bytes_of(&hex).ok_or_else(|| format!("id_hex: found {hex:?}"))?,
        _ => return Err("expected one of id and id_hex".into()),
    };
    checked(&video.classes, &video.scores)?;
    Ok((id, video.scores.into_iter().zip(video.classes).collect()))
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
            if written_as == WrittenAs::Hdf5 {
                continue;
            }
            let (mut text, mut found) = (Vec::new(), Predictions::default());
            written_as.write_head(&mut text).unwrap();
            for (id, best) in &videos {
                written_as.write_video(&mut text, id, best).unwrap();
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
}
