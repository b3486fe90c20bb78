//! Which parts are written: a journal for each rank of each start, a line a part, written once the
//! part lasts. The file is called `sums-START-RANK`.
//!
//! ```text
//!   <sha256> <bytes> <name>
//! ```

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::disk::{Disk, DiskFile, folder_of};
use crate::error::{Error, Result};

const PREFIX: &str = "sums-";

/// What proves a part.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sum {
    pub(super) bytes: u64,
    /// SHA-256 in hex.
    pub(super) sha256: String,
}

/// The journal of one rank of one start.
pub(super) struct Journal {
    disk: Disk,
    path: PathBuf,
    /// Made once there is a line.
    file: Option<DiskFile>,
}

impl Journal {
    pub(super) fn new(disk: Disk, folder: &Path, (start, rank): (u32, usize)) -> Journal {
        Journal { disk, path: folder.join(format!("{PREFIX}{start:05}-{rank:05}")), file: None }
    }

    /// Says that a part lasts.
    ///
    /// # Errors
    /// Exit 5.
    pub(super) fn add(&mut self, name: &str, sum: &Sum) -> Result<()> {
        let failed = |error| Error::file(&self.path, &error);
        if self.file.is_none() {
            self.file = Some(self.disk.create(&self.path).map_err(failed)?);
            self.disk.sync_dir(folder_of(&self.path)).map_err(failed)?;
        }
        let file = self.file.as_mut().expect("made above");
        let line = format!("{} {} {name}\n", sum.sha256, sum.bytes);
        file.write_all(line.as_bytes()).and_then(|()| file.sync()).map_err(failed)?;
        self.disk.lasts(&self.path);
        Ok(())
    }
}

/// The start that a journal of this name is of.
pub(super) fn start_of(name: &OsString) -> Option<u32> {
    let numbers = name.to_str()?.strip_prefix(PREFIX)?;
    let (start, rank) = numbers.split_once('-')?;
    rank.parse::<u32>().ok()?;
    start.parse().ok()
}

/// What a journal says of parts: name and sum. A line that isn't whole says nothing.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (&str, Sum)> {
    let whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    whole.filter_map(|line| {
        let mut words = line.splitn(3, ' ');
        let (sha256, bytes, name) = (words.next()?, words.next()?, words.next()?);
        let is_hex = sha256.len() == 64 && sha256.bytes().all(|digit| digit.is_ascii_hexdigit());
        let bytes = bytes.parse().ok().filter(|_| is_hex)?;
        Some((name, Sum { bytes, sha256: sha256.into() }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_cut_says_nothing() {
        let sum = Sum { bytes: 12, sha256: "ab".repeat(32) };
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::new(Disk::default(), folder.path(), (3, 7));
        journal.add("a.csv", &sum).unwrap();
        journal.add("b.csv", &sum).unwrap();
        let text = std::fs::read_to_string(folder.path().join("sums-00003-00007")).unwrap();
        let names = |text: &str| lines(text).map(|line| line.0.to_string()).collect::<Vec<_>>();
        assert_eq!(names(&text), ["a.csv", "b.csv"]);
        assert_eq!(lines(&text).next().unwrap().1, sum);
        for end in 0..text.len() {
            assert_eq!(names(&text[..end]).len(), end / (text.len() / 2), "{end}");
        }
        assert_eq!(names("zz 12 a.csv\n\0\0\0\n"), [""; 0]);
        assert_eq!(start_of(&"sums-00003-00007".into()), Some(3));
        assert_eq!(start_of(&"sums-3".into()), None);
    }
}
