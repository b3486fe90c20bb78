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
//! let trained = train(&comm, &job, data, &mut Report::silent(), None)?;
//! println!("{}", save(&comm, "model".as_ref(), &trained.annotator)?);
//! # Ok(())
//! # }
//! ```
//!
//! `examples/train.rs` and `examples/evaluate.rs` do so in thirty lines each. A run that may be
//! stopped ([`Comm::stop_flag`]) keeps [`Checkpoints`] to go on from. `docs/api.txt` lists all
//! that is here.

#![deny(clippy::undocumented_unsafe_blocks)]
#![warn(unreachable_pub)]

pub use crate::artifact::{load, save};
pub use crate::comm::{Comm, run_threads};
pub use crate::device::Host;
pub use crate::error::{Error, Exit, Result};
pub use crate::example::FeaturePart;
pub use crate::flow::home_rows::HomeRows;
pub use crate::inference::rows::open_rows;
pub use crate::job::{
    CheckpointJob, DataJob, ExpertsJob, Job, ModelJob, PlanJob, PretrainJob, RoundsJob, RunJob,
    SharedJob,
};
pub use crate::metrics::Metrics;
pub use crate::model::annotator::{Annotator, Shape};
pub use crate::model::spec::{
    Activation, Dummy, InitialBiases, Layer, Normalize, Pooling, Standard,
};
pub use crate::optim::{ClassSolver, MiniBatchSolver, SharedSolver, Solver};
pub use crate::report::Report;
pub use crate::train::{Checkpoints, Data, Trained, train};

/// The metrics of `annotator` on all `rows`, which [`open_rows`] gives. Collective.
///
/// # Errors
/// What reading rows gives; exit 7 where scores are no numbers; exit 75 when told to stop; common
/// to all ranks.
pub fn evaluate(
    comm: &Comm,
    annotator: &Annotator,
    rows: &HomeRows,
    processor: &mut Host,
) -> Result<Metrics> {
    inference::scores::evaluate(comm, annotator, rows, processor)
}

#[doc(hidden)]
pub mod internals;
// Within the crate modules go by their own names: `crate::kernel`.
use internals::*;
