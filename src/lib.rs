//! Trains video annotators too large for one machine: mixtures of experts over shared layers, on
//! MPI. The program `reelscale` is the usual way to use it; this is the same as a library.
//!
//! Ranks are MPI processes ([`Comm::mpi`]), threads of one process ([`run_threads`]) or a single
//! one ([`Comm::serial`]); a [`Job`] comes from a job file's text; [`Data`] opens the shards that
//! it names; [`train()`] gives a model, which [`save`] writes and [`load`] reads; [`open_rows`] and
//! [`evaluate`] say how good it is. Calls are collective: every rank makes them in the same order.
//! Errors ([`Error`]) say what was found, what was expected and which exit code they mean.
//!
//! ```no_run
//! use reelscale::{Comm, Data, Job, Report, save, train};
//!
//! # fn main() -> reelscale::Result<()> {
//! let job = Job::parse("data.train = ['hdf5-data/quickstart/train/*.h5']", "job", &[])?;
//! let comm = Comm::serial();
//! let data = Data::open(&comm, &job)?;
//! let trained = train(&comm, &job, data, &mut Report::new(None), None)?;
//! println!("{}", save(&comm, "model".as_ref(), &trained.annotator)?);
//! # Ok(())
//! # }
//! ```
//!
//! `examples/train.rs` and `examples/evaluate.rs` do so in thirty lines each.

#![deny(clippy::undocumented_unsafe_blocks)]

pub use crate::artifact::{load, save};
pub use crate::comm::{Comm, run_threads};
pub use crate::device::Host;
pub use crate::error::{Error, Exit, Result};
pub use crate::inference::rows::open_rows;
pub use crate::inference::scores::evaluate;
pub use crate::job::Job;
pub use crate::metrics::Metrics;
pub use crate::model::annotator::Annotator;
pub use crate::report::Report;
pub use crate::train::{Data, Trained, train};

// Within the crate modules go by their own names: `crate::kernel`.
use internals::*;

/// The program's own house, for the program, its tests and its benches: it may change with every
/// version. From the top floor down (ARCHITECTURE.md); a module imports only from lower floors
/// (`tests/tidy.rs` checks it).
#[doc(hidden)]
#[path = "."]
pub mod internals {
    // floor 8: one file per subcommand
    pub mod commands;
    // floor 7: what runs do
    pub mod train;
    // floor 6: scores and metrics of a model; what things cost
    pub mod cost;
    pub mod inference;
    // floor 5: the two flows, the model directory, checkpoints
    pub mod artifact;
    pub mod checkpoint;
    pub mod flow;
    // floor 4: communication, what a rank computes with, data, job, report
    pub mod comm;
    pub mod data;
    pub mod device;
    pub mod folder;
    pub mod formats;
    pub mod job;
    pub mod launch;
    pub mod report;
    pub mod signals;
    // floor 3: optimizers
    pub mod optim;
    // floor 2: the model, metrics
    pub mod limits;
    pub mod metrics;
    pub mod model;
    pub mod synthetic;
    // floor 1: arithmetic, and how work is cut; neither knows a file, rank or clock
    pub mod kernel;
    pub mod partition;
    // floor 0
    pub mod clock;
    pub mod disk;
    pub mod error;
    pub mod example;
    pub mod human;
    pub mod labels;
    pub mod packed;
    pub mod progress;
    pub mod rng;
    pub mod system;
    pub mod team;
    pub mod tell;
}
