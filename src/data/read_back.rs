//! Reads back a shard that HDF5 has just closed, and makes its proof.

use std::fs::File;
use std::path::Path;

use super::content::{Common, Content, ShardDataset, unpadded};
use super::hyperslab::item_bytes;
use super::schema::Kind;
use super::superblock::{self, Fault, ReadAt};
use super::trailer::{Chunk, Trailer, digest};
use crate::progress::{CallGuard, tick};

/// The proof of the closed HDF5 file at `path`. Its content is what the file holds; whether that is
/// what it should hold is for the caller to see.
///
/// # Errors
/// What can't be read, or isn't as this program writes it.
pub(crate) fn read_back(path: &Path, common: &Common) -> Result<Trailer, String> {
    let text = |error: std::io::Error| error.to_string();
    let _reading = CallGuard::on("reading back", path);
    let file = File::open(path).map_err(text)?;
    let size = file.metadata().map_err(text)?.len();
    let end = superblock::end(&file, size).map_err(|fault| match fault {
        Fault::Io(error) => text(error),
        Fault::Wrong { text, .. } => text,
    })?;
    assert_eq!(end, size, "HDF5 ends where its file does");
    let hdf5 = hdf5::File::open(path).map_err(|error| error.to_string())?;
    let (mut chunks, mut content, mut bytes) = (Vec::new(), Content::default(), Vec::new());
    for part in ShardDataset::ALL {
        if part == ShardDataset::FrameOffsets && common.kind == Kind::Video {
            continue;
        }
        let dataset = hdf5.dataset(part.name(common.kind)).map_err(|error| error.to_string())?;
        let item = item_bytes(&dataset).map_err(|error| error.to_string())?;
        let items = dataset.shape()[0];
        for (index, (place, count)) in places(&dataset, part, items)?.into_iter().enumerate() {
            bytes.resize(place.bytes as usize, 0);
            file.read_at(&mut bytes, place.at).map_err(text)?;
            tick();
            chunks.push(Chunk { digest: digest(&bytes), ..place });
            let own = bytes.get(..count * item).ok_or_else(|| odd(part, index))?;
            match part {
                ShardDataset::Ids => own.chunks_exact(item).for_each(|id| content.id(unpadded(id))),
                _ => content.add(part, own),
            }
        }
    }
    Trailer::new(&file, size, chunks, content.digest(common)).map_err(text)
}

/// The chunks of a dataset in the order of items, and how many items each has.
fn places(
    dataset: &hdf5::Dataset,
    part: ShardDataset,
    items: usize,
) -> Result<Vec<(Chunk, usize)>, String> {
    if items == 0 {
        return Ok(Vec::new());
    }
    let per_chunk = dataset.chunk().map_or(0, |chunk| chunk[0]);
    let count = dataset.num_chunks().unwrap_or(0);
    if per_chunk == 0 || count != items.div_ceil(per_chunk) {
        return Err(odd(part, count));
    }
    let one = |index: usize| {
        let first = index * per_chunk;
        let own = dataset.chunk_info(index);
        let own = own.filter(|own| own.filter_mask == 0 && own.offset[0] == first as u64);
        let own = own.ok_or_else(|| odd(part, index))?;
        let chunk = Chunk { at: own.addr, bytes: own.size, digest: 0 };
        Ok((chunk, per_chunk.min(items - first)))
    };
    (0..count).map(one).collect()
}

fn odd(part: ShardDataset, index: usize) -> String {
    let part = format!("{part:?}").to_lowercase();
    format!("{part}: chunk {index} isn't where it should be: a fault of HDF5")
}
