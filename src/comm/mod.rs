//! Communication: ranks as nobody, as threads or as MPI processes, behind one trait.
//!
//! Table of contents. What a backend has to do is in `backend.rs`; what the rest of the program
//! calls is `Comm`: typed, of any length, sealed, counted. Nothing above this folder knows whether
//! ranks are threads or processes.
//!
//! Collectives don't return errors: a rank that can't go on ends the run (`Backend::abort`), so a
//! call that returns has succeeded on this rank. Errors that all ranks can learn of in time are
//! made common by `Comm::agree`, among them that a message arrived damaged (`seal.rs`).

// The trait of backends, and the three of them: serial, threads, MPI.
mod backend;
mod meeting;
#[cfg(feature = "mpi")]
mod mpi;
mod serial;
mod threads;

// A group of ranks, and exchanges between them: those that go on during work, and those that are
// waited for at once.
mod collectives;
mod communicator;
mod exchange;
mod lengths;
mod ordered_sum;
mod started;
mod traffic;

// How messages are proven, and how ranks stop, agree and fail together.
mod activity;
mod agreement;
mod crc;
mod ending;
mod process;
mod seal;
mod stop;
#[cfg(feature = "mpi")]
mod unwatched;
mod watch;

use std::ops::Range;

pub(crate) use activity::Activity;
pub(crate) use agreement::{odd_ranks, same_on_all};
pub use backend::{AnyRow, Backend, Buffers, Call, Cargo, Made, Pending};
pub use communicator::Comm;
pub(crate) use crc::{crc32c_by, crc32c_of_each};
pub(crate) use ending::{begin as begin_ending, leave, stand_aside};
pub use exchange::Exchange;
pub(crate) use lengths::{chain_segment, goes_in_rounds};
pub use ordered_sum::OrderedSum;
use process::mpi_ends;
pub(crate) use process::{abort_all, library, library_version, own_rank};
pub(crate) use seal::SEAL;
pub use stop::StopFlag;
pub use threads::{run_threads, run_threads_limited, run_threads_through};
pub use traffic::Traffic;
pub(crate) use watch::Beside;

/// Runs of leaves, one per rank.
pub(crate) type Runs = Vec<Range<usize>>;
