//! Trains video annotators too large for one machine: mixtures of experts over shared layers, on
//! MPI.
//!
//! Table of contents, from the top floor down. A module imports only from lower floors
//! (ARCHITECTURE.md; `tests/tidy.rs` checks it).

// floor 5: one file per subcommand
pub mod commands;
// floor 4: what runs do
pub mod train;
// floor 3: the two flows, checkpoints
pub mod checkpoint;
pub mod flow;
// floor 2: communication, data, job, report
pub mod comm;
pub mod data;
pub mod formats;
pub mod job;
pub mod launch;
pub mod report;
pub mod signals;
// floor 1: arithmetic, which knows no file, rank or clock
pub mod example;
pub mod labels;
pub mod limits;
pub mod metrics;
pub mod model;
pub mod optim;
pub mod partition;
pub mod synthetic;
// floor 0
pub mod clock;
pub mod disk;
pub mod error;
pub mod human;
pub mod packed;
pub mod parallel;
pub mod progress;
pub mod rng;
pub mod tell;
