//! What a process does that reads shards for another one: it takes paths, reads each file in full,
//! within bounds of memory, and says what it has found and that it goes on.

use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit};

use super::foreign::FOREIGN;
use super::{Outcome, ReadFor, Said};
use crate::data::foreign::look_through;
use crate::data::proof::Opened;
use crate::data::reader::ShardReader;
use crate::data::schema::{ShardInfo, hex};
use crate::error::{Error, Exit};
use crate::model::bounds::FeatureBounds;
use crate::{progress, system};

/// How often a reading process says that it goes on, if it does.
const SIGN: Duration = Duration::from_millis(100);
/// Address space for a file, beside what the process has at its start: so much, and so many times
/// the file's size, but at most half of the machine's memory.
const MEMORY: u64 = 1 << 30;
const MEMORY_TIMES: u64 = 16;

/// What a reading process does: reads the files that `paths` names, says `said` of each.
///
/// # Errors
/// What reading from or writing to the other process gives.
pub(crate) fn serve(mut paths: impl BufRead, said: impl Write + Send) -> io::Result<()> {
    let at_start = rustix::process::getrlimit(Resource::As);
    let said = Mutex::new(said);
    let say = |what: &Said| {
        let mut line = serde_json::to_vec(what)?;
        line.push(b'\n');
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        said.write_all(&line).and_then(|()| said.flush())
    };
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut count = progress::count();
            while !done.load(Relaxed) {
                thread::sleep(SIGN);
                let now = progress::count();
                if now != count && say(&Said::GoesOn).is_err() {
                    return;
                }
                count = now;
            }
        });
        let mut each = || -> io::Result<()> {
            let mut path = Vec::new();
            while paths.read_until(0, &mut path)? > 0 {
                path.pop();
                let purpose = path.remove(0);
                use std::os::unix::ffi::OsStringExt;
                let file = PathBuf::from(std::ffi::OsString::from_vec(std::mem::take(&mut path)));
                limit_memory(&file, at_start);
                if purpose == FOREIGN {
                    let names = names(&mut paths)?;
                    let mut at = |name: &str| {
                        progress::tick();
                        let _ = say(&Said::At(name.into()));
                    };
                    say(&match look_through(&file, &names, &mut at) {
                        Ok(()) => Said::Through,
                        Err(text) => Said::Fault { exit: Exit::Input as u8, text },
                    })?;
                    continue;
                }
                let purpose = match purpose {
                    first if first == ReadFor::Seal as u8 => ReadFor::Seal,
                    _ => ReadFor::Use,
                };
                say(&match read_in_full(&file, purpose) {
                    Ok(info) => Said::Whole(Box::new(info)),
                    Err(Error { exit, text, .. }) => Said::Fault { exit: exit as u8, text },
                })?;
            }
            Ok(())
        };
        let outcome = each();
        done.store(true, Relaxed);
        outcome
    })
}

/// The names of fields behind a path: ended by a NUL each, and all of them by one more.
fn names(from: &mut impl BufRead) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    loop {
        let mut name = Vec::new();
        from.read_until(0, &mut name)?;
        name.pop();
        if name.is_empty() {
            return Ok(names);
        }
        names.push(String::from_utf8_lossy(&name).into_owned());
    }
}

/// Every byte of the file at `path` through HDF5. What is returned has no path.
fn read_in_full(path: &Path, purpose: ReadFor) -> Outcome {
    let opened = Opened::open(path)?;
    let mut info = match purpose {
        ReadFor::Use => ShardInfo::of(&opened)?,
        ReadFor::Seal => ShardInfo::to_be_sealed(&opened)?,
    };
    let mut reader = ShardReader::of(&opened, info.clone(), Arc::new(FeatureBounds::none()))?;
    let digest = reader.check_in_full()?;
    info.digest = Some(hex(digest));
    // Paths needn't be UTF-8, as JSON is.
    info.path = PathBuf::new();
    Ok(info)
}

/// Bounds what this process may take while it reads the file at `path`.
fn limit_memory(path: &Path, at_start: Rlimit) {
    let bytes = path.metadata().map_or(0, |found| found.len());
    let memory = system::memory().unwrap_or(u64::MAX);
    let more = MEMORY.max(bytes.saturating_mul(MEMORY_TIMES).min(memory / 2));
    let wanted = system::own_addresses().saturating_add(more);
    let current = at_start.current.map_or(wanted, |limit| limit.min(wanted));
    let limit = Rlimit { current: Some(current), maximum: at_start.maximum };
    // Where the system refuses, there is the limit that it has set.
    let _ = rustix::process::setrlimit(Resource::As, limit);
}
