//! A thread that writes parts: rows come in order, a part's after those of the one before, and each
//! part is made whole under a temporary name, synced, renamed, and then told to the journal.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError};
use std::sync::mpsc::{channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::folder::temporary_name;
use super::journal::{Journal, Sum};
use crate::data::Annotations;
use crate::disk::{Disk, folder_of, read};
use crate::error::{Error, Result};
use crate::formats::predictions::WrittenAs;
use crate::formats::written::{About, Written};
use crate::human::hex;
use crate::inference::parts::Annotated;
use crate::names::Names;

/// How long a rank waits for the writer before it looks after messages.
const WAIT: Duration = Duration::from_millis(1);

/// Where parts go, and how.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) disk: Disk,
    pub(super) folder: PathBuf,
    pub(super) written_as: WrittenAs,
    /// Content hash of the model.
    pub(super) model: String,
    /// Classes of a video.
    pub(super) top: usize,
    /// Names of classes that are written with them.
    pub(super) class_names: Option<Arc<Names>>,
    /// Of each part.
    pub(super) names: Vec<String>,
    /// Numbers of the start and of this rank.
    pub(super) start: (u32, usize),
}

/// The thread, as the others see it.
pub(super) struct Writer {
    /// Taken first when it is dropped: a part that isn't whole by then is given up.
    rows: Option<SyncSender<Annotated>>,
    outcomes: Receiver<Result<(usize, Sum)>>,
    thread: Option<JoinHandle<()>>,
    /// Parts whose last rows it has been given, and those that it has finished.
    given: usize,
    finished: Vec<(usize, Sum)>,
}

impl Writer {
    /// `depth` pieces of rows wait for it at most.
    pub(super) fn new(place: Place, depth: usize) -> Writer {
        let (rows, taken) = sync_channel::<Annotated>(depth);
        let (outcome, outcomes) = channel();
        let thread = std::thread::spawn(move || {
            let mut journal = Journal::new(place.disk.clone(), &place.folder, place.start);
            while let Ok(first) = taken.recv() {
                let part = first.of.part;
                let written = place.write(first, &taken, &mut journal);
                // Whoever has gone wants no part that isn't whole.
                let Some(written) = written.transpose() else { return };
                let failed = written.is_err();
                if outcome.send(written.map(|sum| (part, sum))).is_err() || failed {
                    return;
                }
            }
        });
        let (rows, thread) = (Some(rows), Some(thread));
        Writer { rows, outcomes, thread, given: 0, finished: Vec::new() }
    }

    /// Gives it rows, which come back a moment later where it has no room for them.
    pub(super) fn give(&mut self, rows: Annotated) -> Option<Annotated> {
        let last = rows.of.last;
        match self.rows.as_ref().expect("there until it is dropped").try_send(rows) {
            Err(TrySendError::Full(back)) => {
                std::thread::sleep(WAIT);
                return Some(back);
            }
            // Where it has failed, that is among the outcomes.
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
        }
        self.given += usize::from(last);
        None
    }

    /// Number of parts that are finished.
    ///
    /// # Errors
    /// Exit 5: a part couldn't be written.
    pub(super) fn finished(&mut self) -> Result<usize> {
        loop {
            match self.outcomes.try_recv() {
                Ok(outcome) => self.finished.push(outcome?),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => {
                    return Ok(self.finished.len());
                }
            }
        }
    }

    /// Whether all parts are finished that it has been given.
    pub(super) fn is_idle(&self) -> bool {
        self.given == self.finished.len()
    }

