//! Small files of text, which people or this program have written: read whole, but never more of
//! them than such a file has, and never from something that could wait or has no end.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};

/// The text of the file `path`, which has at most `bytes_max` bytes.
///
/// # Errors
/// What the file system gives; it is no regular file, longer, or not UTF-8.
pub(crate) fn read_text(path: &Path, bytes_max: u64) -> io::Result<String> {
    // Not waiting: a pipe would wait for a writer, and for ever.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mut file = File::from(open(path, flags, Mode::empty())?);
    let found = file.metadata()?;
    let refused = |text: String| Err(io::Error::other(text));
    if found.is_dir() {
        return refused("found a folder, expected a file".into());
    }
    if !found.is_file() {
        return refused("found a pipe, device or socket, expected a file".into());
    }
    let mut bytes = Vec::new();
    // Not what it says that it has: it may be growing, or be one of those whose length is 0.
    (&mut file).take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        let found = found.len().max(bytes_max + 1);
        return refused(format!("found {found} bytes, expected at most {bytes_max}"));
    }
    let text = String::from_utf8(bytes);
    text.or_else(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        refused(format!("line {line}: found what isn't text in UTF-8"))
    })
}
