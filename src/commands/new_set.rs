//! A folder of shards that comes to be whole or not at all.
//!
//! Shards are written into a folder within it, under names that no glob for shards matches, and get
//! their own names only once all ranks have written theirs. While that folder is there,
//! `data::find` takes nothing beside it, nor of the folders beside it that are sides of the set:
//! what a killed command leaves can't be taken for a set.
//!
//! ```text
//!   DIR/reelscale-unfinished/   is renamed once all names are there, and then removed
//!     lock                      who is at it
//!     command                   whose shards these are, where a later start may go on
//!     NAME.part                 a shard; `DIR/NAME` is a second name of it in the end, or
//!                               `DIR/SIDE/NAME` of SIDE.NAME.part
//! ```

mod earlier;

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use self::earlier::same_file;
use crate::comm::Comm;
use crate::data::UNFINISHED;
use crate::disk::{Disk, there};
use crate::error::{Error, Exit, Result};
use crate::human;
use crate::report::Lock;

const COMMAND: &str = "command";
/// What the folder of shards under way is called while it is removed.
const FINISHED: &str = ".reelscale-finished";

/// Shards under way.
pub(crate) struct NewSet<'a> {
    comm: &'a Comm,
    disk: Disk,
    output: PathBuf,
    unfinished: PathBuf,
    /// Folders within `output` for shards, where not all are of one kind: train, test. They are
    /// made once all shards are there.
    sides: Vec<String>,
    /// What may go on with what it has left.
    command: Option<&'a str>,
    /// Whether it does.
    goes_on: bool,
    /// On rank 0, where the file system gives locks.
    lock: Option<Lock>,
    /// Folders that were made for `output`, the innermost first; on rank 0.
    made: Vec<PathBuf>,
    /// This rank's shards.
    names: Vec<String>,
    /// How many of them stay there if the command fails.
    kept: usize,
    /// How many of them have their names.
    placed: usize,
}

fn failed(path: &Path) -> impl Fn(io::Error) -> Error {
    move |error| Error::storage(format!("{}: {error}", path.display()))
}

