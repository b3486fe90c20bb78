//! Annotations as an HDF5 file: /ids `[rows]`, /classes and /scores `[rows, top]`, best first;
//! /class_names `[K]` where classes have names. The same rows give the same bytes at any time: no
//! object has one.

use std::path::Path;
use std::sync::Arc;

use hdf5::types::VarLenUnicode;

use super::class_names::{CLASS_NAMES, read_class_names, write_class_names};
use super::content::unpadded;
use super::hyperslab::{self, item_bytes};
use super::objects::{failed, matrix, write_ids};
use crate::disk::{Disk, own_temporary};
use crate::error::{Error, Result};
use crate::names::Names;

const FORMAT: &str = "reelscale-annotations";

/// Videos with their best classes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Annotations {
    pub(crate) ids: Vec<Vec<u8>>,
    /// [rows][top]
    pub(crate) classes: Vec<u32>,
    pub(crate) scores: Vec<f32>,
    pub(crate) top: usize,
    /// Of all classes, where these have some.
    pub(crate) names: Option<Arc<Names>>,
}

impl Annotations {
    /// Appends videos and their pairs [rows][top].
    pub(crate) fn extend(&mut self, ids: Vec<Vec<u8>>, best: &[(f32, u32)]) {
        assert_eq!(best.len(), ids.len() * self.top, "pairs of each video");
        self.ids.extend(ids);
        self.classes.extend(best.iter().map(|pair| pair.1));
        self.scores.extend(best.iter().map(|pair| pair.0));
    }

    /// Writes them to `path`, under a temporary name first; it must not exist.
    ///
    /// # Errors
    /// Exit 5 where the file system refuses.
    pub(crate) fn write_new(&self, disk: &Disk, path: &Path) -> Result<()> {
        let temporary = own_temporary(path);
        let outcome = self.write(&temporary).map_err(|error| failed(path, error)).and_then(|()| {
            disk.put_new(&temporary, path).map_err(|error| Error::file(path, &error))
        });
        let _ = disk.remove_file(&temporary);
        outcome
    }

    /// Writes them to `temporary`, which HDF5 makes and nobody has synced, and to which another
    /// name is to be given.
    ///
    /// # Errors
    /// Exit 5 where the file system refuses.
    pub(crate) fn write_temporary(&self, temporary: &Path) -> Result<()> {
        self.write(temporary).map_err(|error| failed(temporary, error))
    }

    fn write(&self, path: &Path) -> hdf5::Result<()> {
        let file = hdf5::File::create(path)?;
        let format: VarLenUnicode = FORMAT.parse().expect("a text without NUL");
        file.new_attr::<VarLenUnicode>().create("format")?.write_scalar(&format)?;
        write_ids(&file, &self.ids)?;
        matrix(&file, "classes", &self.classes, self.ids.len(), self.top)?;
        matrix(&file, "scores", &self.scores, self.ids.len(), self.top)?;
        if let Some(names) = &self.names {
            write_class_names(&file, names.all())?;
        }
        file.close()
    }

    /// Reads those that this program has written to `path`.
    ///
    /// # Errors
    /// Exit 4: the file isn't of that kind, or is damaged.
    pub(crate) fn read(path: &Path) -> Result<Annotations> {
        let wrong = |error: hdf5::Error| Error::input(format!("{}: {error}", path.display()));
        read(path).map_err(wrong)
    }
}

fn read(path: &Path) -> hdf5::Result<Annotations> {
    let file = hdf5::File::open(path)?;
    let format = file.attr("format")?.read_scalar::<VarLenUnicode>()?;
    if format.as_str() != FORMAT {
        return Err(format!("format: found {:?}, expected {FORMAT:?}", format.as_str()).into());
    }
    let size = std::fs::metadata(path).map_or(0, |found| found.len());
    let ids = file.dataset("ids")?;
    let (rows, width) = (ids.size(), item_bytes(&ids)?);
    let [classes, scores] = ["classes", "scores"].map(|name| file.dataset(name));
    let (classes, scores) = (classes?, scores?);
    let shape = scores.shape();
    let numbers: Option<usize> =
        shape.iter().try_fold(8, |all: usize, side| all.checked_mul(*side));
    let bytes = rows.checked_mul(width).zip(numbers).and_then(|(a, b)| a.checked_add(b));
    if shape.len() != 2 || shape[0] != rows || classes.shape() != shape || ids.ndim() != 1 {
        let found = (ids.shape(), classes.shape(), shape);
        return Err(format!("ids, classes, scores: found {found:?}, expected as many rows").into());
    }
    if bytes.is_none_or(|bytes| bytes as u64 > size) {
        return Err(format!("found {rows} rows in a file of {size} bytes").into());
    }
    let mut cells = vec![0; rows * width];
    hyperslab::read(&ids, 0..rows, &mut cells)?;
    let ids = cells.chunks_exact(width.max(1)).map(|cell| unpadded(cell).to_vec()).collect();
    let (classes, scores) = (classes.read_raw::<u32>()?, scores.read_raw::<f32>()?);
    let names = read_class_names(&file, size, None).and_then(|found| {
        let names = found.map(Names::new).transpose()?;
        Ok(names.map(Arc::new))
    });
    let names = names.map_err(|text| format!("{CLASS_NAMES}: {text}"))?;
    Ok(Annotations { ids, classes, scores, top: shape[1], names })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_come_back_and_have_no_time() {
        let folder = tempfile::tempdir().unwrap();
        let mut written = Annotations { top: 2, ..Annotations::default() };
        written.extend(vec![b"a".to_vec(), b"caf\xe9".to_vec()], &[(0.5, 3), (0.25, 1)].repeat(2));
        let paths = ["a.h5", "b.h5"].map(|name| folder.path().join(name));
        written.write_new(&Disk::default(), &paths[0]).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(1100));
        written.write_new(&Disk::default(), &paths[1]).unwrap();
        let [first, second] = paths.each_ref().map(|path| std::fs::read(path).unwrap());
        assert!(first == second, "a second later");
        assert_eq!(Annotations::read(&paths[1]).unwrap(), written);
        let list = ["cat", "", "caf\u{e9}", "dog"].map(String::from).to_vec();
        written.names = Some(Arc::new(Names::new(list).unwrap()));
        let named = folder.path().join("named.h5");
        written.write_new(&Disk::default(), &named).unwrap();
        assert_eq!(Annotations::read(&named).unwrap(), written);
        assert_eq!(written.write_new(&Disk::default(), &paths[0]).unwrap_err().exit as u8, 5);
        std::fs::write(&paths[0], "no HDF5").unwrap();
        assert_eq!(Annotations::read(&paths[0]).unwrap_err().exit as u8, 4);
    }
}
