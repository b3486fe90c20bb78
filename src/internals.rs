//! The program's own house, for the program, its tests and its benches: it may change with every
//! version. From the top floor down (ARCHITECTURE.md); a module imports only from lower floors
//! (`tests/tidy.rs` checks it). Paths are given because files would otherwise be looked for in a
//! folder `internals`.

// floor 8: one file per subcommand
#[path = "commands/mod.rs"]
pub mod commands;
// floor 7: what runs do
#[path = "train/mod.rs"]
pub mod train;
// floor 6: scores and metrics of a model; what things cost
#[path = "cost/mod.rs"]
pub mod cost;
#[path = "inference/mod.rs"]
pub mod inference;
// floor 5: the two flows, the model directory, checkpoints
#[path = "artifact/mod.rs"]
pub mod artifact;
#[path = "checkpoint/mod.rs"]
pub mod checkpoint;
#[path = "flow/mod.rs"]
pub mod flow;
// floor 4: communication, what a rank computes with, data, job, report
#[path = "comm/mod.rs"]
pub mod comm;
#[path = "data/mod.rs"]
pub mod data;
#[path = "device/mod.rs"]
pub mod device;
#[path = "folder/mod.rs"]
pub mod folder;
#[path = "formats/mod.rs"]
pub mod formats;
#[path = "job/mod.rs"]
pub mod job;
#[path = "launch.rs"]
pub(crate) mod launch;
#[path = "report/mod.rs"]
pub mod report;
#[path = "signals/mod.rs"]
pub(crate) mod signals;
// floor 3: optimizers
#[path = "optim/mod.rs"]
pub mod optim;
// floor 2: the model, metrics
#[path = "limits.rs"]
pub(crate) mod limits;
#[path = "metrics/mod.rs"]
pub mod metrics;
#[path = "model/mod.rs"]
pub mod model;
#[path = "synthetic.rs"]
pub mod synthetic;
// floor 1: arithmetic, and how work is cut; neither knows a file, rank or clock
#[path = "kernel/mod.rs"]
pub mod kernel;
#[path = "partition/mod.rs"]
pub mod partition;
// floor 0
#[path = "apart.rs"]
pub(crate) mod apart;
#[path = "caught.rs"]
pub mod caught;
#[path = "clock.rs"]
pub mod clock;
#[path = "disk/mod.rs"]
pub mod disk;
#[path = "encoding.rs"]
pub mod encoding;
#[path = "error.rs"]
pub mod error;
#[path = "example.rs"]
pub mod example;
#[path = "fields.rs"]
pub(crate) mod fields;
#[path = "human.rs"]
pub mod human;
#[path = "labels.rs"]
pub mod labels;
#[path = "names.rs"]
pub mod names;
#[path = "packed.rs"]
pub mod packed;
#[path = "progress.rs"]
pub(crate) mod progress;
#[path = "rng.rs"]
pub mod rng;
#[path = "stint.rs"]
pub(crate) mod stint;
#[path = "system.rs"]
pub(crate) mod system;
#[path = "team/mod.rs"]
pub mod team;
#[path = "tell.rs"]
pub(crate) mod tell;
#[path = "tree.rs"]
pub mod tree;
