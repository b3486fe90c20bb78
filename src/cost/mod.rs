//! What things cost: the one place of formulas for memory, arithmetic and traffic. They take plain
//! sizes and tables of who owns what, not a program that runs, so they hold for ranks that are not
//! there. Training plans its memory by them, `reelscale bench` its rates, and tests compare them
//! with what is really held and sent.

pub(crate) mod budget;
mod column;
mod device_classes;
pub mod device_memory;
mod device_sizes;
pub(crate) mod device_time;
pub(crate) mod flops;
pub mod grid;
pub mod memory;
pub mod network;
pub(crate) mod parts;
pub(crate) mod phases;
pub(crate) mod pretraining;
pub(crate) mod ranks;
pub mod searches;
pub mod traffic;

use crate::partition::Owners;

/// Who owns which of so many blocks on ranks that are not there, as those that are deal them.
pub(crate) fn owners(blocks: usize, ranks: usize) -> Owners {
    Owners::even(blocks, ranks, 0)
}
