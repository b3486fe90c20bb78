//! A fault at a planned call.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::{CallSite, DiskCall, DiskHook, Go};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// One call fails, as on a full disk; a write leaves half of what it was given.
    Once,
    /// The machine loses power: this call and all later ones fail, and of files that weren't synced
    /// half is lost.
    Crash,
}

/// Lets one call fail.
#[derive(Debug)]
pub(crate) struct Planned {
    kind: FaultKind,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Calls that still succeed.
    left: usize,
    happened: bool,
    /// Files written to and not synced since.
    unsynced: Vec<PathBuf>,
}

impl Planned {
    pub(crate) fn new(left: usize, kind: FaultKind) -> Planned {
        let state = State { left, happened: false, unsynced: Vec::new() };
        Planned { kind, state: Mutex::new(state) }
    }

    pub(crate) fn has_happened(&self) -> bool {
        self.state.lock().expect("no panic").happened
    }

    /// Counts a call.
    fn count(&self, call: &DiskCall) -> io::Result<()> {
        let mut state = self.state.lock().expect("no panic");
        if state.happened {
            return match self.kind {
                FaultKind::Once => Ok(()),
                FaultKind::Crash => Err(io::Error::other("planned crash")),
            };
        }
        if state.left > 0 {
            state.left -= 1;
            return Ok(());
        }
        state.happened = true;
        if let DiskCall::Write { file, at, bytes, .. } = call {
            let _ = file.write_all_at(&bytes[..bytes.len() / 2], *at);
        }
        if self.kind == FaultKind::Crash {
            for path in state.unsynced.drain(..) {
                let halved = File::options().write(true).open(&path);
                let _ = halved.and_then(|file| file.set_len(file.metadata()?.len() / 2));
            }
        }
        Err(io::Error::new(io::ErrorKind::StorageFull, "planned fault"))
    }

    fn note(&self, path: &Path, synced: bool) {
        let unsynced = &mut self.state.lock().expect("no panic").unsynced;
        unsynced.retain(|known| known != path);
        if !synced {
            unsynced.push(path.to_path_buf());
        }
    }
}

impl DiskHook for Planned {
    fn around(&self, call: &DiskCall, _place: CallSite, go: Go) -> io::Result<()> {
        self.count(call)?;
        go()?;
        match call {
            DiskCall::Create(path) | DiskCall::Adopt(path) | DiskCall::Write { path, .. } => {
                self.note(path, false);
            }
            DiskCall::Sync { path, .. } => self.note(path, true),
            _ => {}
        }
        Ok(())
    }
}
