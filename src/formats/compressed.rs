//! Files as they are, or compressed by gzip (RFC 1952) or zlib (RFC 1950): which, their first bytes
//! say and never their names. They are inflated as they are read, all their checksums checked.
//!
//! Streams are taken apart here, and a crate inflates what is within: its own readers take a zlib
//! stream that is cut short for one that has ended.

use std::io::{self, BufRead, BufReader, Cursor, ErrorKind, Read};

use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::first_bytes::{Kind, LOOKED_AT, kind_of};
use super::tfrecord::is_head;
use crate::error::{Error, Result};

/// Bytes of a gzip header without the fields that its flags announce.
const GZIP_HEAD: usize = 10;
/// Bytes of one such field at most; none has a length that must be believed.
const FIELD_MAX: u64 = 1 << 16;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Compression {
    Gzip,
    Zlib,
}

impl Compression {
    /// What begins with these bytes. Where text is meant, no zlib: its first two bytes may be text.
    pub(super) fn of(first: &[u8], text: bool) -> Option<Compression> {
        if first.starts_with(b"\x1f\x8b\x08") {
            return Some(Compression::Gzip);
        }
        let head = first.get(..8).filter(|_| !text)?;
        // Deflate, a window that it may have, no dictionary, and the check of both bytes.
        let known = head[0] & 0x0f == 8 && head[0] >> 4 <= 7 && head[1] & 0x20 == 0;
        let checks = (u16::from(head[0]) << 8 | u16::from(head[1])) % 31 == 0;
        // A record's length, whose checksum is wrong, has no such high bytes.
        (known && checks && head[4..] != [0; 4]).then_some(Compression::Zlib)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Compression::Gzip => "gzip",
            Compression::Zlib => "zlib",
        }
    }
}

/// A file and how it begins.
pub(super) struct Begun<'a> {
    pub(super) from: Box<dyn BufRead + 'a>,
    /// Up to `LOOKED_AT` bytes, as they lie in the file.
    pub(super) first: Vec<u8>,
}

/// Reads how a file begins; `from` gives that again.
pub(super) fn begin<'a>(mut from: impl BufRead + 'a) -> io::Result<Begun<'a>> {
    let mut first = Vec::with_capacity(LOOKED_AT);
    (&mut from).take(LOOKED_AT as u64).read_to_end(&mut first)?;
    let again = Cursor::new(first.clone()).chain(from);
    Ok(Begun { from: Box::new(again), first })
}

/// What `from` holds, inflated.
pub(super) fn inflate<'a>(
    from: impl BufRead + 'a,
    compression: Compression,
) -> Box<dyn BufRead + 'a> {
    let inflated = Inflated {
        from,
        compression,
        at: 0,
        state: State::Between,
        inflate: Decompress::new(compression == Compression::Zlib),
        crc: Crc::new(),
        members: 0,
    };
    Box::new(BufReader::with_capacity(1 << 16, inflated))
}

/// The text that `from` holds, inflated where gzip has compressed it.
///
/// # Errors
/// Exit 4 where it is something else that is known by its first bytes.
pub(super) fn text<'a>(name: &str, from: impl BufRead + 'a) -> Result<Box<dyn BufRead + 'a>> {
    let failed = |error: io::Error| Error::input(format!("{name}: {error}"));
    let mut begun = begin(from).map_err(failed)?;
    if let Some(compression) = Compression::of(&begun.first, true) {
        begun = begin(inflate(begun.from, compression)).map_err(failed)?;
    }
    match kind_of(&begun.first) {
        Some(Kind { name: found, hint }) => {
            Err(Error::input(format!("{name}: found {found}, expected text")).hint(hint))
        }
        None if is_head(&begun.first) => {
            let error = Error::input(format!("{name}: found a TFRecord, expected text"));
            Err(error.hint("`reelscale convert --from tfrecord` reads it"))
        }
        None => Ok(begun.from),
    }
}

enum State {
    /// Before a stream, or at the end of all.
    Between,
    Within,
}

struct Inflated<R> {
    from: R,
    compression: Compression,
    /// Bytes of the file that are read.
    at: u64,
    state: State,
    inflate: Decompress,
    /// Of what the stream has given so far.
    crc: Crc,
    /// Streams that are over.
    members: u64,
}

