//! The activations of a rank's rows, computed once by a frozen part of the model: in memory, or in
//! a scratch file of the node where they would take more than the rank may have.

use std::borrow::Cow;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::labels::Labels;
use crate::model::matrix::{Matrix, stride_of};
use crate::model::mixture::Passing;

/// Numbers of scores of a class block that are held at once where nothing else is said: 64 MiB.
pub const SCORES_MAX: usize = 1 << 24;

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
    pub fn check(&self) -> Result<()> {
        unnamed_file(&self.scratch).map(drop)
    }
}

enum Store {
    Memory(Matrix),
    /// [rows][stride] numbers as this machine has them. The file has no name any more: it goes
    /// with the process, however that ends.
    Scratch(Arc<ScratchRows>),
}

/// Activations in a scratch file.
pub struct ScratchRows {
    file: File,
    stride: usize,
}

/// The rows that this rank holds: a contiguous run of all rows, with their activations.
pub struct OwnRows {
    /// The global rows held here.
    pub rows: Range<usize>,
    pub labels: Labels,
    width: usize,
    store: Store,
    waited_nanoseconds: AtomicU64,
}

/// Consecutive rows in memory, ready to pass class blocks: `rows` of `activations` and `labels`.
pub struct Piece<'a> {
    activations: Cow<'a, Matrix>,
    labels: Cow<'a, Labels>,
    pub rows: Range<usize>,
}

impl Piece<'_> {
    pub fn passing(&self) -> Passing<'_> {
        Passing { activations: &self.activations, labels: &self.labels, weights: &[] }
    }
}

impl OwnRows {
    /// Room for the activations, `width` wide, of `rows`, which `push` brings in order.
    ///
    /// # Errors
    /// Exit 5 where no scratch file can be made.
    pub fn new(rows: Range<usize>, width: usize, room: &Room) -> Result<OwnRows> {
        let bytes = rows.len() * stride_of(width) * size_of::<f32>();
        let store = match bytes <= room.bytes_max {
            true => Store::Memory(Matrix::zeros(rows.len(), width)),
            false => {
                let file = unnamed_file(&room.scratch)?;
                Store::Scratch(Arc::new(ScratchRows { file, stride: stride_of(width) }))
            }
        };
        let waited_nanoseconds = AtomicU64::new(0);
        Ok(OwnRows { rows, labels: Labels::new(), width, store, waited_nanoseconds })
    }

    /// Width d of the activations.
    pub fn width(&self) -> usize {
        self.width
    }

    fn stride(&self) -> usize {
        stride_of(self.width)
    }

    /// Seconds that was waited for windows of these rows out of a scratch file.
    pub fn wait_seconds(&self) -> f64 {
        self.waited_nanoseconds.load(Ordering::Relaxed) as f64 * 1e-9
    }

    /// Adds seconds of such waiting.
    pub fn waited(&self, seconds: f64) {
        self.waited_nanoseconds.fetch_add((seconds * 1e9) as u64, Ordering::Relaxed);
    }

    /// Adds the next rows.
    ///
    /// # Errors
    /// Exit 5: the scratch file can't take them.
    pub fn push(&mut self, activations: &Matrix, labels: &Labels) -> Result<()> {
        let (at, stride) = (self.labels.rows(), self.stride());
        self.labels.extend(labels);
        match &mut self.store {
            Store::Memory(all) => {
                let to = at * stride..(at + activations.rows()) * stride;
                all.data[to].copy_from_slice(&activations.data);
                Ok(())
            }
            Store::Scratch(scratch) => {
                let bytes = bytemuck::cast_slice(&activations.data);
                scratch.file.write_all_at(bytes, (at * stride * 4) as u64).map_err(failed)
            }
        }
    }

    /// Appends the activations of single rows, counted from this rank's first, to `to`.
    ///
    /// # Errors
    /// Exit 5: the scratch file can't be read.
    pub fn copy(&self, rows: &[usize], to: &mut Vec<f32>) -> Result<()> {
        match &self.store {
            Store::Memory(all) => {
                rows.iter().for_each(|row| to.extend_from_slice(all.row(*row)));
                Ok(())
            }
            Store::Scratch(scratch) => scratch.copy(rows, to),
        }
    }

