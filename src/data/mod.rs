//! Shards and datasets: the HDF5 files that hold rows, and many of them as rows 0..N.
//!
//! The schema is documented for users in hdf5-data/README.md. Nothing here knows of ranks.

mod dataset;
mod find;
mod reader;
mod schema;
mod writer;

pub use dataset::{Dataset, Reader};
pub use find::find;
pub use reader::ShardReader;
pub use schema::{Kind, ShardHeader, ShardInfo};
pub use writer::{ShardWriter, write_annotations};

/// The version of the HDF5 library in use.
pub fn library_version() -> String {
    let (major, minor, patch) = hdf5::library_version();
    format!("{major}.{minor}.{patch}")
}
