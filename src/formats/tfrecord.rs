//! TFRecord framing: u64 length, masked crc32c of the length, data, masked crc32c of the data, both
//! checked (docs/method.md, section 6). What the data mean is for `tf_example`.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use crate::error::{Error, Result};
use crate::progress::CallGuard;

/// Records of one file, in order.
pub struct Records<'a> {
    /// For messages.
    name: String,
    from: Box<dyn Read + 'a>,
    /// Bytes that are left.
    left: u64,
    offset: u64,
    /// Number of the next record, from 0.
    record: u64,
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
        Records { name, from, left: length, offset: 0, record: 0, data: Vec::new() }
    }

    /// # Errors
    /// Exit 4 where the file can't be opened.
    pub fn open(path: &Path) -> Result<Records<'static>> {
        let name = path.display().to_string();
        let failed = |error| Error::input(format!("{name}: {error}"));
        let _opening = CallGuard::on("opening", path);
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        Ok(Records::new(name, BufReader::with_capacity(1 << 18, file), length))
    }

    /// Number of the record that `next` gives next.
    pub(crate) fn record(&self) -> u64 {
        self.record
    }

    /// The next record's data, `None` at the end.
    ///
    /// # Errors
    /// Exit 4 with record number and byte offset: a wrong checksum, a cut record, a length beyond
    /// the end of the file. No memory is asked for on the word of a wrong length.
    // Not an Iterator: what it gives borrows from it.
    #[expect(clippy::should_implement_trait, reason = "a lending iterator")]
    pub fn next(&mut self) -> Result<Option<&[u8]>> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut head = [0; 12];
        self.read(&mut head, "length")?;
        let length = u64::from_le_bytes(head[..8].try_into().expect("eight bytes"));
        let crc = u32::from_le_bytes(head[8..].try_into().expect("four bytes"));
        if masked(crc32c::crc32c(&head[..8])) != crc {
            return Err(self.wrong("length: found a wrong checksum"));
        }
        if length.saturating_add(4) > self.left {
            let left = self.left;
            return Err(self.wrong(&format!(
                "data: found a length of {length}, {left} bytes are left: the file is cut"
            )));
        }
        let mut data = std::mem::take(&mut self.data);
        data.resize(length as usize, 0);
        self.read(&mut data, "data")?;
        let mut crc = [0; 4];
        self.read(&mut crc, "checksum")?;
        self.data = data;
        if masked(crc32c::crc32c(&self.data)) != u32::from_le_bytes(crc) {
            return Err(self.wrong("data: found a wrong checksum"));
        }
        self.record += 1;
        self.offset += 16 + length;
        Ok(Some(&self.data))
    }

    fn read(&mut self, to: &mut [u8], field: &str) -> Result<()> {
        if (to.len() as u64) > self.left {
            let (left, wanted) = (self.left, to.len());
            return Err(self.wrong(&format!(
                "{field}: found {left} bytes, expected {wanted}: the file is cut"
            )));
        }
        let outcome = self.from.read_exact(to);
        outcome.map_err(|error| self.wrong(&format!("{field}: {error}")))?;
        self.left -= to.len() as u64;
        Ok(())
    }

    fn wrong(&self, text: &str) -> Error {
        let (name, record, offset) = (&self.name, self.record, self.offset);
        Error::input(format!("{name}: record {record} at byte {offset}: {text}"))
    }
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
