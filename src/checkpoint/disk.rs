//! The file system as checkpoints use it: a few calls that tests can make fail one by one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// The real file system, unless a fault is planned.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    fault: Option<Arc<Mutex<Fault>>>,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// One call fails, as on a full disk; a write leaves half of what it was given.
    Once,
    /// The machine loses power: this call and all later ones fail, and of files that weren't synced
    /// half is lost.
    Crash,
}

#[derive(Debug)]
struct Fault {
    kind: FaultKind,
    /// Calls that still succeed.
    left: usize,
    happened: bool,
    /// Files written to and not synced since.
    unsynced: Vec<PathBuf>,
}

impl Disk {
    /// A file system whose call number `calls` (from 0) fails.
    pub fn failing_after(calls: usize, kind: FaultKind) -> Disk {
        let fault = Fault { kind, left: calls, happened: false, unsynced: Vec::new() };
        Disk { fault: Some(Arc::new(Mutex::new(fault))) }
    }

    /// Whether the planned fault has happened.
    pub fn has_failed(&self) -> bool {
        let fault = self.fault.as_ref().map(|fault| fault.lock().expect("no panic").happened);
        fault.unwrap_or(false)
    }

    /// Counts a call that would change the file system.
    fn call(&self) -> io::Result<()> {
        let Some(fault) = &self.fault else { return Ok(()) };
        let mut fault = fault.lock().expect("no panic");
        if fault.happened {
            return match fault.kind {
                FaultKind::Once => Ok(()),
                FaultKind::Crash => Err(io::Error::other("planned crash")),
            };
        }
        if fault.left > 0 {
            fault.left -= 1;
            return Ok(());
        }
        fault.happened = true;
        if fault.kind == FaultKind::Crash {
            for path in fault.unsynced.drain(..) {
                let halved = File::options().write(true).open(&path);
                let _ = halved.and_then(|file| file.set_len(file.metadata()?.len() / 2));
            }
        }
        Err(io::Error::new(io::ErrorKind::StorageFull, "planned fault"))
    }

    fn note(&self, path: &Path, synced: bool) {
        let Some(fault) = &self.fault else { return };
        let unsynced = &mut fault.lock().expect("no panic").unsynced;
        unsynced.retain(|known| known != path);
        if !synced {
            unsynced.push(path.to_path_buf());
        }
    }

    pub fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.call()?;
        fs::create_dir_all(path)
    }

    /// Makes a file that isn't there yet.
    pub fn create(&self, path: &Path) -> io::Result<DiskFile> {
        self.call()?;
        let file = File::create_new(path)?;
        self.note(path, false);
        Ok(DiskFile { file, path: path.to_path_buf(), disk: self.clone() })
    }

    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call()?;
        fs::rename(from, to)
    }

    /// Makes what stands in a directory last.
    pub fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.call()?;
        File::open(path)?.sync_all()
    }

    /// Removes a directory and all in it; fine if it isn't there.
    pub fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.call()?;
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// A file under way.
pub struct DiskFile {
    file: File,
    path: PathBuf,
    disk: Disk,
}

impl DiskFile {
    /// Makes all that was written last.
    pub fn sync(self) -> io::Result<()> {
        self.disk.call()?;
        self.file.sync_all()?;
        self.disk.note(&self.path, true);
        Ok(())
    }
}

impl Write for DiskFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(error) = self.disk.call() {
            let _ = self.file.write(&bytes[..bytes.len() / 2]);
            return Err(error);
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
