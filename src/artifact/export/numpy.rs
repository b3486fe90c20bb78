//! numpy's `.npz`: a zip file of `.npy` files that aren't compressed. Sizes and places are always
//! those of zip64, as numpy itself writes them, so that nothing changes where a file grows.

use std::path::Path;

use super::file::{NewFile, Region};
use super::source::Source;
use super::tensors::{Tensor, fill, tensors};
use crate::disk::Disk;
use crate::error::Result;

/// Version of zip that knows zip64.
const ZIP: u16 = 45;
/// 1 January 1980, so that equal models give equal bytes.
const DATE: u16 = 1 << 5 | 1;
/// In the place of a number that stands elsewhere, with 8 bytes.
const ELSEWHERE: u32 = u32::MAX;
/// What of a `.npy` file precedes its numbers is a multiple of this.
const NPY: usize = 64;

/// A file within the archive.
struct Member {
    name: String,
    /// Where its own header begins.
    at: u64,
    /// What precedes its numbers.
    head: Vec<u8>,
    bytes: u64,
    crc: u32,
}

impl Member {
    fn new(name: &str, at: u64, head: Vec<u8>, numbers: u64) -> Member {
        let bytes = head.len() as u64 + numbers;
        Member { name: format!("{name}.npy"), at, head, bytes, crc: 0 }
    }

    /// Where its bytes begin.
    fn data(&self) -> u64 {
        self.at + (LOCAL + self.name.len()) as u64
    }

    fn end(&self) -> u64 {
        self.data() + self.bytes
    }

    /// What all headers say of it.
    fn described(&self, extra: u16) -> Vec<u8> {
        let mut to = Vec::new();
        // No flags, stored, at midnight.
        [ZIP, 0, 0, 0, DATE].iter().for_each(|number| to.extend(number.to_le_bytes()));
        [self.crc, ELSEWHERE, ELSEWHERE].iter().for_each(|number| to.extend(number.to_le_bytes()));
        [self.name.len() as u16, extra].iter().for_each(|number| to.extend(number.to_le_bytes()));
        to
    }

    /// The numbers of zip64: the size twice, since nothing is compressed, and `more`.
    fn extra(&self, more: &[u64]) -> Vec<u8> {
        let numbers: Vec<u64> = [self.bytes, self.bytes].iter().chain(more).copied().collect();
        let mut to = 1u16.to_le_bytes().to_vec();
        to.extend((8 * numbers.len() as u16).to_le_bytes());
        numbers.iter().for_each(|number| to.extend(number.to_le_bytes()));
        to
    }

    fn local_header(&self) -> Vec<u8> {
        let extra = self.extra(&[]);
        let parts = [
            b"PK\x03\x04".to_vec(),
            self.described(extra.len() as u16),
            self.name.clone().into_bytes(),
            extra,
        ];
        parts.concat()
    }

    /// Its entry in the directory at the end.
    fn entry(&self) -> Vec<u8> {
        let extra = self.extra(&[self.at]);
        let parts = [
            b"PK\x01\x02".to_vec(),
            ZIP.to_le_bytes().to_vec(),
            self.described(extra.len() as u16),
            // No comment, first volume, no attributes.
            vec![0; 10],
            ELSEWHERE.to_le_bytes().to_vec(),
            self.name.clone().into_bytes(),
            extra,
        ];
        parts.concat()
    }
}

/// Bytes of a member's own header without its name.
const LOCAL: usize = 50;

/// What precedes an array's numbers.
fn npy(kind: &str, shape: &[usize]) -> Vec<u8> {
    let sides: String = shape.iter().map(|side| format!("{side},")).collect();
    let text = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({sides}), }}");
    // Magic, version and the length of the text are 10 bytes, the line's end is one.
    let padded = (10 + text.len() + 1).next_multiple_of(NPY) - 11;
    let mut head = b"\x93NUMPY\x01\x00".to_vec();
    head.extend((padded as u16 + 1).to_le_bytes());
    head.extend(format!("{text:padded$}\n").into_bytes());
    head
}

/// The directory of the archive, which begins at the byte `at`, and what comes behind it.
fn directory(members: &[Member], at: u64) -> Vec<u8> {
    let mut to: Vec<u8> = members.iter().flat_map(Member::entry).collect();
    let (bytes, count) = (to.len() as u64, members.len() as u64);
    to.extend(b"PK\x06\x06");
    to.extend(44u64.to_le_bytes());
    [ZIP, ZIP, 0, 0, 0, 0].iter().for_each(|number| to.extend(number.to_le_bytes()));
    [count, count, bytes, at].iter().for_each(|number| to.extend(number.to_le_bytes()));
    to.extend(b"PK\x06\x07");
    to.extend(0u32.to_le_bytes());
    to.extend((at + bytes).to_le_bytes());
    to.extend(1u32.to_le_bytes());
    to.extend(b"PK\x05\x06");
    [0, 0, u16::MAX, u16::MAX].iter().for_each(|number| to.extend(number.to_le_bytes()));
    [ELSEWHERE, ELSEWHERE].iter().for_each(|number| to.extend(number.to_le_bytes()));
    to.extend(0u16.to_le_bytes());
    to
}

/// Writes the model to the file `path`; returns its length.
///
/// # Errors
/// What the source gives; exit 5: the file system refuses.
pub(super) fn write(disk: &Disk, source: &Source, path: &Path) -> Result<u64> {
    let tensors = tensors(source);
    let described = source.described();
    let (mut members, mut end) = (Vec::<Member>::new(), 0);
    let mut add = |name: &str, head: Vec<u8>, numbers: u64| {
        members.push(Member::new(name, end, head, numbers));
        end = members[members.len() - 1].end();
    };
    for (name, text) in &described {
        add(name, npy(&format!("|S{}", text.len()), &[]), text.len() as u64);
    }
    for tensor in &tensors {
        let kind = if tensor.is_whole_numbers() { "<i8" } else { "<f4" };
        add(&tensor.name, npy(kind, &tensor.shape), tensor.bytes());
    }
    let whole = end + directory(&members, end).len() as u64;
    let file = NewFile::create(disk, path, whole)?;
    fill_members(source, &file, (&described, &tensors), &mut members)?;
    file.put(&directory(&members, end), end)?;
    file.put_in_place()?;
    Ok(whole)
}

/// Fills all members, texts before tensors, and notes their checksums.
fn fill_members(
    source: &Source,
    file: &NewFile,
    (texts, tensors): (&[(&str, String)], &[Tensor]),
    members: &mut [Member],
) -> Result<()> {
    let mut regions = Vec::new();
    for member in &*members {
        let mut region = Region::new(member.data(), member.bytes).summed(crc32fast::Hasher::new());
        region.push(file, &member.head)?;
        regions.push(region);
    }
    for ((_, text), region) in texts.iter().zip(&mut regions) {
        region.push(file, text.as_bytes())?;
    }
    fill(source, file, tensors, &mut regions[texts.len()..])?;
    for (member, region) in members.iter_mut().zip(regions) {
        member.crc = region.checksum();
        file.put(&member.local_header(), member.at)?;
    }
    Ok(())
}
