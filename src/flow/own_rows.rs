//! The activations of a rank's rows, computed once by a frozen part of the model: in memory, or in
//! a scratch file of the node where they would take more than the rank may have.

use std::borrow::Cow;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::labels::Labels;
use crate::model::matrix::{Matrix, stride_of};
use crate::model::mixture::Passing;

/// Where activations may lie.
#[derive(Clone, Debug)]
pub struct Room {
    /// Bytes of activations that may lie in memory; more go to a file.
    pub bytes_max: usize,
    /// Folder of that file, on a disk of the node.
    pub scratch: PathBuf,
}

impl Room {
    /// All the memory that there is.
    pub fn unlimited() -> Room {
        Room { bytes_max: usize::MAX, scratch: std::env::temp_dir() }
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
    Scratch(File),
}

/// The rows that this rank holds: a contiguous run of all rows, with their activations.
pub struct OwnRows {
    /// The global rows held here.
    pub rows: Range<usize>,
    pub labels: Labels,
    width: usize,
    store: Store,
}

/// Consecutive rows in memory, ready to pass class blocks: `rows` of `activations` and `labels`.
pub struct Piece<'a> {
    activations: Cow<'a, Matrix>,
    labels: Cow<'a, Labels>,
    pub rows: Range<usize>,
}

impl Piece<'_> {
    pub fn passing(&self) -> Passing<'_> {
        Passing { activations: &self.activations, labels: &self.labels }
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
            false => Store::Scratch(unnamed_file(&room.scratch)?),
        };
        Ok(OwnRows { rows, labels: Labels::new(), width, store })
    }

    /// Width d of the activations.
    pub fn width(&self) -> usize {
        self.width
    }

    fn stride(&self) -> usize {
        stride_of(self.width)
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
            Store::Scratch(file) => file
                .write_all_at(bytemuck::cast_slice(&activations.data), (at * stride * 4) as u64)
                .map_err(failed),
        }
    }

    /// Appends the activations of single rows, counted from this rank's first, to `to`.
    ///
    /// # Errors
    /// Exit 5: the scratch file can't be read.
    pub fn copy(&self, rows: &[usize], to: &mut Vec<f32>) -> Result<()> {
        let stride = self.stride();
        match &self.store {
            Store::Memory(all) => {
                rows.iter().for_each(|row| to.extend_from_slice(all.row(*row)));
                Ok(())
            }
            Store::Scratch(file) => {
                let from = to.len();
                to.resize(from + rows.len() * stride, 0.0);
                let mut places: Vec<(usize, &mut [f32])> =
                    rows.iter().copied().zip(to[from..].chunks_exact_mut(stride)).collect();
                // In the file's order, so that a disk reads forwards.
                places.sort_unstable_by_key(|place| place.0);
                places.into_iter().try_for_each(|(row, place)| read(file, row, stride, place))
            }
        }
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
            Store::Scratch(file) => {
                let mut activations = Matrix::zeros(rows.len(), self.width);
                read(file, rows.start, self.stride(), &mut activations.data)?;
                let mut labels = Labels::new();
                rows.clone().for_each(|row| labels.push(self.labels.row(row)));
                let rows = 0..rows.len();
                Ok(Piece { activations: Cow::Owned(activations), labels: Cow::Owned(labels), rows })
            }
        }
    }
}

fn read(file: &File, row: usize, stride: usize, to: &mut [f32]) -> Result<()> {
    file.read_exact_at(bytemuck::cast_slice_mut(to), (row * stride * 4) as u64).map_err(failed)
}

fn failed(error: std::io::Error) -> Error {
    Error::storage(format!("scratch file: {error}"))
        .hint("run.scratch names a folder with room for the activations of a node's rows")
}

/// A new file in `folder` that no other process can come by.
fn unnamed_file(folder: &Path) -> Result<File> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!("reelscale-{}-{number}.scratch", std::process::id()));
    let told = |error: std::io::Error| {
        Error::storage(format!("{}: {error}", path.display()))
            .hint("run.scratch names a folder on a disk of the node")
    };
    let file = File::options().read(true).write(true).create_new(true).open(&path);
    let file = file.map_err(told)?;
    fs::remove_file(&path).map_err(told)?;
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
            (copied, data, classes)
        });
        assert_eq!(both[0], both[1]);
        assert_eq!(both[0].0.len(), 1 + 4 * 16);
        assert_eq!(both[0].0[1], 15.0);
    }
}
