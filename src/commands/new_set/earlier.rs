//! What an earlier start of the command has left, taken over or removed.

use std::collections::BTreeSet;
use std::path::Path;
use std::{fs, io};

use super::{COMMAND, NewSet, failed, part_of};
use crate::data::UNFINISHED;
use crate::disk::{identity, read_text, there};
use crate::error::{Error, Result};
use crate::report::{LOCK, Lock};

/// No command's text is longer: it names files.
const COMMAND_BYTES_MAX: u64 = 1 << 28;

impl NewSet<'_> {
    /// Takes what a start of this command has left, and nobody works at.
    pub(super) fn take_over(&mut self) -> Result<()> {
        let (name, inner) = (self.output.display(), self.unfinished.display());
        let text = "found shards of a command that is under way or was stopped";
        let error = Error::usage(format!("{inner}: {text}"));
        let path = self.unfinished.join(COMMAND);
        let before = match read_text(&path, COMMAND_BYTES_MAX) {
            Ok(before) => before,
            Err(_) => return Err(error.hint(format!("wait for it, or remove {name}"))),
        };
        let lock = Lock::take(&self.disk, &self.unfinished, false, &serde_json::Value::Null);
        self.lock = Some(lock.map_err(|lock| error.hint(format!("wait for it ({lock})")))?);
        let command = self.command.unwrap_or_default();
        if command != before {
            let mut lines = before.lines().zip(command.lines());
            let (before, now) = lines.find(|pair| pair.0 != pair.1).unwrap_or(("more", "less"));
            let text = "found shards of another command, which was stopped";
            let text = format!("{inner}: {text}: it had {before}, this one has {now}");
            let hint = format!("remove {name}, or choose another --output");
            return Err(Error::usage(text).hint(hint));
        }
        self.goes_on = true;
        Ok(())
    }

    /// Removes what a start before has left and `known` doesn't say, all ranks' shards and files
    /// together; what stands beside them must be theirs. Collective.
    ///
    /// # Errors
    /// Exit 2: something else has come into the folder; exit 5: the file system refuses.
    pub(crate) fn clear(&mut self, known: &[String]) -> Result<()> {
        let parts = self.names.iter().map(|name| part_of(name));
        let own: Vec<String> = parts.chain(known.iter().cloned()).collect();
        let all = self.comm.all_gather_lines(&own);
        let cleared = if self.comm.is_root() { self.remove_others(&all) } else { Ok(()) };
        self.comm.agree(cleared)
    }

    fn remove_others(&self, all: &[String]) -> Result<()> {
        let mut known: BTreeSet<&str> = all.iter().map(String::as_str).collect();
        known.extend([LOCK, COMMAND]);
        for name in entries(&self.unfinished)? {
            if !known.contains(&*name) {
                let path = self.unfinished.join(name);
                self.disk.remove_file(&path).map_err(failed(&path))?;
            }
        }
        let mut names = entries(&self.output)?;
        names.retain(|name| name != UNFINISHED && !self.sides.contains(name));
        for side in &self.sides {
            let path = self.output.join(side);
            if there(&path).map_err(failed(&path))?.is_some() {
                names.extend(entries(&path)?.into_iter().map(|name| format!("{side}/{name}")));
            }
        }
        for name in names {
            let (path, part) = (self.output.join(&name), self.part(&name));
            if !same_file(&path, &part).map_err(failed(&path))? {
                let text = format!("{}: isn't of the command that was stopped", path.display());
                return Err(Error::usage(text).hint("move it elsewhere"));
            }
        }
        Ok(())
    }
}

/// The names in a folder.
fn entries(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).and_then(|entries| {
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    });
    entries.map_err(failed(folder))
}

/// Whether both names are of one file.
pub(super) fn same_file(one: &Path, other: &Path) -> io::Result<bool> {
    let (one, other) = (there(one)?, there(other)?);
    Ok(one.zip(other).is_some_and(|(one, other)| identity(&one) == identity(&other)))
}
