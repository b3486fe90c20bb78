//! `run.json`: what ran where, how long it took and what came out.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::job::Job;
use crate::system;

/// The machine of rank 0.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    pub host: String,
    pub processor: String,
    /// Cores that rank 0 may run on.
    pub cores: usize,
    pub memory_bytes: u64,
    pub kernel: String,
}

/// The name of this machine.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

impl Machine {
    /// This machine, as far as the system tells.
    pub fn here(cores: usize) -> Machine {
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
pub struct RunRecord<'a> {
    pub format: &'static str,
    pub creator: &'static str,
    pub job: &'a Job,
    pub machine: Machine,
    pub ranks: usize,
    pub threads_per_rank: usize,
    /// Commit of the program, MPI library, HDF5, instructions of the kernels, devices.
    pub versions: BTreeMap<&'static str, String>,
    pub started_unix_seconds: u64,
    pub seconds: f64,
    /// Seconds of each timer on every rank.
    pub timers: BTreeMap<String, Vec<f64>>,
    /// Collective calls and bytes of every rank.
    pub messages: Vec<u64>,
    pub bytes_sent: Vec<u64>,
    /// SHA-256 over every logged loss and metric and the model's content.
    pub result_hash: String,
    pub model_hash: String,
    pub reason: String,
    /// False where it was told to stop, and can go on.
    pub finished: bool,
    /// Every start of the run: ranks, threads, host, time.
    pub sessions: Vec<serde_json::Value>,
    pub exit: u8,
    /// Lines for standard error that nobody took, of all ranks.
    pub log_lines_dropped: u64,
}
