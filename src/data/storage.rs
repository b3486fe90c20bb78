//! Whether a dataset's rows are all there: what HDF5 would fill up in silence is found before it
//! is read.

use hdf5::dataset::Layout;
use hdf5::filters::Filter;
use hdf5::{Dataset, Group, IndexType, IterationOrder, LinkType, LocationType};
use hdf5_sys::h5d::{H5D_space_status_t, H5Dget_space_status};

/// How much deflate makes of a byte at most, and a little; other filters are taken to make no more.
const INFLATION_MAX: u64 = 1100;
/// Chunks of a dataset that are looked at one by one: HDF5 takes time as their square.
const CHUNKS_LOOKED_AT: usize = 4096;

/// The dataset `name`, which lies in the file of `group`.
///
/// # Errors
/// What was found instead.
pub(crate) fn open(group: &Group, name: &str) -> Result<Dataset, String> {
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
pub(crate) enum Lack {
    /// They were never all written.
    Unwritten(String),
    Other(String),
}

impl From<String> for Lack {
    fn from(text: String) -> Lack {
        Lack::Other(text)
    }
}

/// Whether all of `dataset`, in a file of `file_bytes` bytes, has been written, and isn't
/// more than the file can hold.
///
/// # Errors
/// What is lacking.
pub(crate) fn check_all_there(dataset: &Dataset, file_bytes: u64) -> Result<(), Lack> {
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
        // HDF5 fills holes with zeros and numbers of other types up or down, and sources change
        // without a trace in this file.
        Layout::Virtual => {
            let text = "found a virtual dataset, expected its rows in this file";
            return Err(Lack::Other(text.into()));
        }
    }
    let keeps = |filter: &Filter| matches!(filter, Filter::Fletcher32 | Filter::Shuffle);
    let inflated = !dataset.filters().iter().all(keeps);
    let most = if inflated { file_bytes.saturating_mul(INFLATION_MAX) } else { file_bytes };
    if bytes > most {
        let text = format!("found {bytes} bytes of rows, more than {file_bytes} bytes can hold");
        return Err(Lack::Other(text));
    }
    Ok(())
}

/// Whether every chunk of `dataset` has its Fletcher-32 checksum, which single chunks may lack.
pub(crate) fn has_checksums(dataset: &Dataset) -> bool {
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
