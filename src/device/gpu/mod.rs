//! A GPU, or another device that takes the device text (kernel/text/), with the processor's bits.

pub mod cuda;
pub mod held;
pub mod launcher;
pub mod mixture;
pub mod opencl;
pub mod window;
