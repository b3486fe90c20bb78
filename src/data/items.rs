//! The items of one dataset, as stored: straight from the chunks that a proof names, or through
//! HDF5 where there is no proof.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use super::hyperslab;
use super::stamp::Stamp;
use super::superblock::ReadAt;
use super::trailer::{Trailer, digest};
use crate::progress::tick;

/// Bytes that are read at once where a whole dataset is read.
const AT_ONCE: usize = 1 << 20;
/// Fletcher-32 behind each chunk.
const CHECKSUM: u64 = 4;

/// The items of a dataset: rows of a matrix, values of a vector.
pub(crate) enum Items {
    Proven(ProvenItems),
    Hdf5(hdf5::Dataset, Option<Watched>),
    /// Of a dataset that a shard of its kind doesn't have.
    Empty,
}

/// A file without proof, and what the file system said of it when it was opened: what is written
/// into it meanwhile nothing else may tell.
pub(crate) struct Watched {
    pub(crate) file: Arc<File>,
    pub(crate) stamp: Stamp,
}

impl Watched {
    fn check(&self) -> Result<(), String> {
        match Stamp::of_file(&self.file) {
            Ok(now) if now.same_bytes(&self.stamp) => Ok(()),
            Ok(_) => Err("another program has written into it".into()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Items in chunks of which the digests are known; each chunk is checked when it is read.
pub(crate) struct ProvenItems {
    file: Arc<File>,
    trailer: Arc<Trailer>,
    place: DatasetChunks,
    /// The chunk that was read last, and its bytes.
    held: Option<usize>,
    chunk: Vec<u8>,
}

/// Where a dataset's chunks stand in the table of a proof.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DatasetChunks {
    pub(crate) chunks: Range<usize>,
    pub(crate) items: usize,
    /// Items of a chunk; the last one may have fewer that count.
    pub(crate) per_chunk: usize,
    pub(crate) item_bytes: usize,
}

/// Where in the table the chunks of datasets of so many items and bytes an item stand.
///
/// # Errors
/// The table doesn't fit them.
pub(crate) fn places(
    trailer: &Trailer,
    datasets: &[(usize, usize)],
) -> Result<Vec<DatasetChunks>, String> {
    let (mut places, mut at) = (Vec::new(), 0);
    for (index, &(items, item_bytes)) in datasets.iter().enumerate() {
        let fault = || format!("found a proof that doesn't fit the dataset {index}");
        if items == 0 {
            places.push(DatasetChunks { chunks: at..at, items, per_chunk: 1, item_bytes });
            continue;
        }
        let stored = trailer.chunks.get(at).ok_or_else(fault)?.bytes;
        let bytes = stored.checked_sub(CHECKSUM).and_then(|bytes| usize::try_from(bytes).ok());
        let bytes = bytes.filter(|bytes| *bytes > 0 && bytes.is_multiple_of(item_bytes));
        let per_chunk = bytes.ok_or_else(fault)? / item_bytes;
        let chunks = at..at.saturating_add(items.div_ceil(per_chunk));
        let own = trailer.chunks.get(chunks.clone()).ok_or_else(fault)?;
        if own.iter().any(|chunk| chunk.bytes != stored) {
            return Err(fault());
        }
        at = chunks.end;
        places.push(DatasetChunks { chunks, items, per_chunk, item_bytes });
    }
    match at == trailer.chunks.len() {
        true => Ok(places),
        false => Err("found a proof of more chunks than there are".into()),
    }
}

impl Items {
    pub(crate) fn proven(file: Arc<File>, trailer: Arc<Trailer>, place: DatasetChunks) -> Items {
        Items::Proven(ProvenItems { file, trailer, place, held: None, chunk: Vec::new() })
    }

    /// Reads `items` into `bytes`, which has room for just them.
    ///
    /// # Errors
    /// Damage, in words.
    pub(crate) fn read(&mut self, items: Range<usize>, bytes: &mut [u8]) -> Result<(), String> {
        let read = match self {
            Items::Proven(proven) => proven.read(items, bytes),
            Items::Hdf5(dataset, watched) => hyperslab::read(dataset, items, bytes)
                .map_err(|error| error.to_string())
                .and_then(|()| watched.as_ref().map_or(Ok(()), Watched::check)),
            Items::Empty => Ok(()),
        };
        tick();
        read.map_err(|error| format!("can't be read ({error}): the file is damaged"))
    }

    /// Number of items and bytes of one.
    pub(crate) fn size(&self) -> (usize, usize) {
        match self {
            Items::Proven(proven) => (proven.place.items, proven.place.item_bytes),
            Items::Hdf5(dataset, _) => {
                let items = dataset.shape().first().copied().unwrap_or(0);
                (items, hyperslab::item_bytes(dataset).unwrap_or(0))
            }
            Items::Empty => (0, 0),
        }
    }

    /// All items in runs, such that each chunk is read once.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (items, bytes) = self.size();
        let per_chunk = match self {
            Items::Proven(proven) => proven.place.per_chunk,
            Items::Hdf5(dataset, _) => dataset.chunk().map_or(1, |chunk| chunk[0].max(1)),
            Items::Empty => 1,
        };
        let chunks = AT_ONCE / per_chunk.saturating_mul(bytes).max(1);
        let run = per_chunk.saturating_mul(chunks.max(1));
        (0..items).step_by(run).map(move |from| from..items.min(from.saturating_add(run)))
    }
}

impl ProvenItems {
    fn read(&mut self, items: Range<usize>, bytes: &mut [u8]) -> Result<(), String> {
        let DatasetChunks { items: all, per_chunk, item_bytes, .. } = self.place;
        assert!(items.end <= all && bytes.len() == items.len() * item_bytes, "{items:?} of {all}");
        let mut rest = bytes;
        let mut at = items.start;
        while at < items.end {
            let (index, from) = (at / per_chunk, at % per_chunk);
            self.hold(index)?;
            let count = (per_chunk - from).min(items.end - at);
            let (now, after) = rest.split_at_mut(count * item_bytes);
            now.copy_from_slice(&self.chunk[from * item_bytes..][..now.len()]);
            (rest, at) = (after, at + count);
        }
        Ok(())
    }

    /// Reads and checks a chunk, unless it is the one that was read last.
    fn hold(&mut self, index: usize) -> Result<(), String> {
        if self.held == Some(index) {
            return Ok(());
        }
        self.held = None;
        let chunk = self.trailer.chunks[self.place.chunks.start + index];
        self.chunk.resize(chunk.bytes as usize, 0);
        self.file.read_at(&mut self.chunk, chunk.at).map_err(|error| error.to_string())?;
        if digest(&self.chunk) != chunk.digest {
            let place = format!("{} bytes at byte {}", chunk.bytes, chunk.at);
            return Err(format!("wrong digest of {place}"));
        }
        self.held = Some(index);
        Ok(())
    }
}