impl<'a> NewSet<'a> {
    /// Makes the folder `output`, or takes one that is empty. Collective.
    ///
    /// # Errors
    /// Exit 2: something is there, shards of another command under way for instance; exit 5: the
    /// file system refuses.
    pub(crate) fn begin(comm: &'a Comm, disk: Disk, output: &Path) -> Result<NewSet<'a>> {
        NewSet::of(comm, disk, output, (None, &[]))
    }

    /// The same, or goes on with what the same `command` has left there. Names of shards may begin
    /// with one of these sides and a slash. Collective.
    ///
    /// # Errors
    /// As `begin`; exit 2: another command has left something there.
    pub(crate) fn begin_or_go_on(
        comm: &'a Comm,
        disk: Disk,
        output: &Path,
        (command, sides): (&'a str, &[&str]),
    ) -> Result<NewSet<'a>> {
        NewSet::of(comm, disk, output, (Some(command), sides))
    }

    fn of(
        comm: &'a Comm,
        disk: Disk,
        output: &Path,
        (command, sides): (Option<&'a str>, &[&str]),
    ) -> Result<NewSet<'a>> {
        let mut set = NewSet {
            comm,
            disk,
            output: output.to_path_buf(),
            unfinished: output.join(UNFINISHED),
            sides: sides.iter().map(|side| side.to_string()).collect(),
            command,
            goes_on: false,
            lock: None,
            made: Vec::new(),
            names: Vec::new(),
            kept: 0,
            placed: 0,
        };
        comm.agree(if comm.is_root() { set.prepare() } else { Ok(()) })?;
        let mut goes_on = [u64::from(set.goes_on)];
        comm.sum(&mut goes_on);
        set.goes_on = goes_on == [1];
        Ok(set)
    }

    fn prepare(&mut self) -> Result<()> {
        let (name, inner) = (self.output.display(), &self.unfinished);
        if there(inner).map_err(failed(inner))?.is_some() {
            return self.take_over();
        }
        match fs::read_dir(&self.output).map(|mut entries| entries.next().is_some()) {
            Ok(true) => {
                let error = Error::usage(format!("{name}: found a folder that isn't empty"));
                return Err(error.hint("choose another --output"));
            }
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Error::usage(format!("{name}: {error}")));
            }
            _ => {}
        }
        let missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
        self.made = self.output.ancestors().take_while(missing).map(PathBuf::from).collect();
        let made = self.disk.create_dir_all(&self.output).map_err(failed(&self.output));
        // Of two commands that found the same empty folder one gets no further than here.
        made.and_then(|()| self.disk.create_new_dir(&self.unfinished).map_err(failed(inner)))
            .inspect_err(|_| self.remove_made())?;
        self.sign().inspect_err(|_| self.remove())
    }

    /// Says whose shards are to come.
    fn sign(&mut self) -> Result<()> {
        let Some(command) = self.command else { return Ok(()) };
        self.lock = match Lock::take(&self.disk, &self.unfinished, false, &serde_json::Value::Null)
        {
            // Without locks nobody will go on: who is at it can't be known.
            Err(error) if error.exit == Exit::Storage => return Ok(()),
            lock => Some(lock?),
        };
        let path = self.unfinished.join(COMMAND);
        self.disk.write_text(&path, command).map_err(failed(&path))
    }

    /// Whether an earlier start has left something.
    pub(crate) fn goes_on(&self) -> bool {
        self.goes_on
    }

    /// Where files go that say what is done.
    pub(crate) fn unfinished(&self) -> &Path {
        &self.unfinished
    }

    /// The path to write the shard to that will be called `name`.
    pub(crate) fn add(&mut self, name: String) -> PathBuf {
        let path = self.part(&name);
        self.names.push(name);
        path
    }

    /// The path that the shard `name` has until all are there.
    pub(crate) fn part(&self, name: &str) -> PathBuf {
        self.unfinished.join(part_of(name))
    }

    /// This rank's shards.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// What was added so far is whole and said to be: if the command fails it stays, for the same
    /// command to go on with.
    pub(crate) fn keep(&mut self) {
        self.kept = self.names.len();
    }

    /// Gives all shards of all ranks their names. Where any rank has failed what is kept stays,
    /// and the rest goes. Collective.
    ///
    /// # Errors
    /// The failure, common to all; exit 5 where the file system refuses.
    pub(crate) fn finish<T>(mut self, outcome: Result<T>) -> Result<T> {
        let comm = self.comm;
        let outcome = comm.agree(outcome).and_then(|value| {
            comm.agree(if comm.is_root() { self.make_sides() } else { Ok(()) })?;
            comm.agree(self.place())?;
            comm.agree(if comm.is_root() { self.close() } else { Ok(()) })?;
            Ok(value)
        });
        outcome.map_err(|error| {
            for name in &self.names[..self.placed] {
                let _ = self.disk.remove_file(&self.output.join(name));
            }
            let mut kept = [self.kept as u64];
            comm.sum(&mut kept);
            if comm.is_root() {
                // Folders that others have put something into stay.
                for side in &self.sides {
                    let _ = self.disk.remove_dir(&self.output.join(side));
                }
            }
            if kept != [0] {
                let (kept, name) = (human::counted(kept[0], "shard"), self.output.display());
                return error.hint(format!(
                    "{kept} done so far: the same command goes on with them; or remove {name}"
                ));
            }
            if comm.is_root() {
                self.remove();
            }
            error
        })
    }

    fn make_sides(&self) -> Result<()> {
        let mut sides = self.sides.iter().map(|side| self.output.join(side));
        sides.try_for_each(|side| match self.disk.create_new_dir(&side) {
            // A start before has come as far as this.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && self.goes_on => Ok(()),
            made => made.map_err(failed(&side)),
        })
    }

    /// Gives this rank's shards their names. Nothing is replaced.
    fn place(&mut self) -> Result<()> {
        for name in &self.names {
            let (part, path) = (self.part(name), self.output.join(name));
            match self.disk.hard_link(&part, &path) {
                // A start before has come as far as this.
                Err(error)
                    if error.kind() == ErrorKind::AlreadyExists
                        && self.goes_on
                        && same_file(&part, &path).is_ok_and(|same| same) => {}
                placed => placed.map_err(failed(&path))?,
            }
            self.placed += 1;
        }
        Ok(())
    }

    /// The set is whole in the moment in which what says that it might not be is renamed.
    fn close(&self) -> Result<()> {
        let finished = self.output.join(FINISHED);
        let sides = self.sides.iter().map(|side| self.output.join(side));
        sides
            .chain([self.output.clone()])
            .try_for_each(|folder| self.disk.sync_dir(&folder))
            .and_then(|()| self.disk.rename(&self.unfinished, &finished))
            .map_err(failed(&self.output))?;
        let removed = self.disk.sync_dir(&self.output);
        let removed = removed.and_then(|()| self.disk.remove_dir_all(&finished));
        if let Err(error) = removed.and_then(|()| self.disk.sync_dir(&self.output)) {
            log::warn!("{}: can't be removed: {error}", finished.display());
        }
        Ok(())
    }

    fn remove(&self) {
        let _ = self.disk.remove_dir_all(&self.unfinished);
        self.remove_made();
    }

    fn remove_made(&self) {
        for folder in &self.made {
            if self.disk.remove_dir(folder).is_err() {
                return;
            }
        }
    }
}

