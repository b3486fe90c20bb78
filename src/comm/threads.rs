//! Ranks as threads of one process, for tests and for comparing with MPI.

use super::Comm;
use crate::error::Result;

/// Runs `body` on `size` ranks, each a thread, and returns their outcomes by rank.
pub fn run_threads<T: Send>(
    size: usize,
    body: impl Fn(&Comm) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    assert_eq!(size, 1, "to be written");
    Ok(vec![body(&Comm::serial())?])
}
