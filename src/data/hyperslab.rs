//! Items of a dataset through HDF5, straight from and into the caller's bytes: the crate's safe
//! interface would allocate anew for every read.

use std::ops::Range;

use hdf5_sys::h5::{herr_t, hsize_t};
use hdf5_sys::h5d::{H5Dread, H5Dwrite};
use hdf5_sys::h5i::hid_t;
use hdf5_sys::h5p::H5P_DEFAULT;
use hdf5_sys::h5s::{H5S_ALL, H5S_SELECT_SET, H5Sclose, H5Screate_simple, H5Sselect_hyperslab};

/// A simple dataspace that closes itself.
struct Space(hid_t);

impl Space {
    fn simple(extents: &[hsize_t]) -> Space {
        // SAFETY: HDF5 copies as many extents as it is told that there are.
        Space(unsafe { H5Screate_simple(extents.len() as i32, extents.as_ptr(), std::ptr::null()) })
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // SAFETY: the handle is this space's own.
        unsafe { H5Sclose(self.0) };
    }
}

/// Bytes of an item: a row of a matrix, a value of a vector.
pub fn item_bytes(dataset: &hdf5::Dataset) -> hdf5::Result<usize> {
    let width: usize = dataset.shape().iter().skip(1).product();
    Ok(width * dataset.dtype()?.size())
}

/// Reads `items` of a vector or a matrix into `bytes`, as they are stored.
pub fn read(dataset: &hdf5::Dataset, items: Range<usize>, bytes: &mut [u8]) -> hdf5::Result<()> {
    assert_eq!(bytes.len(), items.len() * item_bytes(dataset)?, "room for what is read");
    transfer(dataset, items, |dtype, memory, file| {
        // SAFETY: `bytes` has room for as many items as both spaces select, in the file's type.
        unsafe {
            let into = bytes.as_mut_ptr().cast();
            H5Dread(dataset.id(), dtype, memory, file, H5P_DEFAULT, into)
        }
    })
}

/// Writes `items` of a vector or a matrix from `bytes`, as they are to be stored.
pub fn write(dataset: &hdf5::Dataset, items: Range<usize>, bytes: &[u8]) -> hdf5::Result<()> {
    assert_eq!(bytes.len(), items.len() * item_bytes(dataset)?, "all of what is written");
    transfer(dataset, items, |dtype, memory, file| {
        // SAFETY: `bytes` holds as many items as both spaces select, in the file's type.
        unsafe {
            let from = bytes.as_ptr().cast();
            H5Dwrite(dataset.id(), dtype, memory, file, H5P_DEFAULT, from)
        }
    })
}

/// Makes `call` with the dataset's type, a space in memory and one in the file that have `items`.
fn transfer(
    dataset: &hdf5::Dataset,
    items: Range<usize>,
    mut call: impl FnMut(hid_t, hid_t, hid_t) -> herr_t,
) -> hdf5::Result<()> {
    if items.is_empty() {
        return Ok(());
    }
    let (dtype, space, shape) = (dataset.dtype()?, dataset.space()?, dataset.shape());
    assert!((1..=2).contains(&shape.len()) && items.end <= shape[0], "{items:?} of {shape:?}");
    let width = shape.get(1).map_or(0, |width| *width as hsize_t);
    let (start, count) = ([items.start as hsize_t, 0], [items.len() as hsize_t, width]);
    let status = hdf5::sync::sync(|| {
        let memory = Space::simple(&count[..shape.len()]);
        let (stride, block) = (std::ptr::null(), std::ptr::null());
        // SAFETY: start and count have a number for each dimension of the dataset.
        let status = unsafe {
            let (start, count) = (start.as_ptr(), count.as_ptr());
            H5Sselect_hyperslab(space.id(), H5S_SELECT_SET, start, stride, count, block)
        };
        if status < 0 { status } else { call(dtype.id(), memory.0, space.id()) }
    });
    if status < 0 { Err("checksum or structure".into()) } else { Ok(()) }
}

/// Writes `bytes`, the whole of a dataset, as they are to be stored.
pub fn write_whole(dataset: &hdf5::Dataset, bytes: &[u8]) -> hdf5::Result<()> {
    let dtype = dataset.dtype()?;
    assert_eq!(bytes.len(), dataset.size() * dtype.size(), "all of the dataset");
    let (id, data) = (dataset.id(), bytes.as_ptr().cast());
    // SAFETY: `data` holds as many bytes as the whole dataset has in its own type.
    let status = hdf5::sync::sync(|| unsafe {
        H5Dwrite(id, dtype.id(), H5S_ALL, H5S_ALL, H5P_DEFAULT, data)
    });
    if status < 0 { Err("can't be written".into()) } else { Ok(()) }
}
