//! The activations of a rank's rows, computed once by a frozen part of the model: in memory, or in
//! a scratch file of the node where they would take more than the rank may have.

use std::borrow::Cow;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::device::{AtRest, Resting};
use crate::error::{Error, Result};
use crate::labels::Labels;
use crate::model::{Matrix, stride_of};

/// Numbers of scores of a class block that are held at once where nothing else is said: 64 MiB.
pub(crate) const SCORES_MAX: usize = 1 << 24;

/// Where activations may lie.
#[derive(Clone, Debug)]
pub struct Room {
    /// Bytes of activations that may lie in memory; more go to a file.
    pub bytes_max: usize,
    /// Numbers of scores of a class block that may be held at once.
    pub scores_max: usize,
    /// Folder of that file, on a disk of the node.
    pub scratch: PathBuf,
}

impl Room {
    /// All the memory that there is.
    pub fn unlimited() -> Room {
        Room { bytes_max: usize::MAX, scores_max: SCORES_MAX, scratch: std::env::temp_dir() }
    }

    /// Sees whether a scratch file can be made, before days of work come to need one.
    ///
    /// # Errors
    /// Exit 5, naming the folder.
    pub(crate) fn check(&self) -> Result<()> {
        unnamed_file(&self.scratch).map(drop)
    }
}

/// What activations at rest lie in.
enum Medium {
    Memory(Matrix),
    /// Some rows that stand for all, over and over, where a rank is measured that has no more.
    Repeated(Matrix),
    /// [rows][stride] numbers as this machine has them. The file has no name any more: it goes
    /// with the process, however that ends.
    Scratch(File),
}

/// Activations that are at rest, and the seal of each row: the crc32c of its numbers as they were
/// made. It travels with the row, so that memory, scratch file and network are proven together.
struct SealedRows {
    medium: Medium,
    seals: Vec<u32>,
    stride: usize,
    /// The first row among all, for errors.
    first_row: usize,
    /// Folder of a scratch file, for errors.
    scratch: PathBuf,
}

/// Activations in a scratch file, for a thread that reads them ahead.
#[derive(Clone)]
pub(crate) struct ScratchRows(Arc<SealedRows>);

/// The rows that this rank holds: a contiguous run of all rows, with their activations.
pub struct OwnRows {
    /// The global rows held here.
    pub(crate) rows: Range<usize>,
    pub(crate) labels: Labels,
    width: usize,
    sealed: Arc<SealedRows>,
    waited_nanoseconds: AtomicU64,
}

impl OwnRows {
    /// Room for the activations, `width` wide, of `rows`, which `push` brings in order.
    ///
    /// # Errors
    /// Exit 5 where no scratch file can be made.
    pub fn new(rows: Range<usize>, width: usize, room: &Room) -> Result<OwnRows> {
        let stride = stride_of(width);
        let medium = match rows.len() * stride * size_of::<f32>() <= room.bytes_max {
            true => Medium::Memory(Matrix::zeros(rows.len(), width)),
            false => Medium::Scratch(unnamed_file(&room.scratch)?),
        };
        let (seals, first_row) = (Vec::with_capacity(rows.len()), rows.start);
        let sealed = SealedRows { medium, seals, stride, first_row, scratch: room.scratch.clone() };
        let (sealed, waited_nanoseconds) = (Arc::new(sealed), AtomicU64::new(0));
        Ok(OwnRows { rows, labels: Labels::new(), width, sealed, waited_nanoseconds })
    }

    /// Rows whose activations and labels are `some` over and over. They are in memory as often as
    /// they are there where that is `held`, else once.
    pub(crate) fn repeated(
        rows: Range<usize>,
        (some, labels): (&Matrix, &Labels),
        held: bool,
    ) -> OwnRows {
        let mut own = OwnRows::new(0..0, some.width(), &Room::unlimited()).expect("in memory");
        let (count, sealed) = (rows.len(), Arc::get_mut(&mut own.sealed).expect("it is new"));
        sealed.medium = match held {
            true => Medium::Memory(Matrix::zeros(count, some.width())),
            false => Medium::Repeated(some.clone()),
        };
        own.rows = rows;
        for from in (0..count).step_by(some.rows()) {
            let here = some.rows().min(count - from);
            let mut part = some.clone();
            part.resize(here);
            own.push(&part, &labels.of(0..here)).expect("in memory");
        }
        own
    }

    /// Width d of the activations.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Seconds that this rank has waited for windows of these rows to be read from a scratch file.
    pub(crate) fn wait_seconds(&self) -> f64 {
        self.waited_nanoseconds.load(Ordering::Relaxed) as f64 * 1e-9
    }

    /// Adds seconds of such waiting.
    pub(crate) fn waited(&self, seconds: f64) {
        self.waited_nanoseconds.fetch_add((seconds * 1e9) as u64, Ordering::Relaxed);
    }

