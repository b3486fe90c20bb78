//! The checkpoints of a run: directories that every rank writes into and any number of ranks reads.
//!
//! ```text
//!   checkpoints/00000012/
//!     state.json          what it is of, for people and for finding one's way
//!     common.bin          what all ranks hold alike, a record in CBOR (packed.rs)
//!     metrics.jsonl       the events so far
//!     FAMILY-00064.bin    of a family of class blocks those from 64 on that one rank owned, a
//!                         record for each block
//!     SHA256SUMS          of all other files: `sha256sum -c SHA256SUMS`
//! ```
//!
//! One is written under a temporary name, synced and renamed; the one before it is kept. What the
//! records mean is left to those who put and take them. A checkpoint is used only if it holds
//! exactly the files that it lists, each with its digest; else the one before it is, and that is
//! said.

use std::cell::Cell;
use std::ffi::OsStr;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::listing::{FamilyFile, Listing, STATE, cannot_be_listed, newest, proven};
use super::loaded::{Loaded, SavedBlocks, SavedItems};
use super::names::{NEXT, entries, is_checkpoint, is_own, number_of, numbers, path_of};
use crate::comm::Comm;
use crate::disk::{Disk, DiskFile, folder_of, left_there, there};
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::folder::sums::{self, SUMS};
use crate::human::hex;
use crate::partition::Owners;

const COMMON: &str = "common.bin";
const EVENTS: &str = "metrics.jsonl";
/// Bytes that are written at once.
const BUFFER: usize = 1 << 20;

/// Writes some items.
pub(crate) type Put<'a> = dyn Fn(&mut dyn Write) -> io::Result<()> + 'a;

/// Writes the items of a class block.
pub(crate) type PutBlock<'a> = dyn Fn(usize, &mut dyn Write) -> io::Result<()> + 'a;

/// A record for each class block: weights, say, or a solver's state. This rank writes those of its
/// own blocks.
pub struct Family<'a> {
    pub name: &'static str,
    /// Who owns which class block.
    pub owners: &'a Owners,
    /// Writes the items of this rank's block `index`, counted from its first.
    pub put: Box<PutBlock<'a>>,
}

/// What goes into a checkpoint.
pub struct Contents<'a> {
    pub about: Value,
    pub common: &'a Put<'a>,
    pub events: &'a Put<'a>,
    pub families: Vec<Family<'a>>,
}

/// A file that has been written: its name, its digest.
type Sum = (String, String);

/// The folder of a run's checkpoints.
pub struct Store {
    folder: PathBuf,
    disk: Disk,
    /// The newest one that is known to be whole: loaded, or written.
    whole: Cell<Option<u64>>,
    /// Bytes of the largest that was written here so far, on rank 0; 0 elsewhere.
    pub(crate) largest: Cell<u64>,
}

impl Store {
    pub fn new(folder: PathBuf, disk: Disk) -> Store {
        Store { folder, disk, whole: Cell::new(None), largest: Cell::new(0) }
    }

    /// Writes the next checkpoint. Every rank takes part; the one before it stays, older ones go.
    ///
    /// # Errors
    /// Exit 5 where the file system refuses, common to all ranks. Earlier checkpoints are as they
    /// were.
    pub fn save(&self, comm: &Comm, contents: &Contents) -> Result<()> {
        let number = self.common_numbers(comm)?.last().map_or(1, |last| last + 1);
        let path = self.path(number);
        let failed = |error: io::Error| Error::file(&path, &error);
        let prepared = comm.is_root().then(|| self.prepare()).transpose();
        let temporary = comm.agree(prepared.map_err(failed))?.unwrap_or_default();
        // A plain name: `next.tmp`, or one beside it.
        let name = comm.all_gather_any(temporary.as_bytes()).swap_remove(0);
        let temporary = self.folder.join(String::from_utf8_lossy(&name).as_ref());
        let own: io::Result<Vec<(FamilyFile, Sum)>> = contents
            .families
            .iter()
            .filter(|family| !family.owners.own().is_empty())
            .map(|family| self.write_part(&temporary, family))
            .collect();
        let own = comm.agree(own.map_err(failed))?;
        let text = serde_json::to_vec(&own).expect("parts are plain data");
        let all = comm.all_gather_any(&text);
        let finish = || {
            let all = all.iter().flat_map(|text| {
                let parts: Vec<(FamilyFile, Sum)> =
                    serde_json::from_slice(text).expect("as written");
                parts
            });
            let (parts, sums) = all.unzip();
            self.finish(contents, parts, sums, &temporary, &path)
        };
        comm.agree(if comm.is_root() { finish().map_err(failed) } else { Ok(()) })?;
        self.disk.lasts(&path);
        if comm.is_root() {
            self.remove_older(number);
        }
        Ok(())
    }

