//! Trains video annotators too large for one machine: mixtures of experts over shared layers, on MPI.
//!
//! Table of contents, from the top floor down. A module imports only from lower floors
//! (ARCHITECTURE.md; `tests/tidy.rs` checks it).

// floor 5: one file per subcommand
pub mod commands;
// floor 3: the two flows, checkpoints
pub mod flow;
// floor 2: communication, data, job, report
pub mod comm;
pub mod data;
pub mod job;
// floor 1: arithmetic, which knows no file, rank or clock
pub mod example;
pub mod labels;
pub mod model;
pub mod optim;
pub mod partition;
// floor 0
pub mod error;
pub mod parallel;
pub mod rng;