    /// The scratch file, if the activations lie in one, for a thread that reads ahead.
    pub fn scratch(&self) -> Option<Arc<ScratchRows>> {
        match &self.store {
            Store::Memory(_) => None,
            Store::Scratch(scratch) => Some(scratch.clone()),
        }
    }

    /// Single rows, counted from this rank's first, as a piece of their own.
    ///
    /// # Errors
    /// Exit 5: the scratch file can't be read.
    pub fn gathered(&self, rows: &[usize]) -> Result<Piece<'_>> {
        let mut activations = Matrix::zeros(0, self.width);
        self.copy(rows, &mut activations.data)?;
        activations.resize(rows.len());
        let mut labels = Labels::new();
        rows.iter().for_each(|row| labels.push(self.labels.row(*row)));
        let rows = 0..rows.len();
        Ok(Piece { activations: Cow::Owned(activations), labels: Cow::Owned(labels), rows })
    }

    /// A run of rows, counted from this rank's first.
    ///
    /// # Errors
    /// Exit 5: the scratch file can't be read.
    pub fn piece(&self, rows: Range<usize>) -> Result<Piece<'_>> {
        match &self.store {
            Store::Memory(all) => Ok(Piece {
                activations: Cow::Borrowed(all),
                labels: Cow::Borrowed(&self.labels),
                rows,
            }),
            Store::Scratch(scratch) => {
                let mut activations = Matrix::zeros(rows.len(), self.width);
                scratch.read(rows.start, &mut activations.data)?;
                let mut labels = Labels::new();
                rows.clone().for_each(|row| labels.push(self.labels.row(row)));
                let rows = 0..rows.len();
                Ok(Piece { activations: Cow::Owned(activations), labels: Cow::Owned(labels), rows })
            }
        }
    }
}

impl ScratchRows {
    /// Appends the activations of `rows`, counted from the rank's first, to `to`.
    ///
    /// # Errors
    /// Exit 5: the file can't be read.
    pub fn copy(&self, rows: &[usize], to: &mut Vec<f32>) -> Result<()> {
        let from = to.len();
        to.resize(from + rows.len() * self.stride, 0.0);
        let places = to[from..].chunks_exact_mut(self.stride.max(1));
        let mut places: Vec<(usize, &mut [f32])> = rows.iter().copied().zip(places).collect();
        // In the file's order, so that a disk reads forwards.
        places.sort_unstable_by_key(|place| place.0);
        places.into_iter().try_for_each(|(row, place)| self.read(row, place))
    }

    fn read(&self, row: usize, to: &mut [f32]) -> Result<()> {
        let at = (row * self.stride * size_of::<f32>()) as u64;
        self.file.read_exact_at(bytemuck::cast_slice_mut(to), at).map_err(failed)
    }
}

fn failed(error: std::io::Error) -> Error {
    told("scratch file", error)
}

fn told(what: impl std::fmt::Display, error: std::io::Error) -> Error {
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
    let file = file.map_err(|error| told(path.display(), error))?;
    fs::remove_file(&path).map_err(|error| told(path.display(), error))?;
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
            own.copy(&[5, 0, 19, 5], &mut copied).unwrap();
            let piece = own.piece(4..9).unwrap();
            let rows = piece.rows.clone();
            let passing = piece.passing();
            let data = passing.activations.run(rows.clone()).to_vec();
            let classes: Vec<u32> = rows.flat_map(|row| passing.labels.row(row).to_vec()).collect();
            let some = own.gathered(&[17, 3]).unwrap();
            let gathered = some.passing().activations.clone();
            assert_eq!(some.passing().labels.row(0), &[17, 22]);
            (copied, data, classes, gathered)
        });
        assert_eq!(both[0], both[1]);
        assert_eq!(both[0].0.len(), 1 + 4 * 16);
        assert_eq!(both[0].0[1], 15.0);
    }
}
