//! Whether a dataset's rows are all there: what HDF5 would fill up in silence is found before it
//! is read.

use std::ffi::c_char;
use std::path::{Path, PathBuf};

use hdf5::dataset::Layout;
use hdf5::filters::Filter;
use hdf5::{Dataset, Group, IndexType, IterationOrder, LinkType, LocationType};
use hdf5_sys::h5::hsize_t;
use hdf5_sys::h5d::{H5D_space_status_t, H5Dget_space_status};
use hdf5_sys::h5i::hid_t;
use hdf5_sys::h5p::{
    H5Pget_virtual_count, H5Pget_virtual_dsetname, H5Pget_virtual_filename,
    H5Pget_virtual_srcspace, H5Pget_virtual_vspace,
};
use hdf5_sys::h5s::{
    H5Sclose, H5Sget_select_npoints, H5Sget_simple_extent_dims, H5Sget_simple_extent_ndims,
};

/// How much deflate makes of a byte at most, and a little.
const INFLATION_MAX: u64 = 1100;
/// Chunks of a dataset that are looked at one by one: HDF5 takes time as their square.
const CHUNKS_LOOKED_AT: usize = 4096;

/// The dataset `name`, which lies in the file of `group`.
///
/// # Errors
/// What was found instead.
pub fn open(group: &Group, name: &str) -> Result<Dataset, String> {
    if !group.link_exists(name) {
        return Err("is missing".into());
    }
    let wanted = |found: &str, link: hdf5::LinkInfo| Ok((found == name).then_some(link.link_type));
    let link = group
        .find_link(IndexType::Name, IterationOrder::Native, wanted)
        .map_err(|error| error.to_string())?;
    if link == Some(LinkType::External) {
        return Err("found a link to another file, expected a dataset of this one".into());
    }
    match group.loc_type_by_name(name) {
        Ok(LocationType::Dataset) => {}
        Ok(_) => return Err("found a group or type, expected a dataset".into()),
        Err(_) if link != Some(LinkType::Hard) => {
            return Err("found a link that leads nowhere".into());
        }
        Err(error) => return Err(error.to_string()),
    }
    let dataset = group.dataset(name).map_err(|error| error.to_string())?;
    if dataset.filename() != group.filename() {
        return Err("found a link to another file, expected a dataset of this one".into());
    }
    Ok(dataset)
}

/// Why a dataset's rows aren't all there.
pub enum Lack {
    /// They were never all written.
    Unwritten(String),
    Other(String),
}

impl From<String> for Lack {
    fn from(text: String) -> Lack {
        Lack::Other(text)
    }
}

/// Whether all of `dataset`, in a file of `file_bytes` bytes at `path`, has been written, and isn't
/// more than the file can hold.
///
/// # Errors
/// What is lacking.
pub fn check_all_there(dataset: &Dataset, path: &Path, file_bytes: u64) -> Result<(), Lack> {
    check_one(dataset, path, file_bytes, true)
}

fn check_one(
    dataset: &Dataset,
    path: &Path,
    file_bytes: u64,
    may_be_virtual: bool,
) -> Result<(), Lack> {
    let failed = |error: hdf5::Error| Lack::Other(error.to_string());
    let properties = dataset.dcpl().map_err(failed)?;
    if let Some(first) = properties.get_external().map_err(failed)?.first() {
        let name = &first.name;
        let text = format!("found rows in another file ({name:?}), expected them in this one");
        return Err(Lack::Other(text));
    }
    let cell = dataset.dtype().map_err(failed)?.size() as u64;
    let extents = dataset.shape();
    let cells = extents.iter().try_fold(1u64, |product, n| product.checked_mul(*n as u64));
    let bytes = cells.and_then(|cells| cells.checked_mul(cell));
    let Some(bytes) = bytes else {
        return Err(Lack::Other(format!("found the shape {extents:?}, which is too large")));
    };
    if bytes == 0 {
        return Ok(());
    }
    match dataset.layout() {
        Layout::Compact => {}
        Layout::Contiguous => {
            let mut status = H5D_space_status_t::H5D_SPACE_STATUS_ERROR;
            // SAFETY: the handle is open.
            hdf5::sync::sync(|| unsafe { H5Dget_space_status(dataset.id(), &mut status) });
            if !matches!(status, H5D_space_status_t::H5D_SPACE_STATUS_ALLOCATED) {
                return Err(Lack::Unwritten("was never written".into()));
            }
        }
        Layout::Chunked => {
            let chunk = dataset.chunk().unwrap_or_default();
            let count = extents.iter().zip(&chunk).map(|(n, size)| n.div_ceil(*size.max(&1)));
            let all = count.product::<usize>();
            let found = dataset.num_chunks().ok_or_else(|| "chunks can't be read".to_string())?;
            if found < all {
                let text = format!("{} of {all} chunks were never written", all - found);
                return Err(Lack::Unwritten(text));
            }
        }
        Layout::Virtual if may_be_virtual => return check_sources(dataset, path),
        Layout::Virtual => {
            let text = "found a virtual dataset behind a virtual one".to_string();
            return Err(Lack::Other(text));
        }
    }
    let inflated = dataset.filters().iter().any(|filter| matches!(filter, Filter::Deflate(_)));
    let most = if inflated { file_bytes.saturating_mul(INFLATION_MAX) } else { file_bytes };
    if bytes > most {
        let text = format!("found {bytes} bytes of rows, more than {file_bytes} bytes can hold");
        return Err(Lack::Other(text));
    }
    Ok(())
}

