//! The Extreme Classification text format: a header "rows features labels", then a line a row,
//! "label,label,... index:value index:value ...", all 0-based. A line that begins with a space has
//! no labels. Values that aren't named are 0.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use crate::error::{Error, Result};
use crate::example::{Example, Values};
use crate::limits::{CLASSES_MAX, FEATURES_MAX};
use crate::progress::CallGuard;

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub rows: usize,
    pub features: usize,
    pub classes: usize,
}

/// Rows of one file, in order.
pub struct Rows<'a> {
    /// For messages.
    name: String,
    /// What ids begin with.
    stem: String,
    from: Box<dyn BufRead + 'a>,
    pub header: Header,
    /// Number of the line read last, from 1.
    line: usize,
    text: Vec<u8>,
    /// Labels that stood in their row more than once.
    pub(crate) repeated_labels: usize,
}

impl<'a> Rows<'a> {
    /// Opens the file and reads its header.
    ///
    /// # Errors
    /// Exit 4 where there is none.
    pub(crate) fn open(path: &Path) -> Result<Rows<'static>> {
        let name = path.display().to_string();
        let _opening = CallGuard::on("opening", path);
        let file = File::open(path).map_err(|error| Error::input(format!("{name}: {error}")))?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Rows::new(name, stem, BufReader::new(file))
    }

    /// The rows `from` what messages call `name`; their ids begin with `stem`.
    ///
    /// # Errors
    /// Exit 4 where there is no header.
    pub fn new(name: String, stem: String, from: impl BufRead + 'a) -> Result<Rows<'a>> {
        let header = Header { rows: 0, features: 0, classes: 0 };
        let mut rows = Rows {
            name,
            stem,
            from: Box::new(from),
            header,
            line: 0,
            text: Vec::new(),
            repeated_labels: 0,
        };
        let expected = "expected \"rows features labels\"";
        if !rows.read_line()? {
            return Err(rows.wrong(1, &format!("found nothing, {expected}")));
        }
        let text = rows.line_text()?.to_string();
        let numbers: Option<Vec<usize>> = text.split(' ').map(|word| word.parse().ok()).collect();
        let Some([count, features, classes]) = numbers.as_deref() else {
            return Err(rows.wrong(1, &format!("found {:?}, {expected}", shortened(&text))));
        };
        for (what, found, most) in
            [("features", *features, FEATURES_MAX), ("labels", *classes, CLASSES_MAX)]
        {
            if !(1..=most).contains(&found) {
                let text = format!("{what}: found {found}, expected 1 to {most}");
                return Err(rows.wrong(1, &text));
            }
        }
        rows.header = Header { rows: *count, features: *features, classes: *classes };
        Ok(rows)
    }

    /// The next row, `None` after the last that the header announces.
    ///
    /// # Errors
    /// Exit 4 with file, line and column: see faults in the README of hdf5-data.
    #[expect(clippy::should_implement_trait, reason = "its items are results by file order")]
    pub fn next(&mut self) -> Result<Option<Example>> {
        let done = self.line - 1;
        if !self.read_line()? {
            if done < self.header.rows {
                let text =
                    format!("found {done} rows, expected {} as the header says", self.header.rows);
                return Err(self.wrong(1, &text));
            }
            return Ok(None);
        }
        if done == self.header.rows {
            let text = format!("found a row after the {done} that the header says");
            return Err(self.wrong(1, &text));
        }
        let text = self.line_text()?.to_string();
        if text.trim().is_empty() {
            return Err(self.wrong(1, "found an empty line, expected labels and features"));
        }
        let (labels, features) = text.split_once(' ').unwrap_or((&text, ""));
        let labels = self.labels(labels)?;
        let values = self.values(features, text.len() - features.len())?;
        let id = format!("{}-{done:07}", self.stem).into_bytes();
        Ok(Some(Example { id, labels, values: Values::Video(values) }))
    }

    fn labels(&mut self, text: &str) -> Result<Vec<u32>> {
        let (mut labels, mut column) = (Vec::new(), 1);
        for word in text.split(',').filter(|_| !text.is_empty()) {
            match word.parse::<u32>().ok().filter(|label| (*label as usize) < self.header.classes) {
                Some(label) => labels.push(label),
                None => {
                    let most = self.header.classes - 1;
                    let text = format!("label: found {:?}, expected 0 to {most}", shortened(word));
                    return Err(self.wrong(column, &text));
                }
            }
            column += word.len() + 1;
        }
        let count = labels.len();
        labels.sort_unstable();
        labels.dedup();
        self.repeated_labels += count - labels.len();
        Ok(labels)
    }

    fn values(&self, text: &str, offset: usize) -> Result<Vec<f32>> {
        let mut values = vec![0.0; self.header.features];
        let (mut column, mut next) = (offset + 1, 0);
        for word in text.split(' ') {
            let start = column;
            column += word.len() + 1;
            if word.is_empty() {
                continue;
            }
            let wrong = |text: String| Err(self.wrong(start, &text));
            let pair = word.split_once(':').and_then(|(index, value)| {
                Some((index.parse::<i64>().ok()?, value.parse::<f32>().ok()?))
            });
            let Some((index, value)) = pair else {
                return wrong(format!("found {:?}, expected index:value", shortened(word)));
            };
            if !(0..self.header.features as i64).contains(&index) {
                let most = self.header.features - 1;
                return wrong(format!("index: found {index}, expected 0 to {most}"));
            }
            if (index as usize) < next {
                return wrong(format!(
                    "index: found {index} after {}, expected ascending",
                    next - 1
                ));
            }
            if !value.is_finite() {
                return wrong(format!("value: found {value}, expected a number"));
            }
            values[index as usize] = value;
            next = index as usize + 1;
        }
        Ok(values)
    }

    /// Reads the next line; a last line without its end is taken for cut.
    fn read_line(&mut self) -> Result<bool> {
        self.text.clear();
        let read = self.from.read_until(b'\n', &mut self.text);
        self.line += 1;
        let read = read.map_err(|error| self.wrong(1, &error.to_string()))?;
        if read > 0 && self.text.pop() != Some(b'\n') {
            return Err(
                self.wrong(read, "found the end of the file within a line: the file is cut")
            );
        }
        if self.text.last() == Some(&b'\r') {
            self.text.pop();
        }
        Ok(read > 0)
    }

    fn line_text(&self) -> Result<&str> {
        let bad = |byte: &u8| !matches!(byte, b' '..=b'~');
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

fn shortened(text: &str) -> &str {
    &text[..text.len().min(40)]
}
