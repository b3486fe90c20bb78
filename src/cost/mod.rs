//! What things cost: the one place of formulas for memory, arithmetic and traffic. They take plain
//! sizes and tables of who owns what, not a program that runs, so they hold for ranks that are not
//! there. Training plans its memory by them, `reelscale bench` its rates, and tests compare them
//! with what is really held and sent.

pub(crate) mod budget;
mod device_classes;
pub mod device_memory;
mod device_sizes;
pub(crate) mod flops;
pub mod memory;
pub(crate) mod parts;
pub mod traffic;
