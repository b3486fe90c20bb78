//! What each rank of a run computes with.

use std::collections::BTreeMap;

use crate::comm::Comm;
use crate::device::Host;
use crate::device::gpu::Gpu;
use crate::device::gpu::choice::{Chosen, OnNode, choose};
use crate::error::{Error, Exit, Result};
use crate::job::{DEVICE_NAMES, Job};
use crate::signals;
use crate::train::host_of;

/// Names one rank's device in place of `run.device`.
const VARIABLE: &str = "REELSCALE_DEVICE";

/// A rank's device.
pub(crate) enum RankDevice {
    Host(Host),
    Gpu(Gpu),
}

impl RankDevice {
    /// The instructions of the processor's kernels.
    pub(crate) fn kernel(&self) -> &'static str {
        match self {
            RankDevice::Host(host) => host.instructions().name(),
            RankDevice::Gpu(gpu) => gpu.instructions().name(),
        }
    }
}

/// The device of this rank, and one line that says what all ranks have. Collective.
///
/// # Errors
/// Exit 3, common to all ranks: what is named isn't there, or doesn't give the processor's bits.
/// Exit 9: it is lost.
pub(crate) fn chosen(comm: &Comm, job: &Job) -> Result<(RankDevice, String)> {
    let (rank, ranks) = comm.on_node();
    let chosen = named(job).and_then(|name| {
        let opened = choose(&name, OnNode { rank, ranks });
        opened.map_err(|text| Error::new(Exit::Launch, format!("run.device = {name:?}: {text}")))
    });
    let both = chosen.and_then(|chosen| Ok((chosen, host_of(job)?)));
    let (chosen, host) = comm.agree(both)?;
    let own = chosen.describe();
    let line = summary(&comm.all_gather_any(own.as_bytes()));
    let device = match chosen {
        Chosen::Host { .. } => Ok(RankDevice::Host(host)),
        Chosen::Device(opened) => {
            // What compiles for it may have taken signals for itself.
            let again = signals::set_on_signals(comm.stop_flag());
            let limit = (job.run.device_memory_gib * f64::from(1 << 30)) as usize;
            again.and_then(|()| match opened.bounded(limit) {
                Ok(queue) => Ok(RankDevice::Gpu(Gpu::new(host, queue, job.model.epsilon))),
                Err(text) => Err(Error::new(Exit::Resources, text)),
            })
        }
    };
    // Nobody takes memory before all have seen what is free.
    Ok((comm.agree(device)?, line))
}

/// What this rank is told to compute with.
fn named(job: &Job) -> Result<String> {
    match std::env::var(VARIABLE) {
        Ok(name) if DEVICE_NAMES.contains(&name.as_str()) => Ok(name),
        Ok(name) => {
            let expected = DEVICE_NAMES.join(", ");
            let text = format!("{VARIABLE}: found {name:?}, expected one of {expected}");
            Err(Error::new(Exit::Launch, text))
        }
        Err(std::env::VarError::NotPresent) => Ok(job.run.device.clone()),
        Err(_) => Err(Error::new(Exit::Launch, format!("{VARIABLE}: found no text"))),
    }
}

/// Which devices there are, and how many ranks have one like it.
fn summary(ranks: &[Vec<u8>]) -> String {
    let mut counts: BTreeMap<&[u8], usize> = BTreeMap::new();
    ranks.iter().for_each(|device| *counts.entry(device).or_default() += 1);
    let lines = counts.iter().map(|(device, count)| {
        let device = String::from_utf8_lossy(device);
        match *count == ranks.len() {
            true => device.into_owned(),
            false => format!("{device} on {count} of {} ranks", ranks.len()),
        }
    });
    lines.collect::<Vec<_>>().join("; ")
}