impl<R: BufRead> Read for Inflated<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        loop {
            if to.is_empty() {
                return Ok(0);
            }
            if let State::Between = self.state {
                if self.members > 0 && self.from.fill_buf()?.is_empty() {
                    return Ok(0);
                }
                self.head()?;
            }
            match self.inflated(to)? {
                0 => {}
                count => return Ok(count),
            }
        }
    }
}

impl<R: BufRead> Inflated<R> {
    /// Some of what the stream holds; nothing where it is over, or needs more input.
    fn inflated(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let input = self.from.fill_buf()?;
        if input.is_empty() {
            return Err(self.wrong("found its end within the stream: the file is cut"));
        }
        let before = (self.inflate.total_in(), self.inflate.total_out());
        let outcome = self.inflate.decompress(input, to, FlushDecompress::None);
        let consumed = (self.inflate.total_in() - before.0) as usize;
        let made = (self.inflate.total_out() - before.1) as usize;
        self.from.consume(consumed);
        self.at += consumed as u64;
        match outcome {
            Ok(Status::StreamEnd) => {
                self.crc.update(&to[..made]);
                self.tail()?;
            }
            Ok(_) if consumed + made > 0 => self.crc.update(&to[..made]),
            _ => return Err(self.wrong("found what isn't deflated: the file is damaged")),
        }
        Ok(made)
    }

    /// What stands before a stream. Of gzip several follow one another.
    fn head(&mut self) -> io::Result<()> {
        match (self.compression, self.members) {
            (Compression::Gzip, _) => self.gzip_head()?,
            (Compression::Zlib, 0) => {}
            (Compression::Zlib, _) => {
                return Err(self.wrong("found bytes after the end of its stream"));
            }
        }
        self.inflate.reset(self.compression == Compression::Zlib);
        self.crc.reset();
        self.state = State::Within;
        Ok(())
    }

    fn gzip_head(&mut self) -> io::Result<()> {
        let began = self.at;
        let mut head = [0; GZIP_HEAD];
        let count = self.some(&mut head)?;
        if !head[..count].starts_with(&b"\x1f\x8b\x08"[..count.min(3)]) || head[3] & 0xe0 != 0 {
            self.at = began;
            return Err(self.wrong(match self.members {
                0 => "found a header of another kind: the file is damaged",
                _ => "found bytes after the end of its stream",
            }));
        }
        if count < GZIP_HEAD {
            return Err(self.wrong("found its end within a header: the file is cut"));
        }
        let [checked, extra, name, comment] =
            [0x02, 0x04, 0x08, 0x10].map(|flag| head[3] & flag != 0);
        if extra {
            let length = self.bytes::<2>()?;
            for _ in 0..u16::from_le_bytes(length) {
                self.bytes::<1>()?;
            }
        }
        for _ in 0..usize::from(name) + usize::from(comment) {
            self.text()?;
        }
        if checked {
            self.bytes::<2>()?;
        }
        Ok(())
    }

    /// A text that ends with NUL.
    fn text(&mut self) -> io::Result<()> {
        for _ in 0..FIELD_MAX {
            if self.bytes::<1>()? == [0] {
                return Ok(());
            }
        }
        Err(self.wrong("found a header that doesn't end: the file is damaged"))
    }

    /// What stands after a stream: of gzip the checksum and length of what it held. That of zlib is
    /// part of what is inflated.
    fn tail(&mut self) -> io::Result<()> {
        if self.compression == Compression::Gzip {
            let tail = self.bytes::<8>()?;
            let (sum, length) = (&tail[..4], &tail[4..]);
            if sum != self.crc.sum().to_le_bytes() || length != self.crc.amount().to_le_bytes() {
                return Err(self.wrong("found a wrong checksum: the file is damaged"));
            }
        }
        self.members += 1;
        self.state = State::Between;
        Ok(())
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        match self.some(&mut bytes)? {
            count if count == N => Ok(bytes),
            _ => Err(self.wrong("found its end within the stream: the file is cut")),
        }
    }

    /// As many bytes as there are.
    fn some(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let count = fill(&mut self.from, to)?;
        self.at += count as u64;
        Ok(count)
    }

    fn wrong(&self, text: &str) -> io::Error {
        io::Error::other(format!(
            "{}: byte {} of the file: {text}",
            self.compression.name(),
            self.at
        ))
    }
}

/// Reads as many bytes as `to` takes, or as there are.
pub(super) fn fill(from: &mut dyn Read, to: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < to.len() {
        match from.read(&mut to[count..]) {
            Ok(0) => break,
            Ok(read) => count += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}
