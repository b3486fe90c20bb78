//! Scores of a model's rows and their metrics: nothing of training.

mod class_losses;
pub mod rankings;
pub(crate) mod rows;
pub mod scores;
