//! The Extreme Classification text format: a header "rows features labels", then a line a row,
//! "label,label,... index:value index:value ...", all 0-based. A line that begins with a space has
//! no labels. Values that aren't named are 0.
//!
//! Read as people write it: spaces or tabs, comments from `#` on, lines that end with CR LF, a byte
//! order mark, empty lines at the end; LIBSVM's sets, which have no header and count features from
//! 1, where the caller says so (`Layout`).

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::Path;

use super::compressed;
use super::svmlight_line::{Line, Seen, column_of, label_words, looks_like_row};
use crate::error::{Error, Result};
use crate::example::{Example, Values};
use crate::fields::stem;
use crate::limits::{CLASSES_MAX, FEATURES_MAX};
use crate::progress::CallGuard;
use crate::stint::Counted;

/// Bytes of a line at most: every feature that a row can have is within.
const LINE_BYTES_MAX: usize = 1 << 29;
/// So many bytes of a file without header are looked at for what a hint says.
const LOOKED_AT: usize = 16 << 20;

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// `usize::MAX` where there is no header.
    pub rows: usize,
    pub features: usize,
    pub classes: usize,
}

/// How a file is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Layout {
    /// Numbers of features and classes of a file without header, whose rows are its lines.
    pub sizes: Option<(usize, usize)>,
    /// Whether features are counted from 1.
    pub one_based: bool,
}

/// Rows of one file, in order.
pub struct Rows<'a> {
    /// For messages.
    name: String,
    /// What ids begin with.
    stem: String,
    from: Box<dyn BufRead + 'a>,
    pub header: Header,
    /// 1 where features are counted from 1.
    first_index: usize,
    /// Number of the line read last, from 1.
    line: usize,
    /// That line, and what it is; its end and comment are left out.
    text: Vec<u8>,
    /// Rows that were given.
    done: usize,
    /// Number of an empty line that is no row if it stands at the end.
    empty: Option<usize>,
    /// What comments say of the first index.
    said: Option<usize>,
    /// Whether the last error was of a row alone, behind which the next one begins.
    goes_on: bool,
    /// Labels that stood in their row more than once.
    pub(crate) repeated_labels: usize,
}

