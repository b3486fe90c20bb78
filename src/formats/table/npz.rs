//! Members of an npz, a zip file of arrays: each is read by a handle of its own, since rows of all
//! are wanted at once. The crate knows the directory; bytes are inflated and proven here.

use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek, SeekFrom};
use std::path::Path;

use flate2::Crc;
use flate2::bufread::DeflateDecoder;
use zip::{CompressionMethod, ZipArchive};

use super::arrays::Source;
use crate::formats::wire::Read;

/// What a zip file begins with, one without members too.
const SIGNATURES: [&[u8]; 2] = [b"PK\x03\x04", b"PK\x05\x06"];

/// Where an array's bytes lie.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Member {
    pub(super) name: String,
    start: u64,
    stored: u64,
    bytes: u64,
    deflated: bool,
    crc: u32,
}

/// The arrays of an npz in the order of their names; `None` where the file is no zip.
pub(super) fn members(path: &Path) -> Read<Option<Vec<Member>>> {
    let mut file = File::open(path).map_err(|error| error.to_string())?;
    let mut head = Vec::new();
    (&mut file).take(4).read_to_end(&mut head).map_err(|error| error.to_string())?;
    if !SIGNATURES.contains(&&head[..]) {
        return Ok(None);
    }
    let failed = |error| format!("found a damaged npz ({error})");
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(failed)?;
    let mut members = Vec::new();
    for index in 0..archive.len() {
        let member = archive.by_index_raw(index).map_err(failed)?;
        let name = member.name().map_err(failed)?.into_owned();
        let Some(name) = name.strip_suffix(".npy") else {
            return Err(format!("found {name:?} in it, expected arrays (.npy) alone"));
        };
        let deflated = match member.compression() {
            CompressionMethod::Stored => false,
            CompressionMethod::Deflated => true,
            other => return Err(format!("{name}: found the compression {other}")),
        };
        if member.encrypted() {
            return Err(format!("{name}: found a member with a password"));
        }
        let start = member.data_start().ok_or_else(|| format!("{name}: found no data"))?;
        let (stored, bytes, crc) = (member.compressed_size(), member.size(), member.crc32());
        members.push(Member { name: name.into(), start, stored, bytes, deflated, crc });
    }
    members.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = members.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(format!("found the array {:?} twice", pair[0].name));
    }
    Ok(Some(members))
}

impl Member {
    pub(super) fn open(&self, path: &Path) -> Read<Box<dyn Source>> {
        let open = || -> io::Result<_> {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(self.start))?;
            Ok(BufReader::with_capacity(1 << 18, file).take(self.stored))
        };
        let raw = open().map_err(|error| error.to_string())?;
        let from: Box<dyn io::Read> = match self.deflated {
            true => Box::new(DeflateDecoder::new(raw)),
            false => Box::new(raw),
        };
        Ok(Box::new(Proven { from, left: self.bytes, crc: Crc::new(), expected: self.crc }))
    }
}

/// A member's bytes, and their sum so far.
struct Proven {
    from: Box<dyn io::Read>,
    left: u64,
    crc: Crc,
    expected: u32,
}

impl Source for Proven {
    fn fill(&mut self, to: &mut [u8]) -> Read<()> {
        let left = self.left.checked_sub(to.len() as u64);
        self.left = left.ok_or("the array is cut")?;
        self.from.read_exact(to).map_err(|error| format!("found damaged bytes ({error})"))?;
        self.crc.update(to);
        Ok(())
    }

    fn skip(&mut self, _: u64) -> Read<bool> {
        Ok(false)
    }

    fn end(&mut self) -> Read<()> {
        if self.left > 0 {
            return Err("found bytes behind the last row".into());
        }
        match self.crc.sum() == self.expected {
            true => Ok(()),
            false => Err("found a wrong checksum: the file is damaged".into()),
        }
    }
}
