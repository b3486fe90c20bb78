//! TFRecord framing: u64 length, masked crc32c of the length, data, masked crc32c of the data, both
//! checked (docs/method.md, section 6). What the data mean is for `tf_example`.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::compressed::{self, Begun, Compression, fill, inflate};
use super::first_bytes::{LOOKED_AT, told};
use crate::error::{Error, Result};
use crate::progress::CallGuard;
use crate::stint::Counted;

/// Bytes of a length and its checksum.
const HEAD: usize = 12;
/// Bytes of a record in a compressed file at most: how long such a file is nobody knows before it
/// is read, so a length in it must not be believed.
const COMPRESSED_RECORD_MAX: u64 = 1 << 28;

/// Records of one file, in order.
pub struct Records<'a> {
    /// For messages.
    name: String,
    from: Box<dyn Read + 'a>,
    compression: Option<Compression>,
    /// Bytes that are left; `u64::MAX` where the file is compressed.
    left: u64,
    offset: u64,
    /// Number of the next record, from 0.
    record: u64,
    /// Whether the last error was of a record's data alone, behind which the next one begins.
    goes_on: bool,
    data: Vec<u8>,
}

/// TensorFlow's mask, so that checksums of data that hold checksums differ from them.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

impl<'a> Records<'a> {
    /// The records of `length` bytes `from` what messages call `name`.
    pub fn new(name: impl Into<String>, from: impl Read + 'a, length: u64) -> Records<'a> {
        let (name, from) = (name.into(), Box::new(from));
        let (compression, data) = (None, Vec::new());
        Records {
            name,
            from,
            compression,
            left: length,
            offset: 0,
            record: 0,
            goes_on: false,
            data,
        }
    }

    /// The same where gzip or zlib may have compressed them.
    ///
    /// # Errors
    /// Exit 4 where nothing can be read.
    pub fn of(
        name: impl Into<String>,
        from: impl BufRead + 'a,
        length: u64,
    ) -> Result<Records<'a>> {
        let name = name.into();
        let begun = compressed::begin(from);
        let Begun { from, first } = begun.map_err(|e| Error::input(format!("{name}: {e}")))?;
        // What begins with a record that is whole may have a length that looks like a stream.
        let compression = if is_head(&first) { None } else { Compression::of(&first, false) };
        Ok(match compression {
            None => Records::new(name, from, length),
            Some(found) => {
                let records = Records::new(name, inflate(from, found), u64::MAX);
                Records { compression, ..records }
            }
        })
    }

