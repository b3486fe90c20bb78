//! Items of a dataset through HDF5, straight from and into the caller's bytes: the crate's safe
//! interface would allocate anew for every read.

use std::ops::Range;

use hdf5_sys::h5::{herr_t, hsize_t};
use hdf5_sys::h5d::{H5Dread, H5Dread_chunk1, H5Dwrite, H5Dwrite_chunk};
use hdf5_sys::h5i::hid_t;
use hdf5_sys::h5p::H5P_DEFAULT;
use hdf5_sys::h5s::{H5S_ALL, H5S_SELECT_SET, H5Sclose, H5Screate_simple, H5Sselect_hyperslab};

// Of HDF5 since 1.10.2; the crate doesn't list it.
unsafe extern "C" {
    fn H5Dget_chunk_storage_size(id: hid_t, at: *const hsize_t, bytes: *mut hsize_t) -> herr_t;
}

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
pub(crate) fn item_bytes(dataset: &hdf5::Dataset) -> hdf5::Result<usize> {
    let width: usize = dataset.shape().iter().skip(1).product();
    Ok(width * dataset.dtype()?.size())
}

/// Reads `items` of a vector or a matrix into `bytes`, as they are stored.
pub(crate) fn read(
    dataset: &hdf5::Dataset,
    items: Range<usize>,
    bytes: &mut [u8],
) -> hdf5::Result<()> {
    assert!((1..=2).contains(&dataset.ndim()), "a vector or a matrix");
    read_along(dataset, 0, items, bytes)
}

/// Reads what stands at `items` of one axis, and all of the others, as it is stored.
pub(crate) fn read_along(
    dataset: &hdf5::Dataset,
    axis: usize,
    items: Range<usize>,
    bytes: &mut [u8],
) -> hdf5::Result<()> {
    let (dtype, space, shape) = (dataset.dtype()?, dataset.space()?, dataset.shape());
    assert!(items.end <= shape[axis], "{items:?} of {shape:?} along {axis}");
    let mut count: Vec<hsize_t> = shape.iter().map(|size| *size as hsize_t).collect();
    let mut start = vec![0; shape.len()];
    (start[axis], count[axis]) = (items.start as hsize_t, items.len() as hsize_t);
    let elements: hsize_t = count.iter().product();
    assert_eq!(bytes.len(), elements as usize * dtype.size(), "room for what is read");
    if elements == 0 {
        return Ok(());
    }
    let status = hdf5::sync::sync(|| {
        let memory = Space::simple(&count);
        let (stride, block) = (std::ptr::null(), std::ptr::null());
        // SAFETY: start and count have a number for each dimension of the dataset.
        let status = unsafe {
            let (start, count) = (start.as_ptr(), count.as_ptr());
            H5Sselect_hyperslab(space.id(), H5S_SELECT_SET, start, stride, count, block)
        };
        if status < 0 {
            return status;
        }
        let (dtype, into) = (dtype.id(), bytes.as_mut_ptr().cast());
        // SAFETY: `bytes` has room for as many items as both spaces select, in the file's type.
        unsafe { H5Dread(dataset.id(), dtype, memory.0, space.id(), H5P_DEFAULT, into) }
    });
    if status < 0 { Err("checksum or structure".into()) } else { Ok(()) }
}

/// Reads what is stored of the chunk that begins at `offset`, which can't be longer than a file of
/// `file_bytes` bytes, and which of its filters were left out, a bit each.
pub(crate) fn read_chunk(
    dataset: &hdf5::Dataset,
    offset: &[hsize_t],
    file_bytes: u64,
    stored: &mut Vec<u8>,
) -> hdf5::Result<u32> {
    assert_eq!(dataset.ndim(), offset.len(), "a number for each dimension");
    let (id, at, mut bytes, mut without) = (dataset.id(), offset.as_ptr(), 0, 0);
    // SAFETY: `offset` has a number for each dimension.
    let status = hdf5::sync::sync(|| unsafe { H5Dget_chunk_storage_size(id, at, &mut bytes) });
    if status < 0 || bytes == 0 || bytes > file_bytes {
        return Err("can't be read".into());
    }
    stored.resize(bytes as usize, 0);
    let into = stored.as_mut_ptr().cast();
    // SAFETY: as above, and `stored` has room for what HDF5 has just said.
    let status =
        hdf5::sync::sync(|| unsafe { H5Dread_chunk1(id, H5P_DEFAULT, at, &mut without, into) });
    if status < 0 { Err("can't be read".into()) } else { Ok(without) }
}

/// Writes the chunk of a matrix whose first row is `row` as its bytes are to lie in the file, with
/// what its filters add: nothing of HDF5 looks at them.
pub(crate) fn write_chunk(dataset: &hdf5::Dataset, row: usize, stored: &[u8]) -> hdf5::Result<()> {
    let offset = [row as hsize_t, 0];
    assert_eq!(dataset.ndim(), offset.len(), "a matrix");
    let (id, length, data) = (dataset.id(), stored.len(), stored.as_ptr().cast());
    // SAFETY: `offset` has a number for each dimension, and `data` is `length` bytes long.
    let status = hdf5::sync::sync(|| unsafe {
        H5Dwrite_chunk(id, H5P_DEFAULT, 0, offset.as_ptr(), length, data)
    });
    if status < 0 { Err("can't be written".into()) } else { Ok(()) }
}

/// Writes `bytes`, the whole of a dataset, as they are to be stored.
pub(crate) fn write_whole(dataset: &hdf5::Dataset, bytes: &[u8]) -> hdf5::Result<()> {
    let dtype = dataset.dtype()?;
    assert_eq!(bytes.len(), dataset.size() * dtype.size(), "all of the dataset");
    let (id, data) = (dataset.id(), bytes.as_ptr().cast());
    // SAFETY: `data` holds as many bytes as the whole dataset has in its own type.
    let status = hdf5::sync::sync(|| unsafe {
        H5Dwrite(id, dtype.id(), H5S_ALL, H5S_ALL, H5P_DEFAULT, data)
    });
    if status < 0 { Err("can't be written".into()) } else { Ok(()) }
}
