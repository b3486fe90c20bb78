//! The model: shared layers and mixtures of experts, forward and backward.

pub mod annotator;
pub mod bounds;
pub mod experts;
pub mod features;
pub mod gemm;
pub mod initial;
pub mod layout;
pub mod matrix;
pub mod mixture;
pub mod numbers;
pub mod plain;
pub mod plain_shared;
pub mod pooling;
mod registers;
pub mod shared;
pub mod spec;
pub mod sweep;
pub mod vector;