    /// # Errors
    /// Exit 4 where the file can't be opened.
    pub fn open(path: &Path) -> Result<Records<'static>> {
        let name = path.display().to_string();
        let failed = |error| Error::input(format!("{name}: {error}"));
        let _opening = CallGuard::on("opening", path);
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        Records::of(name.clone(), BufReader::with_capacity(1 << 18, Counted(file)), length)
    }

    /// Number of the record that `next` gives next.
    pub(crate) fn record(&self) -> u64 {
        self.record
    }

    /// Whether there is a next record behind the error that `next` has just given.
    pub(crate) fn goes_on(&self) -> bool {
        self.goes_on
    }

    /// The next record's data, `None` at the end.
    ///
    /// # Errors
    /// Exit 4 with record number and byte offset: what isn't a TFRecord, a wrong checksum, a cut
    /// record, a length beyond the end of the file. No memory is asked for on the word of a wrong
    /// length.
    // Not an Iterator: what it gives borrows from it.
    #[expect(clippy::should_implement_trait, reason = "a lending iterator")]
    pub fn next(&mut self) -> Result<Option<&[u8]>> {
        self.goes_on = false;
        let mut head = [0; HEAD];
        let count = self.read(&mut head, "length")?;
        if count == 0 {
            return Ok(None);
        }
        if count < HEAD || !is_head(&head) {
            return Err(self.no_head(&head[..count]));
        }
        let length = u64::from_le_bytes(head[..8].try_into().expect("eight bytes"));
        self.read_data(length)?;
        let mut crc = [0; 4];
        let count = self.read(&mut crc, "checksum")?;
        self.whole("checksum", count as u64, 4)?;
        let whole = masked(crc32c::crc32c(&self.data)) == u32::from_le_bytes(crc);
        let error = (!whole).then(|| self.wrong("data: found a wrong checksum"));
        self.record += 1;
        self.offset += 16 + length;
        self.goes_on = true;
        error.map_or(Ok(Some(&self.data)), Err)
    }

    fn read_data(&mut self, length: u64) -> Result<()> {
        if self.compression.is_some() {
            if length > COMPRESSED_RECORD_MAX {
                let expected = format!("at most {COMPRESSED_RECORD_MAX} in a compressed file");
                let text = format!("data: found a length of {length}, expected {expected}");
                return Err(self.wrong(&text).hint("inflate the file first if that is meant"));
            }
            // Memory grows with what comes, not with what is promised.
            self.data.clear();
            let outcome = (&mut self.from).take(length).read_to_end(&mut self.data);
            let count = outcome.map_err(|error| self.wrong(&format!("data: {error}")))?;
            return self.whole("data", count as u64, length);
        }
        if length.saturating_add(4) > self.left {
            let left = self.left;
            return Err(self.wrong(&format!(
                "data: found a length of {length}, {left} bytes are left: the file is cut"
            )));
        }
        let mut data = std::mem::take(&mut self.data);
        data.resize(length as usize, 0);
        let count = self.read(&mut data, "data")?;
        self.data = data;
        self.whole("data", count as u64, length)
    }

    /// Reads as many bytes as there are.
    fn read(&mut self, to: &mut [u8], field: &str) -> Result<usize> {
        let room = self.left.min(to.len() as u64) as usize;
        let outcome = fill(&mut self.from, &mut to[..room]);
        let count = outcome.map_err(|error| self.wrong(&format!("{field}: {error}")))?;
        if self.compression.is_none() {
            self.left -= count as u64;
        }
        Ok(count)
    }

    /// An error unless all of a field was there.
    fn whole(&self, field: &str, found: u64, expected: u64) -> Result<()> {
        if found == expected {
            return Ok(());
        }
        let text = format!("{field}: found {found} bytes, expected {expected}: the file is cut");
        Err(self.wrong(&text))
    }

    /// What stands where a length with its checksum should: as much as is known of it.
    fn no_head(&mut self, head: &[u8]) -> Error {
        if head.iter().all(|byte| *byte == 0) {
            return self.zeros(head.len()).unwrap_or_else(|error| error);
        }
        let mut first = vec![0; LOOKED_AT];
        first[..head.len()].copy_from_slice(head);
        let rest = match self.record {
            0 => self.read(&mut first[head.len()..], "length").unwrap_or(0),
            _ => 0,
        };
        first.truncate(head.len() + rest);
        match told(&first).filter(|_| self.record == 0) {
            Some((found, hint)) => {
                self.wrong(&format!("found {found}, expected TFRecord")).hint(hint)
            }
            None if head.len() < HEAD => {
                let text = format!("length: found {} bytes, expected {HEAD}", head.len());
                self.wrong(&format!("{text}: the file is cut"))
            }
            None => self.wrong("length: found a wrong checksum"),
        }
    }

    /// What to say of zeros in the place of a length, of which `found` are read.
    fn zeros(&mut self, found: usize) -> Result<Error> {
        let (mut zeros, mut bytes) = (found as u64, vec![0; 1 << 16]);
        loop {
            let count = self.read(&mut bytes, "length")?;
            if bytes[..count].iter().any(|byte| *byte != 0) {
                return Ok(self.wrong("length: found zero bytes, and others behind them"));
            }
            if count == 0 {
                break;
            }
            zeros += count as u64;
        }
        let after = match self.record.checked_sub(1) {
            Some(last) => format!("after record {last}"),
            None => "and nothing else".into(),
        };
        let error = self.wrong(&format!(
            "found {zeros} zero bytes {after}, expected a record or the end of the file"
        ));
        Ok(match (self.record, self.compression) {
            (0, _) => error.hint("the file was never filled: fetch or write it again"),
            (_, None) => {
                let offset = self.offset;
                error.hint(format!("if no record is lost, truncate -s {offset} {}", self.name))
            }
            _ => error,
        })
    }

    fn wrong(&self, text: &str) -> Error {
        let (name, record, offset) = (&self.name, self.record, self.offset);
        let inner = self
            .compression
            .map_or(String::new(), |found| format!(" of what its {} stream holds", found.name()));
        Error::input(format!("{name}: record {record} at byte {offset}{inner}: {text}"))
    }
}

/// Whether these bytes begin with a length and its checksum.
pub(super) fn is_head(bytes: &[u8]) -> bool {
    bytes.get(..HEAD).is_some_and(|head| {
        let crc = u32::from_le_bytes(head[8..].try_into().expect("four bytes"));
        masked(crc32c::crc32c(&head[..8])) == crc
    })
}

/// Frames one record, as tests need it.
pub fn framed(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = length.to_vec();
    record.extend(masked(crc32c::crc32c(&length)).to_le_bytes());
    record.extend(data);
    record.extend(masked(crc32c::crc32c(data)).to_le_bytes());
    record
}