    /// Waits a moment for a part to be finished.
    ///
    /// # Errors
    /// As `finished`.
    pub(super) fn wait(&mut self) -> Result<()> {
        match self.outcomes.recv_timeout(WAIT) {
            Ok(outcome) => self.finished.push(outcome?),
            Err(RecvTimeoutError::Timeout) => {}
            // It has gone without a word: it panics.
            Err(RecvTimeoutError::Disconnected) => {
                if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
                    std::panic::resume_unwind(panic);
                }
            }
        }
        Ok(())
    }

    /// The parts that are finished, each with its sum.
    pub(super) fn into_finished(mut self) -> Vec<(usize, Sum)> {
        std::mem::take(&mut self.finished)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.rows.take();
        if let Some(thread) = self.thread.take() {
            // Where it panicked, the panic hook has already printed why.
            let _ = thread.join();
        }
    }
}

/// Counts what passes, and takes its digest.
struct Summed<'a> {
    to: &'a mut dyn Write,
    digest: Sha256,
    bytes: u64,
}

impl Write for Summed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write_all(bytes)?;
        self.digest.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Place {
    /// Writes the part of which these are the first rows; none where the others don't come.
    fn write(
        &self,
        first: Annotated,
        rows: &Receiver<Annotated>,
        journal: &mut Journal,
    ) -> Result<Option<Sum>> {
        let name = &self.names[first.of.part];
        let path = self.folder.join(name);
        let temporary = self.folder.join(temporary_name(name, self.start));
        let sum = match self.written_as {
            WrittenAs::Hdf5 => {
                let Some(all) = self.gathered(first, rows) else { return Ok(None) };
                let outcome = self.write_hdf5(&all, &temporary, &path);
                if outcome.is_err() {
                    let _ = self.disk.remove_file(&temporary);
                }
                outcome?
            }
            _ => {
                let (mut sum, mut whole) = (None, true);
                let written = self.disk.replace_by(&temporary, &path, |to| {
                    let mut to = Summed { to, digest: Sha256::new(), bytes: 0 };
                    whole = self.write_videos(&mut to, first, rows)?;
                    sum = Some(Sum { bytes: to.bytes, sha256: hex(&to.digest.finalize()) });
                    if whole { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) }
                });
                if !whole {
                    return Ok(None);
                }
                written.map_err(|error| Error::file(&path, &error))?;
                sum.expect("it is written")
            }
        };
        self.disk.lasts(&path);
        journal.add(name, &sum)?;
        Ok(Some(sum))
    }

    /// Whether all rows of the part have come.
    fn write_videos(
        &self,
        to: &mut dyn Write,
        first: Annotated,
        rows: &Receiver<Annotated>,
    ) -> io::Result<bool> {
        let names = self.class_names.as_deref();
        let about = About { model: &self.model, top: self.top, names };
        let mut written = Written::begin(self.written_as, to, about)?;
        let mut piece = first;
        loop {
            for (id, best) in piece.of.ids.iter().zip(piece.best.chunks(self.top)) {
                written.video(to, id, best)?;
            }
            if piece.of.last {
                written.end(to)?;
                return Ok(true);
            }
            match rows.recv() {
                Ok(next) => piece = next,
                Err(_) => return Ok(false),
            }
        }
    }

    fn gathered(&self, first: Annotated, rows: &Receiver<Annotated>) -> Option<Annotations> {
        let names = self.class_names.clone();
        let mut all = Annotations { top: self.top, names, ..Annotations::default() };
        let mut piece = first;
        loop {
            all.extend(piece.of.ids, &piece.best);
            if piece.of.last {
                return Some(all);
            }
            piece = rows.recv().ok()?;
        }
    }

    fn write_hdf5(&self, all: &Annotations, temporary: &Path, path: &Path) -> Result<Sum> {
        all.write_temporary(temporary)?;
        let failed = |error: io::Error| Error::file(path, &error);
        let bytes = read(temporary).map_err(failed)?;
        let put = || {
            self.disk.adopt(temporary)?.sync()?;
            self.disk.rename(temporary, path)?;
            self.disk.sync_dir(folder_of(path))
        };
        put().map_err(failed)?;
        Ok(Sum { bytes: bytes.len() as u64, sha256: hex(&Sha256::digest(&bytes)) })
    }
}
