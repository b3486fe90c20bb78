//! Comma-separated values as RFC 4180 has them, in bytes: ids aren't always UTF-8.
//!
//! A reader of our own, because the crate `csv` takes a quote that is never closed for closed at
//! the end of the file, and text after a closing quote for part of the field, both in silence.
//! `tests/csv.rs` compares both on what is well-formed.

use std::borrow::Cow;
use std::io::{BufRead, Read};

/// Bytes of a record at most: every class there can be, each with a score, is well within.
pub(super) const RECORD_BYTES_MAX: usize = 1 << 29;

/// What is wrong with a file: number of the line, from 1, and text.
pub(crate) type Wrong = (usize, String);

/// One record and the number of the line that it begins on, from 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub line: usize,
    pub fields: Vec<Vec<u8>>,
}

/// Records one after the other. Empty lines and the mark of UTF-8 at the beginning are passed over;
/// lines end with LF or CR LF.
pub struct Records<'a> {
    from: Box<dyn BufRead + 'a>,
    /// Number of the line read last.
    line: usize,
    /// The lines of this record so far.
    text: Vec<u8>,
    /// Whether the line read last has an end.
    whole: bool,
    separator: u8,
}

impl<'a> Records<'a> {
    pub fn new(from: impl BufRead + 'a) -> Records<'a> {
        Records { from: Box::new(from), line: 0, text: Vec::new(), whole: true, separator: b',' }
    }

    /// The same of fields that another byte separates, a tab for instance.
    pub(crate) fn separated_by(self, separator: u8) -> Records<'a> {
        Records { separator, ..self }
    }

    /// The next record, `None` at the end.
    ///
    /// # Errors
    /// A quote that is never closed, text after a closing quote, CR within a line, what isn't UTF-8
    /// outside quotes, a record that is too long, what reading gives.
    #[expect(clippy::should_implement_trait, reason = "its items are results by file order")]
    pub fn next(&mut self) -> Result<Option<Record>, Wrong> {
        loop {
            self.text.clear();
            if !self.read_line()? {
                return Ok(None);
            }
            let line = self.line;
            if line == 1 && self.text.starts_with("\u{feff}".as_bytes()) {
                self.text.drain(..3);
            }
            if !matches!(&self.text[..], b"" | b"\n" | b"\r\n") {
                return Ok(Some(Record { line, fields: self.fields()? }));
            }
        }
    }

    /// Whether the last line read has an end, which files that were cut lack.
    pub(crate) fn ends_with_a_line(&self) -> bool {
        self.whole
    }

    fn fields(&mut self) -> Result<Vec<Vec<u8>>, Wrong> {
        let (mut fields, mut at) = (Vec::new(), 0);
        loop {
            let (field, end) = match self.text.get(at) {
                Some(b'"') => self.quoted(at + 1)?,
                _ => self.plain(at)?,
            };
            fields.push(field);
            match &self.text[end..] {
                b"" | b"\n" | b"\r" | b"\r\n" => return Ok(fields),
                [byte, ..] if *byte == self.separator => at = end + 1,
                [b'\r', ..] => return Err(self.wrong("found a CR within a line, unquoted")),
                _ => return Err(self.wrong("found text after a closing quote, expected a comma")),
            }
        }
    }

    /// The field that begins at `from`, and where it ends. A quote within it stands for itself.
    fn plain(&self, from: usize) -> Result<(Vec<u8>, usize), Wrong> {
        let rest = &self.text[from..];
        let ends = |byte: &u8| *byte == self.separator || matches!(byte, b'\r' | b'\n');
        let length = rest.iter().position(ends).unwrap_or(rest.len());
        if let Err(error) = std::str::from_utf8(&rest[..length]) {
            let byte = rest[error.valid_up_to()];
            let text = format!("found the byte 0x{byte:02x}, expected UTF-8, or quotes around it");
            return Err(self.wrong(&text));
        }
        Ok((rest[..length].to_vec(), from + length))
    }

    /// The field whose opening quote stands before `from`, and where its closing quote ends.
    fn quoted(&mut self, from: usize) -> Result<(Vec<u8>, usize), Wrong> {
        let opened = self.line;
        let (mut field, mut at) = (Vec::new(), from);
        loop {
            let rest = &self.text[at..];
            let Some(length) = rest.iter().position(|byte| *byte == b'"') else {
                field.extend_from_slice(rest);
                at = self.text.len();
                if !self.read_line()? {
                    return Err((opened, "found a quote that is never closed".into()));
                }
                continue;
            };
            field.extend_from_slice(&rest[..length]);
            at += length + 1;
            if self.text.get(at) != Some(&b'"') {
                return Ok((field, at));
            }
            field.push(b'"');
            at += 1;
        }
    }

    /// Appends the next line to the text; false at the end.
    fn read_line(&mut self) -> Result<bool, Wrong> {
        let room = (RECORD_BYTES_MAX - self.text.len()) as u64;
        let mut limited = (&mut self.from).take(room);
        let read = limited.read_until(b'\n', &mut self.text);
        self.line += 1;
        let read = read.map_err(|error| self.wrong(&error.to_string()))?;
        if read > 0 {
            self.whole = self.text.ends_with(b"\n");
        }
        if self.text.len() == RECORD_BYTES_MAX {
            return Err(self.wrong(&format!("found a record of {RECORD_BYTES_MAX} bytes or more")));
        }
        Ok(read > 0)
    }

    fn wrong(&self, text: &str) -> Wrong {
        (self.line, text.into())
    }
}

/// A field as it is written: in quotes where it holds what separates fields and records, where
/// readers would strip spaces, and where it is empty, holds NUL or isn't UTF-8.
pub fn field(bytes: &[u8]) -> Cow<'_, [u8]> {
    let special = |byte: &u8| matches!(byte, b',' | b'"' | b'\r' | b'\n' | 0);
    let plain = match std::str::from_utf8(bytes) {
        Ok(text) => !text.is_empty() && text.trim() == text && !bytes.iter().any(special),
        Err(_) => false,
    };
    if plain {
        return Cow::Borrowed(bytes);
    }
    let mut quoted = vec![b'"'];
    for byte in bytes {
        quoted.extend(std::iter::repeat_n(*byte, if *byte == b'"' { 2 } else { 1 }));
    }
    quoted.push(b'"');
    Cow::Owned(quoted)
}

/// What a field says, for people: short, in quotes, in one line.
pub(crate) fn shown(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 40;
    let short = &bytes[..bytes.len().min(SHOWN_MAX)];
    let more = if bytes.len() > SHOWN_MAX { "..." } else { "" };
    match std::str::from_utf8(bytes) {
        Ok(text) => format!("{:?}{more}", text.chars().take(SHOWN_MAX).collect::<String>()),
        Err(_) => format!("\"{}\"{more}", short.escape_ascii()),
    }
}