impl<'a> Rows<'a> {
    /// Opens the file, which gzip may have compressed, and reads its header.
    ///
    /// # Errors
    /// Exit 4 where there is none.
    pub(crate) fn open(path: &Path, layout: Layout) -> Result<Rows<'static>> {
        let (name, stem, from) = opened(path)?;
        Rows::of(name, stem, from, layout)
    }

    /// How many rows a file without header has.
    ///
    /// # Errors
    /// Exit 4 where it can't be read.
    pub(crate) fn count(path: &Path, layout: Layout) -> Result<u64> {
        let mut rows = Rows::open(path, layout)?;
        let mut count = 0;
        while let Some(line) = rows.read_line()? {
            count += u64::from(line == Line::Row || line == Line::Blank);
            crate::progress::tick();
        }
        Ok(count)
    }

    /// The rows `from` what messages call `name`; their ids begin with `stem`.
    ///
    /// # Errors
    /// Exit 4 where there is no header.
    pub fn new(name: String, stem: String, from: impl BufRead + 'a) -> Result<Rows<'a>> {
        Rows::of(name, stem, from, Layout::default())
    }

    /// The same in this layout.
    ///
    /// # Errors
    /// The same.
    pub fn of(
        name: String,
        stem: String,
        from: impl BufRead + 'a,
        layout: Layout,
    ) -> Result<Rows<'a>> {
        let (features, classes) = layout.sizes.unwrap_or_default();
        let mut rows = Rows {
            name,
            stem,
            from: Box::new(from),
            header: Header { rows: usize::MAX, features, classes },
            first_index: usize::from(layout.one_based),
            line: 0,
            text: Vec::new(),
            done: 0,
            empty: None,
            said: None,
            goes_on: false,
            repeated_labels: 0,
        };
        if layout.sizes.is_none() {
            rows.header = rows.read_header()?;
        }
        Ok(rows)
    }

    fn read_header(&mut self) -> Result<Header> {
        let expected = "expected \"rows features labels\"";
        loop {
            match self.read_line()? {
                None => return Err(self.wrong(1, &format!("found nothing, {expected}"))),
                Some(Line::Row) => break,
                Some(_) => {}
            }
        }
        let text = self.line_text()?.to_string();
        let numbers: Option<Vec<usize>> =
            text.split_ascii_whitespace().map(|word| word.parse().ok()).collect();
        let Some(&[rows, features, classes]) = numbers.as_deref() else {
            let error = self.wrong(1, &format!("found {:?}, {expected}", shortened(&text)));
            return Err(match looks_like_row(&text) {
                true => error.hint(self.headerless_hint(&text)),
                false => error,
            });
        };
        for (what, found, most) in
            [("features", features, FEATURES_MAX), ("labels", classes, CLASSES_MAX)]
        {
            if !(1..=most).contains(&found) {
                let text = format!("{what}: found {found}, expected 1 to {most}");
                return Err(self.wrong(1, &text));
            }
        }
        Ok(Header { rows, features, classes })
    }

    /// The options that take a file without header, whose first row is `first`.
    fn headerless_hint(&mut self, first: &str) -> String {
        let (mut seen, mut bytes) = (Seen::default(), 0);
        seen.add(first);
        let whole = loop {
            match self.read_line() {
                Ok(Some(_)) if bytes > LOOKED_AT => break false,
                Ok(Some(_)) => {
                    bytes += self.text.len() + 1;
                    seen.add(&String::from_utf8_lossy(&self.text));
                }
                Ok(None) | Err(_) => break true,
            }
        };
        let more = if whole { "" } else { ", or more of both: only its beginning was looked at" };
        let options = seen.options(self.said);
        format!("this looks like LIBSVM's format, which has no header: {options}{more}")
    }

    /// Whether there is a next row behind the error that `next` has just given.
    pub(crate) fn goes_on(&self) -> bool {
        self.goes_on
    }

    /// The next row, `None` after the last that the header announces.
    ///
    /// # Errors
    /// Exit 4 with file, line and column: see faults in the README of hdf5-data.
    #[expect(clippy::should_implement_trait, reason = "its items are results by file order")]
    pub fn next(&mut self) -> Result<Option<Example>> {
        let (counted, rows) = (self.header.rows != usize::MAX, self.header.rows);
        self.goes_on = false;
        loop {
            let Some(line) = self.read_line()? else {
                return match self.done < rows && counted {
                    true => {
                        let found = self.done;
                        let text =
                            format!("found {found} rows, expected {rows} as the header says");
                        Err(self.wrong(1, &text))
                    }
                    false => Ok(None),
                };
            };
            match line {
                Line::Comment => {}
                Line::Blank | Line::Empty if self.done == rows => {}
                Line::Empty if !counted => self.empty = self.empty.or(Some(self.line)),
                Line::Empty => return Err(self.wrong(1, EMPTY)),
                Line::Row if self.done == rows => {
                    let text = format!("found a row after the {rows} that the header says");
                    return Err(self.wrong(1, &text));
                }
                Line::Blank | Line::Row => return self.row().map(Some),
            }
        }
    }

    /// The row of this line.
    fn row(&mut self) -> Result<Example> {
        if let Some(line) = self.empty {
            self.line = line;
            return Err(self.wrong(1, EMPTY));
        }
        let text = self.line_text()?.to_string();
        if self.header.rows == usize::MAX && self.done == 0 && is_header(&text) {
            let found = shortened(&text);
            let error = self.wrong(1, &format!("found {found:?}, expected labels and features"));
            return Err(error.hint("leave out --rows-from-lines, if this is a header"));
        }
        let words = label_words(&text);
        let id = format!("{}-{:07}", self.stem, self.done).into_bytes();
        self.done += 1;
        self.goes_on = true;
        let labels = self.labels(&text[..words])?;
        let values = self.values(&text, words)?;
        Ok(Example { id, labels, values: Values::Video(values) })
    }

    fn labels(&mut self, text: &str) -> Result<Vec<u32>> {
        let mut labels = Vec::new();
        for word in text.split(',').map(str::trim).filter(|_| !text.is_empty()) {
            match word.parse::<u32>().ok().filter(|label| (*label as usize) < self.header.classes) {
                Some(label) => labels.push(label),
                None => {
                    let (most, column) = (self.header.classes - 1, column_of(word, text));
                    let text = format!("label: found {:?}, expected 0 to {most}", shortened(word));
                    let error = self.wrong(column, &text);
                    return Err(match word.contains(':') {
                        true => error.hint("a row without labels begins with a space"),
                        false => error,
                    });
                }
            }
        }
        let count = labels.len();
        labels.sort_unstable();
        labels.dedup();
        self.repeated_labels += count - labels.len();
        Ok(labels)
    }

    /// The values that stand in `text` from `from` on.
    fn values(&self, text: &str, from: usize) -> Result<Vec<f32>> {
        let (features, first) = (self.header.features, self.first_index as i64);
        let mut values = vec![0.0; features];
        let mut next = first;
        for word in text[from..].split_ascii_whitespace() {
            let wrong = |found: String| self.wrong(column_of(word, text), &found);
            let pair = word.split_once(':').and_then(|(index, value)| {
                Some((index.parse::<i64>().ok()?, value.parse::<f32>().ok()?))
            });
            let Some((index, value)) = pair else {
                return Err(wrong(format!("found {:?}, expected index:value", shortened(word))));
            };
            if !(first..first + features as i64).contains(&index) {
                let most = first + features as i64 - 1;
                let error = wrong(format!("index: found {index}, expected {first} to {most}"));
                return Err(match (first, index) {
                    (0, index) if index == most + 1 => {
                        error.hint("--one-based, if the indices of this file begin at 1")
                    }
                    (1, 0) => error.hint("leave out --one-based: indices of this file begin at 0"),
                    _ => error,
                });
            }
            if index < next {
                let text = format!("index: found {index} after {}, expected ascending", next - 1);
                return Err(wrong(text));
            }
            if !value.is_finite() {
                return Err(wrong(format!("value: found {value}, expected a number")));
            }
            values[(index - first) as usize] = value;
            next = index + 1;
        }
        Ok(values)
    }

    /// Reads the next line and says what it is. A last line without its end is taken for cut,
    /// unless it ends with a comment or nothing is lost.
    fn read_line(&mut self) -> Result<Option<Line>> {
        self.text.clear();
        let mut limited = (&mut self.from).take(LINE_BYTES_MAX as u64);
        let read = limited.read_until(b'\n', &mut self.text);
        self.line += 1;
        let read = read.map_err(|error| self.wrong(1, &error.to_string()))?;
        if read == 0 {
            return Ok(None);
        }
        if read == LINE_BYTES_MAX {
            let text = format!("found a line of {LINE_BYTES_MAX} bytes or more");
            return Err(self.wrong(1, &text));
        }
        if self.line == 1 && self.text.starts_with("\u{feff}".as_bytes()) {
            self.text.drain(..3);
        }
        let whole = self.text.last() == Some(&b'\n');
        let kept = self.text.strip_suffix(b"\n").unwrap_or(&self.text);
        let kept = kept.strip_suffix(b"\r").unwrap_or(kept).len();
        self.text.truncate(kept);
        let line = Line::of(&self.text);
        // Few lines have a comment, and this looks for one fast.
        if self.text.contains(&b'#') {
            let at = self.text.iter().position(|byte| *byte == b'#').expect("it is there");
            self.said = self.said.or(Seen::first_index(&self.text[at..]));
            self.text.truncate(at);
            return Ok(Some(line));
        }
        let lost = line == Line::Row || line == Line::Blank && self.done < self.header.rows;
        if !whole && lost {
            let error =
                self.wrong(read, "found the end of the file within a line: the file is cut");
            let name = &self.name;
            return Err(error.hint(format!("if its last line is whole, echo >> {name}")));
        }
        Ok(Some(line))
    }

    fn line_text(&self) -> Result<&str> {
        let bad = |byte: &u8| !matches!(byte, b' '..=b'~' | b'\t');
        match self.text.iter().position(bad) {
            Some(at) => {
                let text = format!("found the byte 0x{:02x}, expected text", self.text[at]);
                Err(self.wrong(at + 1, &text))
            }
            None => Ok(std::str::from_utf8(&self.text).expect("plain ASCII")),
        }
    }

    fn wrong(&self, column: usize, text: &str) -> Error {
        let (name, line) = (&self.name, self.line);
        Error::input(format!("{name}: line {line}: column {column}: {text}"))
    }
}

const EMPTY: &str = "found an empty line, expected labels and features, or a space where a row has \
                     neither";

/// A file's name for messages, what ids of its rows begin with, and its text.
fn opened(path: &Path) -> Result<(String, String, Box<dyn BufRead>)> {
    let name = path.display().to_string();
    let _opening = CallGuard::on("opening", path);
    let file = File::open(path).map_err(|error| Error::input(format!("{name}: {error}")))?;
    // A compressed file gives the ids of the plain one.
    let compressed = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gz"));
    let plain = if compressed { path.with_extension("") } else { path.to_path_buf() };
    let stem = stem(&plain);
    let from = compressed::text(&name, BufReader::new(Counted(file)))?;
    Ok((name, stem, from))
}

/// Whether this is "rows features labels".
fn is_header(text: &str) -> bool {
    let mut numbers = text.split_ascii_whitespace().map(|word| word.parse::<usize>().is_ok());
    numbers.clone().count() == 3 && numbers.all(|number| number)
}

fn shortened(text: &str) -> &str {
    &text[..text.len().min(40)]
}