/// The same for what a virtual dataset is put together of.
fn check_sources(dataset: &Dataset, path: &Path) -> Result<(), Lack> {
    let failed = |error: hdf5::Error| Lack::Other(error.to_string());
    let properties = dataset.dcpl().map_err(failed)?;
    let sources =
        sources(properties.id()).ok_or_else(|| "its sources can't be read".to_string())?;
    let mut cells = 0u64;
    for source in &sources {
        let place = format!("{:?} of {:?}", source.dataset, source.file);
        let lacks = |text: &str| {
            Lack::Unwritten(format!("found a virtual dataset whose source {place} {text}"))
        };
        let file_path = match source.file.as_str() {
            "." => path.to_path_buf(),
            name => source_path(path, name).ok_or_else(|| lacks("is missing"))?,
        };
        let size = std::fs::metadata(&file_path).map_or(0, |data| data.len());
        let file = hdf5::File::open(&file_path).map_err(|_| lacks("can't be opened"))?;
        let found = file.dataset(&source.dataset).map_err(|_| lacks("is missing"))?;
        let extents = found.shape().iter().map(|n| *n as hsize_t).collect::<Vec<_>>();
        // HDF5 knows the bounds of what is taken; where that is all of the source, only how much.
        let within = match source.extents.len() {
            0 => found.size() as u64 == source.cells,
            dimensions => {
                let mut pairs = source.extents.iter().zip(&extents);
                dimensions == extents.len() && pairs.all(|(taken, there)| taken <= there)
            }
        };
        if !within {
            return Err(lacks(&format!("has another shape than it had ({extents:?} now)")));
        }
        match check_one(&found, &file_path, size, false) {
            Err(Lack::Unwritten(text)) => return Err(lacks(&text)),
            other => other?,
        }
        cells = cells.saturating_add(source.cells);
    }
    match cells == dataset.size() as u64 {
        true => Ok(()),
        false => {
            let text = "found a virtual dataset of which not every value has a source";
            Err(Lack::Unwritten(text.into()))
        }
    }
}

/// What a virtual dataset takes from one dataset of another file.
struct Source {
    file: String,
    dataset: String,
    /// Bounds of what is taken of it; empty where that is all.
    extents: Vec<hsize_t>,
    /// Number of values of the virtual dataset that it gives.
    cells: u64,
}

/// The sources of a virtual dataset by its properties; None where they can't be read.
fn sources(properties: hid_t) -> Option<Vec<Source>> {
    hdf5::sync::sync(|| {
        let mut count = 0;
        // SAFETY: the handle is open, as everywhere below.
        if unsafe { H5Pget_virtual_count(properties, &mut count) } < 0 {
            return None;
        }
        let one = |index: usize| {
            let file = name_of(|name, size| unsafe {
                H5Pget_virtual_filename(properties, index, name, size)
            });
            let dataset = name_of(|name, size| unsafe {
                H5Pget_virtual_dsetname(properties, index, name, size)
            });
            // SAFETY: there is room for as many extents as the space has; spaces are closed here.
            let (extents, points) = unsafe {
                let space = H5Pget_virtual_srcspace(properties, index);
                let mut extents = vec![0; H5Sget_simple_extent_ndims(space).max(0) as usize];
                H5Sget_simple_extent_dims(space, extents.as_mut_ptr(), std::ptr::null_mut());
                H5Sclose(space);
                let space = H5Pget_virtual_vspace(properties, index);
                let points = H5Sget_select_npoints(space);
                H5Sclose(space);
                (extents, points)
            };
            let cells = u64::try_from(points).ok()?;
            Some(Source { file: file?, dataset: dataset?, extents, cells })
        };
        (0..count).map(one).collect()
    })
}

/// A name that `get` writes into the room it is given, and of which it returns the length.
fn name_of(get: impl Fn(*mut c_char, usize) -> isize) -> Option<String> {
    let length = usize::try_from(get(std::ptr::null_mut(), 0)).ok()?;
    let mut bytes = vec![0u8; length + 1];
    get(bytes.as_mut_ptr().cast(), bytes.len());
    bytes.truncate(length);
    String::from_utf8(bytes).ok()
}

/// Where HDF5 looks for a source: beside the file, then from the current folder.
fn source_path(path: &Path, name: &str) -> Option<PathBuf> {
    let beside = path.parent().map(|folder| folder.join(name));
    beside.into_iter().chain([PathBuf::from(name)]).find(|candidate| candidate.is_file())
}

/// Whether every chunk of `dataset` has its Fletcher-32 checksum, which single chunks may lack.
pub fn has_checksums(dataset: &Dataset) -> bool {
    let filters = dataset.filters();
    let Some(place) = filters.iter().position(|filter| matches!(filter, Filter::Fletcher32)) else {
        return dataset.size() == 0;
    };
    let partial = dataset.dcpl().ok().and_then(|properties| properties.chunk_opts());
    if partial.is_some_and(|options| !options.is_empty()) {
        return false;
    }
    let chunks = dataset.num_chunks().unwrap_or(0).min(CHUNKS_LOOKED_AT);
    (0..chunks).all(|index| {
        dataset.chunk_info(index).is_some_and(|chunk| chunk.filter_mask & (1 << place) == 0)
    })
}
