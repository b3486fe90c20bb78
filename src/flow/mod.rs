//! The two flows: what is frozen travels, what is learned stays home.

pub mod experts_travel;
pub mod rows_travel;