    /// Adds the next rows.
    ///
    /// # Errors
    /// Exit 5: the scratch file can't take them.
    pub fn push(&mut self, activations: &Matrix, labels: &Labels) -> Result<()> {
        let at = self.labels.rows();
        self.labels.extend(labels);
        Arc::get_mut(&mut self.sealed)
            .expect("nobody reads before all is there")
            .push(at, activations)
    }

    /// A row, counted from this rank's first, and its seal, where activations lie in memory.
    pub(super) fn in_memory(&self, row: usize) -> (&[f32], u32) {
        let numbers = match &self.sealed.medium {
            Medium::Memory(all) => all.row(row),
            Medium::Repeated(some) => some.row(row % some.rows()),
            Medium::Scratch(_) => unreachable!("rows of a scratch file are read ahead"),
        };
        (numbers, self.sealed.seals[row])
    }

    /// The scratch file, if the activations lie in one, for a thread that reads ahead.
    pub(crate) fn scratch(&self) -> Option<ScratchRows> {
        match self.sealed.medium {
            Medium::Memory(_) | Medium::Repeated(_) => None,
            Medium::Scratch(_) => Some(ScratchRows(self.sealed.clone())),
        }
    }
}

impl AtRest for OwnRows {
    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn gathered(&self, rows: &[usize]) -> Result<Resting<'_>> {
        let mut activations = Matrix::zeros(0, self.width);
        self.sealed.copy(rows, false, &mut activations.data)?;
        activations.resize(rows.len());
        let labels = self.labels.of(rows.iter().copied());
        let rows = 0..rows.len();
        Ok(Resting { activations: Cow::Owned(activations), labels: Cow::Owned(labels), rows })
    }

    fn run(&self, rows: Range<usize>) -> Result<Resting<'_>> {
        let file = match &self.sealed.medium {
            Medium::Memory(all) => {
                let (activations, labels) = (Cow::Borrowed(all), Cow::Borrowed(&self.labels));
                return Ok(Resting { activations, labels, rows });
            }
            Medium::Repeated(_) => return self.gathered(&rows.collect::<Vec<_>>()),
            Medium::Scratch(file) => file,
        };
        let mut activations = Matrix::zeros(rows.len(), self.width);
        self.sealed.read(file, rows.start, &mut activations.data)?;
        let labels = self.labels.of(rows.clone());
        let rows = 0..rows.len();
        Ok(Resting { activations: Cow::Owned(activations), labels: Cow::Owned(labels), rows })
    }
}

impl ScratchRows {
    /// Appends single rows, counted from this rank's first, to `to`: the numbers of each and its
    /// seal.
    ///
    /// # Errors
    /// Exit 5: the file can't be read, or is damaged.
    pub(crate) fn copy_sealed(&self, rows: &[usize], to: &mut Vec<f32>) -> Result<()> {
        self.0.copy(rows, true, to)
    }
}

/// The seal of a row's numbers.
pub(crate) fn seal_of(numbers: &[f32]) -> u32 {
    crc32c::crc32c(bytemuck::cast_slice(numbers))
}

impl SealedRows {
    fn push(&mut self, at: usize, activations: &Matrix) -> Result<()> {
        let (rows, stride) = (activations.rows(), self.stride);
        self.seals.extend((0..rows).map(|row| seal_of(activations.row(row))));
        match &mut self.medium {
            Medium::Memory(all) => {
                all.data[at * stride..(at + rows) * stride].copy_from_slice(&activations.data);
                Ok(())
            }
            Medium::Repeated(_) => Ok(()),
            Medium::Scratch(file) => {
                let bytes = bytemuck::cast_slice(&activations.data);
                let written = file.write_all_at(bytes, (at * stride * size_of::<f32>()) as u64);
                written.map_err(|error| self.failed(error))
            }
        }
    }

    /// Appends `rows` to `to`, with their seals if that is wanted.
    fn copy(&self, rows: &[usize], sealed: bool, to: &mut Vec<f32>) -> Result<()> {
        let (from, width) = (to.len(), self.stride + usize::from(sealed));
        to.resize(from + rows.len() * width, 0.0);
        let places = to[from..].chunks_exact_mut(width.max(1));
        let mut places: Vec<(usize, &mut [f32])> = rows.iter().copied().zip(places).collect();
        if let Medium::Scratch(_) = &self.medium {
            // They are read in the file's order, so that a disk reads forwards.
            places.sort_unstable_by_key(|place| place.0);
        }
        for (row, place) in places {
            let (numbers, seal) = place.split_at_mut(self.stride);
            match &self.medium {
                Medium::Memory(all) => numbers.copy_from_slice(all.row(row)),
                Medium::Repeated(some) => numbers.copy_from_slice(some.row(row % some.rows())),
                Medium::Scratch(file) => self.read(file, row, numbers)?,
            }
            seal.fill(f32::from_bits(self.seals[row]));
        }
        Ok(())
    }

