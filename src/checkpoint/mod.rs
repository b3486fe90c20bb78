//! Checkpoints of a run: what it can go on from, and nobody else needs. What they hold is left to
//! those who put and take it.

pub mod listing;
mod loaded;
mod names;
mod store;

pub use loaded::{Loaded, SavedBlocks, SavedItems};
pub use store::{Contents, Family, Store};
