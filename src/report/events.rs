//! `metrics.jsonl`: one line an event. Kept whole in memory too (some hundred bytes an event), so
//! that what a full disk has torn, or somebody has removed, is made whole later.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{Disk, DiskFile, identity, read, there};

/// The events of a run and the file that holds them.
pub struct Events {
    disk: Disk,
    path: PathBuf,
    /// None before anything is written.
    file: Option<DiskFile>,
    text: Vec<u8>,
    /// Bytes of `text` that the file has, as far as is known.
    written: usize,
    /// Whether the last write has failed, and a warning was printed.
    failed: bool,
}

impl Events {
    /// Events for the file `path`. Nothing is touched before the first one.
    pub fn new(disk: Disk, path: &Path) -> Events {
        let path = path.to_path_buf();
        Events { disk, path, file: None, text: Vec::new(), written: 0, failed: false }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// All lines so far.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Begins anew with `text`, whatever stood in the file.
    ///
    /// # Errors
    /// What the file system gives.
    pub(crate) fn begin(&mut self, text: &[u8]) -> io::Result<()> {
        self.text = text.to_vec();
        self.write_anew()
    }

    /// Adds a line, as `push_bytes` does.
    pub(crate) fn push(&mut self, line: &str) {
        self.push_bytes(format!("{line}\n").as_bytes());
    }

    /// Adds bytes. What can't be written gives one warning and is written later: with the next
    /// bytes, or by `make_whole`.
    pub(crate) fn push_bytes(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(bytes);
        let outcome = self.write_rest();
        if let (Err(error), false) = (&outcome, self.failed) {
            let path = self.path.display();
            log::warn!("{path}: {error}; the lines are kept and written when that is possible");
        }
        self.failed = outcome.is_err();
    }

    /// Makes the file hold all lines, exactly, and last.
    ///
    /// # Errors
    /// What the file system gives; then the file may lack lines.
    pub(crate) fn make_whole(&mut self) -> io::Result<()> {
        let outcome = self.try_make_whole();
        self.failed = outcome.is_err();
        outcome
    }

    fn try_make_whole(&mut self) -> io::Result<()> {
        if !self.is_in_place()? {
            return self.write_anew();
        }
        self.write_rest()?;
        // Somebody may have written to it, or cut it.
        if read(&self.path)? != self.text {
            return self.write_anew();
        }
        let synced = self.file.as_ref().map_or(Ok(()), |file| file.sync());
        if synced.is_err() {
            // The system may have forgotten what it could not write: the next sync would succeed
            // and prove nothing.
            (self.file, self.written) = (None, 0);
        }
        synced
    }

    /// Whether the file that is open is the one that has the name.
    fn is_in_place(&self) -> io::Result<bool> {
        let (Some(file), Some(found)) = (&self.file, there(&self.path)?) else { return Ok(false) };
        let open = file.file().metadata()?;
        Ok(identity(&open) == identity(&found))
    }

    /// What a failed write has left half is overwritten.
    fn write_rest(&mut self) -> io::Result<()> {
        let Some(file) = &self.file else { return self.write_anew() };
        if self.written == self.text.len() {
            // A full disk refuses to write nothing, too, and no sync would follow.
            return Ok(());
        }
        file.write_all_at(&self.text[self.written..], self.written as u64)?;
        self.written = self.text.len();
        Ok(())
    }

    fn write_anew(&mut self) -> io::Result<()> {
        (self.file, self.written) = (None, 0);
        self.disk.write_atomic(&self.path, |to| to.write_all(&self.text))?;
        self.file = Some(self.disk.open_existing(&self.path)?);
        self.written = self.text.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::disk::FaultKind;

    /// Every call fails once, in each of which a line would be lost or torn.
    #[test]
    fn a_write_that_fails_is_made_whole_by_the_next_or_at_the_end() {
        for calls in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("metrics.jsonl");
            let disk = Disk::failing_after(calls, FaultKind::Once);
            let mut events = Events::new(disk.clone(), &path);
            let mut expected = String::new();
            for number in 0..4 {
                let failed_before = disk.has_failed();
                events.push(&format!("{{\"number\":{number}}}"));
                expected += &format!("{{\"number\":{number}}}\n");
                if failed_before == disk.has_failed() {
                    assert_eq!(fs::read_to_string(&path).unwrap(), expected, "call {calls}");
                }
            }
            let whole = events.make_whole().or_else(|_| events.make_whole());
            whole.unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), expected, "call {calls}");
            if !disk.has_failed() {
                assert!(calls > 8, "{calls} calls");
                return;
            }
        }
    }

    #[test]
    fn what_others_do_to_the_file_is_made_good() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        fs::write(&path, "an earlier start\nhalf a li").unwrap();
        let mut events = Events::new(Disk::default(), &path);
        events.begin(b"one\n").unwrap();
        let whole = |events: &mut Events, expected: &str| {
            events.make_whole().unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        };
        fs::remove_file(&path).unwrap();
        events.push("two");
        whole(&mut events, "one\ntwo\n");
        fs::write(&path, "").unwrap();
        events.push("three");
        whole(&mut events, "one\ntwo\nthree\n");
        fs::write(folder.path().join("other"), "another").unwrap();
        fs::rename(folder.path().join("other"), &path).unwrap();
        whole(&mut events, "one\ntwo\nthree\n");
        // The name now leads to a file of somebody else.
        fs::write(folder.path().join("thesis"), "years").unwrap();
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(folder.path().join("thesis"), &path).unwrap();
        assert!(events.make_whole().is_err());
        assert_eq!(fs::read_to_string(folder.path().join("thesis")).unwrap(), "years");
    }
}