    /// Reads consecutive rows from `row` on.
    fn read(&self, file: &File, row: usize, to: &mut [f32]) -> Result<()> {
        let at = (row * self.stride * size_of::<f32>()) as u64;
        file.read_exact_at(bytemuck::cast_slice_mut(to), at).map_err(|error| self.failed(error))?;
        for (row, numbers) in (row..).zip(to.chunks_exact(self.stride.max(1))) {
            let (found, expected) = (seal_of(numbers), self.seals[row]);
            if found != expected {
                return Err(Error::storage(format!(
                    "scratch file in {}: activations of row {}: found crc32c {found:08x}, expected \
                     {expected:08x}",
                    self.scratch.display(),
                    self.first_row + row
                ))
                .hint("the disk or memory has a fault; run.scratch names another folder"));
            }
        }
        Ok(())
    }

    fn failed(&self, error: std::io::Error) -> Error {
        scratch_error(format!("scratch file in {}", self.scratch.display()), error)
    }
}

fn scratch_error(what: impl std::fmt::Display, error: std::io::Error) -> Error {
    Error::storage(format!("{what}: {error}")).hint(
        "run.scratch names a folder on a disk of the node, with room for its rows' activations",
    )
}

/// A new file in `folder` that no other process can come by.
fn unnamed_file(folder: &Path) -> Result<File> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!("reelscale-{}-{number}.scratch", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).open(&path);
    let file = file.map_err(|error| scratch_error(path.display(), error))?;
    fs::remove_file(&path).map_err(|error| scratch_error(path.display(), error))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_file_gives_what_memory_gives() {
        let matrix = Matrix::from_rows(&(0..60).map(|x| x as f32).collect::<Vec<_>>(), 3);
        let mut labels = Labels::new();
        (0..20).for_each(|row| labels.push(&[row, row + 5]));
        let both = [usize::MAX, 0].map(|bytes_max| {
            let room = Room { bytes_max, ..Room::unlimited() };
            let mut own = OwnRows::new(7..27, 3, &room).unwrap();
            own.push(&matrix, &labels).unwrap();
            let mut copied = vec![1.0];
            let some = [5, 0, 19, 5];
            match own.scratch() {
                Some(scratch) => scratch.copy_sealed(&some, &mut copied).unwrap(),
                None => some.into_iter().map(|row| own.in_memory(row)).for_each(|row| {
                    copied.extend_from_slice(row.0);
                    copied.push(f32::from_bits(row.1));
                }),
            }
            let piece = own.run(4..9).unwrap();
            let rows = piece.rows.clone();
            let data = piece.activations.run(rows.clone()).to_vec();
            let classes: Vec<u32> = rows.flat_map(|row| piece.labels.row(row).to_vec()).collect();
            let some = own.gathered(&[17, 3]).unwrap();
            assert_eq!(some.labels.row(0), &[17, 22]);
            let gathered = some.activations.into_owned();
            (copied, data, classes, gathered)
        });
        assert_eq!(both[0], both[1]);
        assert_eq!(both[0].0.len(), 1 + 4 * 17);
        assert_eq!(both[0].0[1], 15.0);
    }

    #[test]
    fn every_flipped_bit_of_a_scratch_file_is_found() {
        let matrix = Matrix::from_rows(&(0..12).map(|x| x as f32).collect::<Vec<_>>(), 3);
        let mut labels = Labels::new();
        (0..4).for_each(|_| labels.push(&[]));
        let room = Room { bytes_max: 0, ..Room::unlimited() };
        let mut own = OwnRows::new(7..11, 3, &room).unwrap();
        own.push(&matrix, &labels).unwrap();
        let Medium::Scratch(file) = &own.sealed.medium else { panic!("memory") };
        for bit in 0..4 * 16 * 32 {
            let mut byte = [0];
            file.read_exact_at(&mut byte, bit / 8).unwrap();
            let flip = |byte: u8| file.write_all_at(&[byte], bit / 8).unwrap();
            flip(byte[0] ^ 1 << (bit % 8));
            let row = bit as usize / 512;
            let error = own.run(0..4).map(drop).unwrap_err();
            assert_eq!(error.exit, crate::error::Exit::Storage);
            assert!(error.text.contains(&format!("row {}: found crc32c", row + 7)), "{error}");
            assert_eq!(own.gathered(&[row]).map(drop).unwrap_err().text, error.text);
            own.gathered(&[(row + 1) % 4]).unwrap();
            flip(byte[0]);
        }
        own.run(0..4).unwrap();
    }
}
