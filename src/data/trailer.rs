//! The proof at the end of a shard: where its chunks stand, and digests of all its bytes.
//!
//! hdf5-data/README.md documents the bytes. Nothing here knows HDF5's library or a path.

use std::io;
use std::ops::Range;

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::superblock::{self, Fault, ReadAt};

/// The last bytes of a shard.
pub const MAGIC: [u8; 8] = *b"reelseal";
/// The version of the format that has a trailer.
pub(crate) const VERSION: u32 = 2;
/// Bytes of an entry of the table.
const ENTRY: usize = 32;
/// Bytes of the footer, and those of them that come before their digest.
const FOOTER: usize = 80;
const BEFORE_DIGEST: usize = 56;
/// Bytes that are read at once.
const AT_ONCE: usize = 1 << 16;

/// XXH3-128.
pub(crate) type Digest = u128;

/// The digest of `bytes`.
pub fn digest(bytes: &[u8]) -> Digest {
    xxh3_128(bytes)
}

/// The stored bytes of a chunk, its checksum included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    pub at: u64,
    pub bytes: u64,
    pub digest: Digest,
}

/// A proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// Bytes of the HDF5 file, H.
    pub hdf5_bytes: u64,
    /// In the order of datasets, and of rows in each.
    pub chunks: Vec<Chunk>,
    /// Of the HDF5 file without its chunks.
    pub(crate) outside: Digest,
    /// Of what the rows are, however they are stored (`Content`).
    pub content: Digest,
}

impl Trailer {
    /// A proof of `file`, a closed HDF5 file of `hdf5_bytes` bytes with these chunks.
    ///
    /// # Errors
    /// What reading gives.
    ///
    /// # Panics
    /// Where chunks overlap or lie beyond the file.
    pub fn new(
        file: &(impl ReadAt + ?Sized),
        hdf5_bytes: u64,
        chunks: Vec<Chunk>,
        content: Digest,
    ) -> io::Result<Trailer> {
        let gaps = gaps(&chunks, hdf5_bytes).expect("chunks that don't overlap");
        Ok(Trailer { hdf5_bytes, outside: digest_of(file, &gaps)?, chunks, content })
    }

