//! Checkpoints of a run, from which it can go on; nobody else needs them. Their records are read
//! and written by training.

pub mod listing;
mod loaded;
mod names;
mod store;

pub(crate) use listing::newest_listed;
pub use loaded::Loaded;
pub(crate) use loaded::SavedItems;
pub use store::{Contents, Family, Store};
