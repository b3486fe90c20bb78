//! Shards and datasets: the HDF5 files that hold rows, and many of them as rows 0..N.
//!
//! The schema is documented for users in hdf5-data/README.md. Nothing here knows of ranks.

mod annotations;
mod attributes;
mod class_names;
mod content;
mod copied;
mod dataset;
mod datasets;
mod find;
mod fletcher;
mod foreign;
mod hyperslab;
mod items;
mod objects;
mod planned;
pub(crate) mod proof;
pub(crate) mod prove;
mod read_back;
mod reader;
mod relabelled;
mod schema;
mod seal;
mod stamp;
mod storage;
pub mod superblock;
pub mod trailer;
mod versions;
mod writer;

pub(crate) use annotations::Annotations;
pub(crate) use class_names::{read_class_names, write_class_names};
pub use dataset::Dataset;
pub(crate) use dataset::Reader;
pub(crate) use find::UNFINISHED;
pub use find::find;
pub(crate) use foreign::{Cell, ForeignFile, ForeignRows, GROUPS};
pub(crate) use planned::PlannedRows;
pub(crate) use proof::proof_of;
pub(crate) use prove::Lookout;
pub use prove::prove;
pub(crate) use prove::prove_to_seal;
pub use reader::ShardReader;
pub(crate) use relabelled::Relabelled;
pub(crate) use schema::Proof;
pub use schema::{Kind, ShardHeader, ShardInfo};
pub use seal::{SealOutcome, seal};
pub(crate) use stamp::{ReadBefore, Stamp};
pub use writer::ShardWriter;

/// Switches off HDF5's file locks, which network file systems lack or get wrong and which a forked
/// child keeps. Shards and models never change once they have their names, so nothing needs them.
///
/// # Safety
/// Called while the process has one thread: it sets an environment variable.
pub unsafe fn without_file_locks() {
    // SAFETY: the caller's: no other thread reads the environment.
    unsafe { std::env::set_var("HDF5_USE_FILE_LOCKING", "FALSE") };
}

/// The version of the HDF5 library in use.
pub(crate) fn library_version() -> String {
    let (major, minor, patch) = hdf5::library_version();
    format!("{major}.{minor}.{patch}")
}
