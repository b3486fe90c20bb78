//! Reads where an HDF5 file ends from its superblock, without HDF5.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes that can be read from any place.
pub trait ReadAt {
    /// # Errors
    /// What the file system gives; `UnexpectedEof` where there are fewer bytes.
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(bytes, at)
    }
}

impl ReadAt for [u8] {
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        let from = usize::try_from(at).ok().and_then(|at| self.get(at..));
        let found = from.and_then(|rest| rest.get(..bytes.len()));
        bytes.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Why bytes are no whole shard.
#[derive(Debug)]
pub enum Fault {
    Io(io::Error),
    Wrong {
        text: String,
        /// What to try, or empty.
        hint: &'static str,
    },
}

impl Fault {
    pub(crate) fn wrong(text: impl Into<String>) -> Fault {
        Fault::Wrong { text: text.into(), hint: "" }
    }

    pub(crate) fn hint(self, hint: &'static str) -> Fault {
        match self {
            Fault::Wrong { text, .. } => Fault::Wrong { text, hint },
            io => io,
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::Io(error)
    }
}

const SIGNATURE: [u8; 8] = *b"\x89HDF\r\n\x1a\n";
/// Bytes of a superblock that are looked at: all before its end in version 1.
const LENGTH: usize = 52;
/// Within a superblock's version 2 or 3: set while the file is open for writing.
const OPEN: u8 = 1;

/// The byte at which HDF5 says that the `size` bytes of `file` end.
///
/// # Errors
/// What isn't an HDF5 file as HDF5 writes it by itself, wasn't closed, or can't be read.
pub fn end(file: &(impl ReadAt + ?Sized), size: u64) -> Result<u64, Fault> {
    let mut block = [0; LENGTH];
    let long = size >= LENGTH as u64;
    if long {
        file.read_at(&mut block, 0)?;
    }
    if !long || block[..8] != SIGNATURE {
        return Err(no_signature(file, size)?);
    }
    // Version, then where the size of offsets, the base and the end stand, and the flags.
    let (offset_size, base, end, flags) = match block[8] {
        0 => (block[13], 24, 40, 0),
        1 => (block[13], 28, 44, 0),
        2 | 3 => (block[9], 12, 28, block[11]),
        version => {
            return Err(Fault::wrong(format!("found version {version} of HDF5's superblock")));
        }
    };
    if offset_size != 8 {
        let text = format!("found HDF5 offsets of {offset_size} bytes, expected 8");
        return Err(Fault::wrong(text));
    }
    let number = |at: usize| u64::from_le_bytes(block[at..at + 8].try_into().expect("8 bytes"));
    if number(base) != 0 {
        return Err(Fault::wrong("found HDF5 offsets that don't begin at the file's first byte"));
    }
    let fault = match number(end) {
        end if end > size => format!("found {size} bytes, expected {end}: cut or not closed"),
        _ if flags & OPEN != 0 => "found a file that was not closed".into(),
        end => return Ok(end),
    };
    Err(Fault::wrong(fault).hint("its writer was stopped; write the shard anew"))
}

/// What is said of a file that doesn't begin as HDF5. Its signature may also stand at 512 bytes,
/// 1,024, ...: behind a block of the user's.
fn no_signature(file: &(impl ReadAt + ?Sized), size: u64) -> Result<Fault, Fault> {
    let places = std::iter::successors(Some(512u64), |at| at.checked_mul(2));
    for at in places.take_while(|at| at.checked_add(8).is_some_and(|end| end <= size)) {
        let mut found = [0; 8];
        file.read_at(&mut found, at)?;
        if found == SIGNATURE {
            let text =
                format!("found an HDF5 file behind a user block of {at} bytes (MATLAB 7.3?)");
            return Ok(Fault::wrong(text).hint("h5unjam -i FILE -o OTHER takes it away"));
        }
    }
    Ok(Fault::wrong(format!("found {size} bytes that aren't an HDF5 file")))
}