    /// Makes the folder that the next checkpoint is written in; returns its name.
    fn prepare(&self) -> io::Result<String> {
        let parent = folder_of(&self.folder);
        self.disk.create_dir_all(parent)?;
        self.disk.create_dir(&self.folder)?;
        self.disk.sync_dir(parent)?;
        let path = self.disk.temporary_dir(&self.folder.join(NEXT), is_own)?;
        Ok(path.file_name().unwrap_or_default().to_string_lossy().into_owned())
    }

    /// This rank's run of a family's blocks.
    fn write_part(&self, folder: &Path, family: &Family) -> io::Result<(FamilyFile, Sum)> {
        let own = family.owners.own();
        let name = format!("{}-{:05}.bin", family.name, own.start);
        let mut file = self.create(folder, &name)?;
        let mut lengths = Vec::with_capacity(own.len());
        for index in 0..own.len() {
            let before = file.written;
            (family.put)(index, &mut file)?;
            lengths.push(file.written - before);
        }
        let part = FamilyFile {
            family: family.name.into(),
            file: name.clone(),
            first: own.start,
            lengths,
        };
        Ok((part, (name, file.finish()?)))
    }

    /// Writes what rank 0 writes, and renames the folder, which makes it a checkpoint.
    fn finish(
        &self,
        contents: &Contents,
        parts: Vec<FamilyFile>,
        mut sums: Vec<Sum>,
        temporary: &Path,
        path: &Path,
    ) -> io::Result<()> {
        let mut bytes: u64 = parts.iter().flat_map(|part| &part.lengths).sum();
        let text = Listing::new(contents.about.clone(), parts).text();
        let state = move |to: &mut dyn Write| to.write_all(text.as_bytes());
        let files: [(&str, &Put); 3] =
            [(COMMON, contents.common), (EVENTS, contents.events), (STATE, &state)];
        for (name, put) in files {
            let mut file = self.create(temporary, name)?;
            put(&mut file)?;
            bytes += file.written;
            sums.push((name.into(), file.finish()?));
        }
        let lines: String = sums.iter().map(|(name, sum)| sums::line((name, sum))).collect();
        let mut file = self.create(temporary, SUMS)?;
        file.write_all(lines.as_bytes())?;
        bytes += file.written;
        file.finish()?;
        self.disk.sync_dir(temporary)?;
        self.disk.rename(temporary, path)?;
        self.largest.set(self.largest.get().max(bytes));
        self.disk.sync_dir(&self.folder)
    }

    fn create(&self, folder: &Path, name: &str) -> io::Result<SummedFile> {
        let file = self.disk.create(&folder.join(name))?;
        let file = BufWriter::with_capacity(BUFFER, file);
        Ok(SummedFile { file, sum: Sha256::new(), written: 0 })
    }

    /// Removes all checkpoints but the newest and the whole one before it: none of them is needed
    /// any more.
    fn remove_older(&self, newest: u64) {
        let Some(before) = self.whole.replace(Some(newest)) else { return };
        // Any between these two are damaged and could not be put aside.
        let mut older = self.numbers().unwrap_or_default();
        older.retain(|number| *number <= before && *number < newest);
        older.pop();
        for number in older {
            let path = self.path(number);
            match self.disk.remove_own(&path, is_own) {
                Ok(None) => {}
                Ok(Some(foreign)) => left_there(&path, &foreign),
                Err(error) => log::warn!("{}: {error}", path.display()),
            }
        }
    }

    /// Removes all checkpoints, damaged and unfinished ones too, which are of no more use. Files
    /// that this program hasn't written stay, with a warning.
    pub fn remove_all(&self) {
        let outcome = entries(&self.folder).and_then(|names| {
            let mut foreign = None;
            for name in names {
                let path = self.folder.join(&name);
                let own = name.to_str().is_some_and(is_checkpoint);
                match own.then(|| self.disk.remove_own(&path, is_own)).transpose()? {
                    Some(None) => {}
                    Some(Some(within)) => foreign = Some(Path::new(&name).join(within)),
                    None => foreign = Some(name.into()),
                }
            }
            match foreign {
                Some(foreign) => left_there(&self.folder, foreign.as_os_str()),
                None if there(&self.folder)?.is_some() => self.disk.remove_dir(&self.folder)?,
                None => {}
            }
            Ok(())
        });
        if let Err(error) = outcome {
            log::warn!("{}: {error}", self.folder.display());
        }
    }

    fn path(&self, number: u64) -> PathBuf {
        path_of(&self.folder, number)
    }

    /// The checkpoints that rank 0 sees, oldest first. Collective.
    fn common_numbers(&self, comm: &Comm) -> Result<Vec<u64>> {
        let own = if comm.is_root() { self.numbers() } else { Ok(Vec::new()) };
        let own = comm.agree(own.map_err(|error| cannot_be_listed(&self.folder, error)))?;
        Ok(comm.all_gather_any(&own).swap_remove(0))
    }

