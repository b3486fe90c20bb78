//! Scores of a model's rows and their metrics: nothing of training.

pub(crate) mod best;
mod class_losses;
pub mod class_table;
pub(crate) mod parts;
pub mod rankings;
pub(crate) mod rows;
pub mod scores;
