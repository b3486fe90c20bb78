//! The model: what shared layers and mixtures of experts are, forward and backward.

pub mod annotator;
pub mod bounds;
pub mod experts;
pub mod features;
pub mod initial;
pub mod shared;
pub mod spec;

pub use crate::kernel::matrix::{Matrix, stride_of};
pub use crate::kernel::mixture::layout::{Layout, Role};
pub use crate::kernel::vector::LANES;

/// Numbers of each class block.
pub(crate) fn parameters(layouts: &[Layout]) -> Vec<usize> {
    layouts.iter().map(Layout::parameters).collect()
}
