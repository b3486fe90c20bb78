//! Readers of whole files: proofs of shards, and Parquet, whose crate reads files.

use reelscale::internals::data::superblock;
use reelscale::internals::data::trailer::{MAGIC, Trailer, digest};
use reelscale::internals::formats::table::parquet;

/// Rows of a Parquet input that are read: a few bytes may say a billion.
const ROWS_MAX: usize = 1000;

pub fn parquet_rows(bytes: &[u8]) {
    let path = std::env::temp_dir().join(format!("reelscale-fuzz-{}", std::process::id()));
    std::fs::write(&path, bytes).expect("room for a file");
    let found = parquet::lines_of(&path, ROWS_MAX);
    let again = parquet::lines_of(&path, ROWS_MAX);
    std::fs::remove_file(&path).expect("it was written");
    assert_eq!(found, again, "a file is read the same each time");
}

pub fn trailer(bytes: &[u8]) {
    proof(bytes);
    // The digest is beyond chance: the same with the one that these bytes would have.
    let Some(mut whole) = bytes.len().checked_sub(24).map(|end| bytes[..end].to_vec()) else {
        return;
    };
    let Ok(end) = superblock::end(bytes, bytes.len() as u64) else { return };
    let proven = digest(whole.get(end as usize..).unwrap_or_default());
    whole.extend(proven.to_be_bytes());
    whole.extend(MAGIC);
    proof(&whole);
}

fn proof(bytes: &[u8]) {
    let Ok(Some(trailer)) = Trailer::read(bytes, bytes.len() as u64) else { return };
    assert!(bytes.ends_with(&trailer.to_bytes()), "a proof is written as it was");
    let inside: u64 = trailer.chunks.iter().map(|chunk| chunk.bytes).sum();
    assert!(inside <= trailer.hdf5_bytes && trailer.hdf5_bytes < bytes.len() as u64);
    let _ = trailer.check_outside(bytes);
}
