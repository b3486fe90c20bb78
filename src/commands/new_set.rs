//! A folder of shards that comes to be whole or not at all.
//!
//! Shards are written into a folder within it, under names that no glob for shards matches, and get
//! their own names only once all ranks have written theirs. While that folder is there,
//! `data::find` takes nothing beside it: what a killed command leaves can't be taken for a set.

use std::path::{Path, PathBuf};

use crate::comm::Comm;
use crate::data::UNFINISHED;
use crate::disk::{Disk, there};
use crate::error::{Error, Result};

/// Shards under way.
pub(crate) struct NewSet<'a> {
    comm: &'a Comm,
    disk: Disk,
    output: PathBuf,
    unfinished: PathBuf,
    /// Folders that were made for `output`, the innermost first; on rank 0.
    made: Vec<PathBuf>,
    /// This rank's shards.
    names: Vec<String>,
    /// How many of them have their names.
    placed: usize,
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> Error {
    move |error| Error::storage(format!("{}: {error}", path.display()))
}

impl<'a> NewSet<'a> {
    /// Makes the folder `output`, or takes one that is empty. Collective.
    ///
    /// # Errors
    /// Exit 2: something is there, shards of another command under way for instance; exit 5: the
    /// file system refuses.
    pub(crate) fn begin(comm: &'a Comm, disk: Disk, output: &Path) -> Result<NewSet<'a>> {
        let unfinished = output.join(UNFINISHED);
        let (made, names) = (Vec::new(), Vec::new());
        let output = output.to_path_buf();
        let mut set = NewSet { comm, disk, output, unfinished, made, names, placed: 0 };
        let prepared = if comm.is_root() { set.prepare() } else { Ok(()) };
        comm.agree(prepared)?;
        Ok(set)
    }

    fn prepare(&mut self) -> Result<()> {
        let (name, inner) = (self.output.display(), &self.unfinished);
        if there(inner).map_err(failed(inner))?.is_some() {
            let text = "found shards of a command that is under way or was stopped";
            let error = Error::usage(format!("{}: {text}", inner.display()));
            return Err(error.hint(format!("wait for it, or remove {name}")));
        }
        match std::fs::read_dir(&self.output).map(|mut entries| entries.next().is_some()) {
            Ok(true) => {
                let error = Error::usage(format!("{name}: found a folder that isn't empty"));
                return Err(error.hint("choose another --output"));
            }
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::usage(format!("{name}: {error}")));
            }
            _ => {}
        }
        let missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
        self.made = self.output.ancestors().take_while(missing).map(PathBuf::from).collect();
        let made = self.disk.create_dir_all(&self.output).map_err(failed(&self.output));
        // Of two commands that found the same empty folder one gets no further than here.
        let made =
            made.and_then(|()| self.disk.create_new_dir(&self.unfinished).map_err(failed(inner)));
        made.inspect_err(|_| self.remove_made())
    }

    /// The path to write the shard to that will be called `name`.
    pub(crate) fn add(&mut self, name: String) -> PathBuf {
        let path = self.part(&name);
        self.names.push(name);
        path
    }

    fn part(&self, name: &str) -> PathBuf {
        self.unfinished.join(format!("{name}.part"))
    }

    /// Gives all shards of all ranks their names, or removes them where any rank has failed.
    /// Collective.
    ///
    /// # Errors
    /// The failure, common to all; exit 5 where the file system refuses.
    pub(crate) fn finish<T>(mut self, outcome: Result<T>) -> Result<T> {
        let comm = self.comm;
        let outcome = comm.agree(outcome).and_then(|value| {
            comm.agree(self.place())?;
            comm.agree(if comm.is_root() { self.close() } else { Ok(()) })?;
            Ok(value)
        });
        if outcome.is_err() {
            for name in &self.names[..self.placed] {
                let _ = self.disk.remove_file(&self.output.join(name));
            }
            comm.barrier();
            if comm.is_root() {
                let _ = self.disk.remove_dir_all(&self.unfinished);
                self.remove_made();
            }
        }
        outcome
    }

    /// Gives this rank's shards their names. Nothing is replaced.
    fn place(&mut self) -> Result<()> {
        for name in &self.names {
            let (part, path) = (self.part(name), self.output.join(name));
            self.disk.hard_link(&part, &path).map_err(failed(&path))?;
            self.placed += 1;
            self.disk.remove_file(&part).map_err(failed(&part))?;
        }
        Ok(())
    }

    /// Names last before the sign that they might not goes.
    fn close(&self) -> Result<()> {
        self.disk
            .sync_dir(&self.output)
            .and_then(|()| self.disk.remove_dir(&self.unfinished))
            .and_then(|()| self.disk.sync_dir(&self.output))
            .map_err(failed(&self.output))
    }

    fn remove_made(&self) {
        for folder in &self.made {
            if self.disk.remove_dir(folder).is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comm::run_threads;
    use crate::disk::FaultKind;
    use crate::error::Exit;

    /// Makes a set of a shard of each of two ranks, of which rank 0's calls may fail.
    fn make(disk: &Disk, output: &Path) -> Result<()> {
        run_threads(2, |comm| {
            let own = if comm.is_root() { disk.clone() } else { Disk::default() };
            let mut set = NewSet::begin(comm, own, output)?;
            let path = set.add(format!("{}.h5", comm.rank()));
            set.finish(std::fs::write(&path, b"shard").map_err(failed(&path)))
        })
        .map(drop)
    }

    #[test]
    fn a_call_that_fails_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("a/b");
        for calls in 0.. {
            let disk = Disk::failing_after(calls, FaultKind::Once);
            let outcome = make(&disk, &output);
            if !disk.has_failed() {
                outcome.unwrap();
                break;
            }
            assert_eq!(outcome.unwrap_err().exit, Exit::Storage);
            let left = std::fs::read_dir(&output).map_or(0, |entries| entries.count());
            assert_eq!(left, 0, "call {calls}");
            // Folders that were made for it may be left where making them failed.
            let _ = std::fs::remove_dir_all(folder.path().join("a"));
        }
        let mut names: Vec<_> =
            std::fs::read_dir(&output).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["0.h5", "1.h5"]);
    }

    #[test]
    fn nothing_that_came_meanwhile_is_replaced_or_removed() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path();
        let outcome = run_threads(2, |comm| {
            let mut set = NewSet::begin(comm, Disk::default(), output)?;
            let path = set.add(format!("{}.h5", comm.rank()));
            std::fs::write(&path, b"shard").unwrap();
            if comm.is_root() {
                std::fs::write(output.join("1.h5"), b"of somebody else").unwrap();
            }
            set.finish(Ok(()))
        });
        assert_eq!(outcome.unwrap_err().exit, Exit::Storage);
        assert_eq!(std::fs::read(output.join("1.h5")).unwrap(), b"of somebody else");
        assert_eq!(std::fs::read_dir(output).unwrap().count(), 1);
        assert_eq!(make(&Disk::default(), output).unwrap_err().exit, Exit::Usage);
    }
}
