//! The model: shared layers and mixtures of experts, forward and backward.

pub mod spec;