    /// The bytes that are appended to the HDF5 file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.chunks.len() * ENTRY + FOOTER);
        for chunk in &self.chunks {
            bytes.extend(chunk.at.to_le_bytes());
            bytes.extend(chunk.bytes.to_le_bytes());
            bytes.extend(chunk.digest.to_be_bytes());
        }
        bytes.extend(self.hdf5_bytes.to_le_bytes());
        bytes.extend((self.chunks.len() as u64).to_le_bytes());
        bytes.extend(self.outside.to_be_bytes());
        bytes.extend(self.content.to_be_bytes());
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(0u32.to_le_bytes());
        bytes.extend(digest(&bytes).to_be_bytes());
        bytes.extend(MAGIC);
        bytes
    }

    /// The digest of the proof itself, and so of every byte of the shard.
    pub(crate) fn digest(&self) -> Digest {
        let bytes = self.to_bytes();
        digest(&bytes[..bytes.len() - FOOTER + BEFORE_DIGEST])
    }

    /// The proof at the end of the `size` bytes of `file`, or None where the file ends where HDF5
    /// says: then it has none. What is proven by it isn't looked at yet.
    ///
    /// # Errors
    /// Bytes behind HDF5's end that aren't a whole proof; no HDF5 file; what reading gives.
    pub fn read(file: &(impl ReadAt + ?Sized), size: u64) -> Result<Option<Trailer>, Fault> {
        let end = superblock::end(file, size)?;
        if size == end {
            return Ok(None);
        }
        let damaged = |text: &str| {
            let text = format!("found {} bytes behind HDF5's end, {text}", size - end);
            Fault::wrong(text).hint("the file is damaged; write the shard anew")
        };
        let length = usize::try_from(size - end).unwrap_or(0);
        if length < FOOTER || !(length - FOOTER).is_multiple_of(ENTRY) {
            return Err(damaged("which are no whole proof"));
        }
        // As many bytes as the file has.
        let mut bytes = vec![0; length];
        file.read_at(&mut bytes, end)?;
        let (table, footer) = bytes.split_at(length - FOOTER);
        if footer[FOOTER - MAGIC.len()..] != MAGIC {
            return Err(damaged("whose last 8 aren't \"reelseal\""));
        }
        let proven = length - FOOTER + BEFORE_DIGEST;
        if digest(&bytes[..proven]).to_be_bytes() != footer[BEFORE_DIGEST..][..16] {
            return Err(damaged("a proof with a wrong digest of itself"));
        }
        let [version, flags] = [48, 52].map(|at| number(footer, at, 4));
        if version != u64::from(VERSION) || flags != 0 {
            let text = format!("found version {version} of a shard's proof, expected {VERSION}");
            return Err(Fault::wrong(text).hint("a newer reelscale wrote this shard"));
        }
        let chunk = |entry: &[u8]| Chunk {
            at: number(entry, 0, 8),
            bytes: number(entry, 8, 8),
            digest: digest_at(entry, 16),
        };
        let trailer = Trailer {
            hdf5_bytes: number(footer, 0, 8),
            chunks: table.chunks_exact(ENTRY).map(chunk).collect(),
            outside: digest_at(footer, 16),
            content: digest_at(footer, 32),
        };
        let fits = trailer.hdf5_bytes == end
            && number(footer, 8, 8) == trailer.chunks.len() as u64
            && gaps(&trailer.chunks, end).is_some();
        if fits { Ok(Some(trailer)) } else { Err(damaged("a proof of another file")) }
    }

    /// Checks all bytes of the HDF5 file that aren't in chunks.
    ///
    /// # Errors
    /// A byte that isn't as it was written; what reading gives.
    pub fn check_outside(&self, file: &(impl ReadAt + ?Sized)) -> Result<(), Fault> {
        let gaps = gaps(&self.chunks, self.hdf5_bytes).expect("looked at when it was read");
        if digest_of(file, &gaps)? == self.outside {
            return Ok(());
        }
        let text = "found a wrong digest of the bytes that aren't rows";
        Err(Fault::wrong(text).hint("the file is damaged; write the shard anew"))
    }
}

/// A little-endian number of `length` bytes.
fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    let mut number = [0; 8];
    number[..length].copy_from_slice(&bytes[at..at + length]);
    u64::from_le_bytes(number)
}

fn digest_at(bytes: &[u8], at: usize) -> Digest {
    Digest::from_be_bytes(bytes[at..at + 16].try_into().expect("16 bytes"))
}

/// What of 0..`end` is in no chunk, in order; None where chunks overlap or aren't within it.
fn gaps(chunks: &[Chunk], end: u64) -> Option<Vec<Range<u64>>> {
    let mut places = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        places.push(chunk.at..chunk.at.checked_add(chunk.bytes)?);
    }
    places.sort_by_key(|place| place.start);
    let (mut gaps, mut from) = (Vec::new(), 0);
    for place in places.into_iter().chain(std::iter::once(end..end)) {
        if place.start < from || place.end > end {
            return None;
        }
        if place.start > from {
            gaps.push(from..place.start);
        }
        from = place.end;
    }
    Some(gaps)
}

/// The digest of the bytes of `ranges`, one after the other.
fn digest_of(file: &(impl ReadAt + ?Sized), ranges: &[Range<u64>]) -> io::Result<Digest> {
    let (mut digest, mut buffer) = (Xxh3::new(), vec![0; AT_ONCE]);
    for range in ranges {
        let mut at = range.start;
        while at < range.end {
            let length = (range.end - at).min(AT_ONCE as u64);
            let bytes = &mut buffer[..length as usize];
            file.read_at(bytes, at)?;
            digest.update(bytes);
            at += length;
        }
    }
    Ok(digest.digest128())
}

#[cfg(test)]
mod tests;
