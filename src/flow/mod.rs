//! The two flows, and what they need of rows: what is frozen travels, what is learned stays home.

pub mod column;
pub mod dealing;
pub mod experts_travel;
pub mod grid;
pub mod home_rows;
pub mod own_rows;
pub(crate) mod repeated_ids;
pub(crate) mod repeated_rows;
pub(crate) mod shards;
pub(crate) mod verify;
pub mod windows;