    /// The checkpoints that are there, oldest first.
    fn numbers(&self) -> io::Result<Vec<u64>> {
        numbers(&self.folder)
    }

    /// The newest checkpoint that is whole, if there are any at all, for the run that goes on from
    /// it: damaged ones after it are put aside. Every rank takes part.
    ///
    /// # Errors
    /// As `newest`.
    pub fn load(&self, comm: &Comm) -> Result<Option<Loaded>> {
        let newest = self.newest(comm)?;
        if let Some(loaded) = &newest {
            self.whole.set(Some(loaded.number));
            if comm.is_root() {
                self.put_aside(loaded.number);
            }
        }
        Ok(newest)
    }

    /// The newest checkpoint that is whole, if there are any at all. Nothing is changed. Every rank
    /// takes part.
    ///
    /// # Errors
    /// Exit 6: there are checkpoints and none is whole, or the newest whole one is of a newer
    /// version; exit 5: their folder can't be read; common to all ranks.
    pub(crate) fn newest(&self, comm: &Comm) -> Result<Option<Loaded>> {
        newest(self.common_numbers(comm)?, |number| {
            self.try_load(comm, number).inspect_err(|error| {
                if comm.is_root() {
                    log::warn!("{}; trying the checkpoint before it", error.text);
                }
            })
        })
    }

    /// The checkpoint in `path`, a folder of one. Every rank takes part.
    ///
    /// # Errors
    /// Exit 6: it is none, isn't whole or is of a newer version; common to all ranks.
    pub(crate) fn load_from(comm: &Comm, path: &Path) -> Result<Loaded> {
        let number = path.file_name().and_then(OsStr::to_str).and_then(number_of);
        let number = number.ok_or_else(|| {
            let found = format!("{}: found no checkpoint's name", path.display());
            Error::run_directory(found).hint("RUN/checkpoints/00000012")
        });
        let store = Store::new(folder_of(path).to_path_buf(), Disk::default());
        store.try_load(comm, comm.agree(number)?)?
    }

    /// Renames the damaged checkpoints after `whole`, which would else count as the newest ones.
    fn put_aside(&self, whole: u64) {
        let numbers = self.numbers().unwrap_or_default();
        for number in numbers.into_iter().filter(|number| *number > whole) {
            let path = self.path(number);
            // An earlier damaged one of the same number may have that name.
            let mut aside = path.with_extension("damaged");
            for another in 1.. {
                match there(&aside) {
                    Ok(Some(_)) => aside = path.with_extension(format!("damaged.{another}")),
                    _ => break,
                }
            }
            if let Err(error) = self.disk.rename(&path, &aside) {
                log::warn!("{}: {error}", path.display());
            }
        }
    }

    /// Reads a checkpoint. The inner result is an error where a newer program wrote it. That is no
    /// damage: going on from the checkpoint before it would lose what this one holds.
    fn try_load(&self, comm: &Comm, number: u64) -> Result<Result<Loaded>> {
        let path = self.path(number);
        let folder = comm.agree(Folder::open_no_link(&path))?;
        let (listed, text) = comm.agree(proven(&folder))?;
        let path = path.join(STATE);
        let listing = match comm.agree(Listing::parse(&path, &text))? {
            Ok(listing) => listing,
            // All ranks have read the same text, so the error is common to them.
            Err(newer) => return Ok(Err(Error { agreed: true, ..newer })),
        };
        let mut mine = listed.iter().skip(comm.rank()).step_by(comm.size());
        comm.agree(mine.try_for_each(|(name, sum)| folder.file(name)?.verify(None, sum)))?;
        let read = || {
            let (common, events) = (folder.file(COMMON)?, folder.file(EVENTS)?);
            let files =
                listed.keys().filter(|name| ![STATE, COMMON, EVENTS].contains(&name.as_str()));
            let (about, version) = (listing.about.clone(), listing.version);
            let families = listing.families(&path, files)?;
            Ok(Loaded {
                number,
                version,
                about,
                events: events.whole(u64::MAX)?,
                common: SavedItems::new(common.whole(u64::MAX)?, path.with_file_name(COMMON)),
                blocks: SavedBlocks::new(folder, families),
            })
        };
        comm.agree(read()).map(Ok)
    }
}

/// A file that adds up its digest while it is written.
struct SummedFile {
    file: BufWriter<DiskFile>,
    sum: Sha256,
    written: u64,
}

impl SummedFile {
    /// Syncs the file and returns its digest.
    fn finish(self) -> io::Result<String> {
        self.file.into_inner().map_err(io::IntoInnerError::into_error)?.sync()?;
        Ok(hex(&self.sum.finalize()))
    }
}

impl Write for SummedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.sum.update(&bytes[..count]);
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
