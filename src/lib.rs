//! Trains video annotators too large for one machine: mixtures of experts over shared layers, on
//! MPI.
//!
//! Table of contents, from the top floor down. A module imports only from lower floors
//! (ARCHITECTURE.md; `tests/tidy.rs` checks it).

#![deny(clippy::undocumented_unsafe_blocks)]

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
pub mod team;
pub mod tell;
