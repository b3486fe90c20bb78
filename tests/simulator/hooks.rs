//! Disk and clock of the simulated world: what the program calls.

use std::io;
use std::os::unix::fs::FileExt;
use std::panic::resume_unwind;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use reelscale::internals::disk::{DiskCall, Go};
use reelscale::internals::{clock, disk};

use super::plan::When;
use super::plant::Plant;
use super::state::State;
use super::trace::Step;
use super::world::{Ended, Place, World, here, is_rank};

/// The disk.
#[derive(Debug)]
pub struct Disk;

/// The clock.
#[derive(Debug)]
pub struct Clock;

/// What a call is called, and what it changes.
fn described<'a>(call: &DiskCall<'a>) -> (&'static str, &'a Path) {
    match *call {
        DiskCall::CreateDir(path) => ("make folder", path),
        DiskCall::Create(path) => ("make file", path),
        DiskCall::Adopt(path) => ("adopt", path),
        DiskCall::Write { path, .. } => ("write", path),
        DiskCall::SetLength { path, .. } => ("set length", path),
        DiskCall::Sync { path, .. } => ("sync", path),
        DiskCall::SyncDir(path) => ("sync folder", path),
        DiskCall::Rename { to, .. } => ("rename", to),
        DiskCall::HardLink { to, .. } => ("link", to),
        DiskCall::RemoveFile(path) => ("remove file", path),
        DiskCall::RemoveDir(path) => ("remove folder", path),
        DiskCall::Lock(path) => ("lock", path),
    }
}

fn needs_room(call: &DiskCall) -> bool {
    matches!(call, DiskCall::CreateDir(_) | DiskCall::Create(_) | DiskCall::Write { .. })
        || matches!(
            call,
            DiskCall::SetLength { .. } | DiskCall::Rename { .. } | DiskCall::HardLink { .. }
        )
}

/// The place of a call as a plant names it.
pub fn name_of(what: &str, place: Place) -> String {
    format!("{what} at {}:{}", place.file(), place.line())
}

impl disk::DiskHook for Disk {
    fn around(&self, call: &DiskCall, place: Place, go: Go) -> io::Result<()> {
        if std::thread::panicking() {
            return Err(io::Error::other("the machine has stopped"));
        }
        let (world, rank) = here();
        let (what, path) = described(call);
        let mut state = world.lock();
        // Folders above are called differently in each process.
        let inside = path.strip_prefix(state.held.files.root());
        let detail = inside.map_or("(above)".into(), |path| path.display().to_string());
        drop(state);
        world.point(rank, Step { what, place: Some(place), detail });
        state = world.lock();
        state.disk_calls += 1;
        world.happen(&mut state, |when, state| match when {
            When::DiskCall(at) => at <= state.disk_calls,
            When::Renamed(at) => at <= state.renames,
            _ => false,
        });
        if state.ending.is_some() || state.dead[rank] {
            drop(state);
            resume_unwind(Box::new(Ended));
        }
        if let Some(error) = fault(&mut state, rank, call) {
            return Err(error);
        }
        if matches!(call, DiskCall::Sync { .. } | DiskCall::SyncDir(_)) {
            let site = name_of(what, place);
            let skipped = world.plant == Plant::Sync(site.clone());
            *state.held.syncs.entry(site).or_default() += 1;
            if skipped {
                return go();
            }
        }
        go()?;
        state.renames += u64::from(matches!(call, DiskCall::Rename { .. }));
        let outcome = took_place(&mut state, rank, call);
        state.held.note_phase(what, path);
        match outcome {
            Ok(()) => Ok(()),
            Err(text) => world.fail(state, text),
        }
    }

    fn lasts(&self, path: &Path) {
        if std::thread::panicking() {
            return;
        }
        let (world, rank) = here();
        let mut state = world.lock();
        if state.ending.is_some() || state.dead[rank] {
            return;
        }
        let point = state.points;
        if let Err(text) = state.held.lasts(path, point) {
            world.fail(state, text);
        }
    }
}

/// The error that a call gets, where a fault is due.
fn fault(state: &mut State, rank: usize, call: &DiskCall) -> Option<io::Error> {
    if let (DiskCall::Sync { file, .. }, true) = (call, state.sync_fails || state.fails) {
        (state.sync_fails, state.fails) = (false, false);
        state.held.files.sync_failed(file);
        return Some(io::Error::other("planned: the sync fails"));
    }
    if state.fails {
        state.fails = false;
        return Some(io::Error::other("planned: the call fails"));
    }
    if state.full == 0 || !needs_room(call) {
        return None;
    }
    state.full -= 1;
    if let DiskCall::Write { file, at, bytes, .. } = call {
        let half = &bytes[..bytes.len() / 2];
        file.write_all_at(half, *at).expect("a real file");
        state.held.files.wrote(rank, file, *at, half);
    }
    Some(io::Error::new(io::ErrorKind::StorageFull, "planned: no room"))
}

/// The real file system has done it.
fn took_place(state: &mut State, rank: usize, call: &DiskCall) -> Result<(), String> {
    let held = &mut state.held;
    match *call {
        DiskCall::CreateDir(path) => held.files.made_folder(rank, path),
        DiskCall::Create(path) => held.files.made_file(rank, path),
        DiskCall::Adopt(path) => held.files.adopted(rank, path),
        DiskCall::Write { file, at, bytes, .. } => held.files.wrote(rank, file, at, bytes),
        DiskCall::SetLength { file, length, .. } => held.files.set_length(rank, file, length),
        DiskCall::Sync { file, .. } => held.files.synced(file),
        DiskCall::SyncDir(path) => held.files.synced_folder(path),
        DiskCall::Rename { from, to } => held.files.renamed(rank, from, to),
        DiskCall::HardLink { from, to } => held.files.linked(rank, from, to),
        DiskCall::RemoveFile(path) | DiskCall::RemoveDir(path) => held.files.removed(rank, path),
        DiskCall::Lock(_) => {}
    }
    match *call {
        DiskCall::Sync { .. } | DiskCall::SyncDir(_) | DiskCall::Lock(_) => Ok(()),
        DiskCall::Rename { from, to } => held.changes(from).and_then(|()| held.changes(to)),
        _ => held.changes(described(call).1),
    }
}

impl clock::ClockHook for Clock {
    fn now(&self) -> Instant {
        let (world, rank) = here();
        world.point(rank, Step::new("clock", None));
        let state = world.lock();
        world.now(&state, rank)
    }

    fn today(&self) -> SystemTime {
        let (world, rank) = here();
        world.point(rank, Step::new("date", None));
        let state = world.lock();
        UNIX_EPOCH + Duration::from_secs(1_700_000_000) + state.clocks[rank]
    }

    fn sleep(&self, time: Duration) {
        let (world, rank) = here();
        world.lock().clocks[rank] += time;
        world.point(rank, Step::new("sleep", None));
    }
}

/// What the program warns of, but for how small the jobs here are.
pub struct Warnings;

/// What it says of slices of few rows.
const SMALL: &str = "rows each, below 256 is slow";

impl log::Log for Warnings {
    fn enabled(&self, metadata: &log::Metadata) -> bool {
        metadata.level() <= log::Level::Warn && is_rank()
    }

    fn log(&self, record: &log::Record) {
        if self.enabled(record.metadata()) && !std::thread::panicking() {
            let (world, rank): (std::sync::Arc<World>, usize) = here();
            let text = format!("rank {rank}: {}", record.args());
            if !text.contains(SMALL) {
                world.lock().held.warnings.push(text);
            }
        }
    }

    fn flush(&self) {}
}
