//! The best classes of rows. The processor's lists are metrics/top.rs, a device's `device.h`.

pub mod definition;

/// Pairs of a list on a device at most, as `device.h` has it.
pub const MOST: usize = 128;
