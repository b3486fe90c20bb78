//! `run.json`: what ran where, how long it took and what came out.

use std::collections::BTreeMap;

use serde::Serialize;

use super::kept::Kept;
use crate::job::Job;
use crate::system;

/// The machine of rank 0.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) host: String,
    pub(crate) processor: String,
    /// Cores that rank 0 may run on.
    pub(crate) cores: usize,
    pub(crate) memory_bytes: u64,
    pub(crate) kernel: String,
}

/// The name of this machine.
pub(crate) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

impl Machine {
    /// This machine, as far as the system tells.
    pub(crate) fn here(cores: usize) -> Machine {
        let name = rustix::system::uname();
        Machine {
            host: host(),
            processor: system::processor(),
            cores,
            memory_bytes: system::memory().unwrap_or(0),
            kernel: name.release().to_string_lossy().into_owned(),
        }
    }
}

/// The whole record.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RunRecord<'a> {
    pub(crate) format: &'static str,
    pub(crate) creator: &'static str,
    pub(crate) job: &'a Job,
    pub(crate) machine: Machine,
    pub(crate) ranks: usize,
    pub(crate) threads_per_rank: usize,
    /// Commit of the program, MPI library, HDF5, instructions of the kernels, devices.
    pub(crate) versions: BTreeMap<&'static str, String>,
    /// When this start began, and rank 0's process.
    pub(crate) started_unix_seconds: u64,
    pub(crate) pid: u32,
    pub(crate) seconds: f64,
    /// Seconds of each timer on every rank.
    pub(crate) timers: BTreeMap<String, Vec<f64>>,
    /// Collective calls and bytes of every rank.
    pub(crate) messages: Vec<u64>,
    pub(crate) bytes_sent: Vec<u64>,
    /// SHA-256 over every logged loss and metric and the model's content.
    pub(crate) result_hash: String,
    pub(crate) model_hash: String,
    /// Which model the run keeps, or would keep so far, and why; none before there is one.
    pub(crate) kept: Option<Kept>,
    /// Where the time of all starts went, at which rates, and what would help.
    pub(crate) report: serde_json::Value,
    /// The rows and contents of the shards that the job names.
    pub(crate) data: serde_json::Value,
    pub(crate) reason: String,
    /// False where it was told to stop, and can go on.
    pub(crate) finished: bool,
    /// Every start of the run: ranks, threads, host, time.
    pub(crate) sessions: Vec<serde_json::Value>,
    pub(crate) exit: u8,
    /// Lines for standard error that nobody took, of all ranks.
    pub(crate) log_lines_dropped: u64,
}