/// What a shard is called while it is under way.
fn part_of(name: &str) -> String {
    format!("{}.part", name.replace('/', "."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comm::run_threads;
    use crate::disk::FaultKind;
    use crate::error::Exit;

    /// Makes a set of a shard of each of two ranks, of which rank 0's calls may fail.
    fn make(disk: &Disk, output: &Path, sides: &[&str]) -> Result<()> {
        run_threads(2, |comm| {
            let own = if comm.is_root() { disk.clone() } else { Disk::default() };
            let mut set = NewSet::of(comm, own, output, (None, sides))?;
            let side = sides.first().map_or(String::new(), |side| format!("{side}/"));
            let path = set.add(format!("{side}{}.h5", comm.rank()));
            set.finish(std::fs::write(&path, b"shard").map_err(failed(&path)))
        })
        .map(drop)
    }

    #[test]
    fn a_call_that_fails_leaves_nothing() {
        fails_at_each_call(&[], "");
        fails_at_each_call(&["train", "test"], "train");
    }

    /// Shards come to be in `within`.
    fn fails_at_each_call(sides: &[&str], within: &str) {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("a/b");
        for calls in 0.. {
            let disk = Disk::failing_after(calls, FaultKind::Once);
            let outcome = make(&disk, &output, sides);
            if !disk.has_failed() {
                outcome.unwrap();
                break;
            }
            // Once all is there it is there, whatever else of it can't be removed.
            if outcome.is_ok() {
                assert!(!output.join(UNFINISHED).exists());
                let there = |name: &str| output.join(within).join(name).exists();
                assert!(there("0.h5") && there("1.h5"));
                std::fs::remove_dir_all(folder.path().join("a")).unwrap();
                continue;
            }
            assert_eq!(outcome.unwrap_err().exit, Exit::Storage);
            let left = std::fs::read_dir(&output).map_or(0, |entries| entries.count());
            assert_eq!(left, 0, "call {calls}");
            // Folders that were made for it may be left where making them failed.
            let _ = std::fs::remove_dir_all(folder.path().join("a"));
        }
        let mut names: Vec<_> = std::fs::read_dir(output.join(within))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
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
        assert_eq!(make(&Disk::default(), output, &[]).unwrap_err().exit, Exit::Usage);
    }
}
