//! The two flows, and what they need of rows: what is frozen travels, what is learned stays home.

mod class_losses;
pub mod dropout;
pub mod experts_travel;
pub mod home_rows;
pub mod overlap;
pub mod own_rows;
pub mod rankings;
pub mod rows_travel;
pub mod scoring;
pub mod shards;
pub mod verify;
