//! What each rank of a command computes with.

use std::collections::BTreeMap;

use clap::builder::PossibleValuesParser;

use super::auto::{Has, Node, together};
use crate::comm::Comm;
use crate::device::Host;
use crate::device::gpu::choice::{Chosen, NO_DRIVER, OnNode, choose};
use crate::device::gpu::{Gpu, STAYS_ON_HOST};
use crate::device::host::Instructions;
use crate::error::{Error, Exit, Result};
use crate::human;
use crate::job::{DEVICE_NAMES, Job};
use crate::signals;
use crate::train::Setting;

/// Names one rank's device in place of what all are told.
const VARIABLE: &str = "REELSCALE_DEVICE";
const GIB: f64 = (1u64 << 30) as f64;

/// What ranks compute with; the same bits come of all.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DeviceArgs {
    /// What ranks compute with, as run.device. REELSCALE_DEVICE says so for one rank.
    #[arg(long, default_value = "auto", global = true)]
    #[arg(value_parser = PossibleValuesParser::new(DEVICE_NAMES))]
    device: String,
    /// Memory of its device that a rank may take, in GiB, as run.device_memory_gib; 0: its share of
    /// what is free.
    #[arg(long, default_value_t = 0.0, global = true, value_parser = gib)]
    device_memory_gib: f64,
}

fn gib(text: &str) -> std::result::Result<f64, String> {
    let found = text.parse::<f64>().ok().filter(|gib| (0.0..=1e6).contains(gib));
    found.ok_or_else(|| "expected GiB: 0 to 1000000".into())
}

/// What a rank is told to compute with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told<'a> {
    /// The key or the argument that says so.
    by: &'a str,
    name: &'a str,
    memory_gib: f64,
}

impl DeviceArgs {
    pub(crate) fn told(&self) -> Told<'_> {
        Told { by: "--device", name: &self.device, memory_gib: self.device_memory_gib }
    }

    /// Says what ranks compute with, unless it is the processor, nobody has named that, and there
    /// was nothing to choose from.
    pub(crate) fn announce(&self, given: &Given) {
        let line = given.line();
        let nothing = Chosen::Host { why: NO_DRIVER.into() }.describe();
        if self.device != "auto" || line != nothing {
            log::info!("device: {line}");
        }
    }

    /// GiB of its device's memory that a rank may take; 0: its share of what is free.
    pub(crate) fn memory_gib(&self) -> f64 {
        self.device_memory_gib
    }

    /// Sees that no device is named, where only the processor does what is asked for.
    ///
    /// # Errors
    /// Exit 2: one is.
    pub(crate) fn unnamed(&self, what: &str) -> Result<()> {
        match &*self.device {
            "auto" | "host" => Ok(()),
            name => Err(Error::usage(format!("--device: found {name:?}, {what} has none"))),
        }
    }
}

impl<'a> Told<'a> {
    /// By an argument, which leaves a rank its share of what is free.
    pub(crate) fn by(by: &'a str, name: &'a str) -> Told<'a> {
        Told { by, name, memory_gib: 0.0 }
    }

    pub(crate) fn by_job(job: &'a Job) -> Told<'a> {
        let run = &job.run;
        Told { by: "run.device", name: &run.device, memory_gib: run.device_memory_gib }
    }
}

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

    /// The device as this run takes its memory. Collective.
    ///
    /// # Errors
    /// Exit 9, common to all ranks: the memory of a device doesn't suffice.
    pub(crate) fn planned(self, setting: &mut Setting) -> Result<RankDevice> {
        let RankDevice::Gpu(mut gpu) = self else {
            setting.plan_device(None)?;
            return Ok(self);
        };
        let limit = gpu.queue().limit();
        if let Some(plan) = setting.plan_device(Some(limit))? {
            let [peak, limit] = [plan.peak(), limit].map(|bytes| human::bytes(bytes as u64));
            let come = match plan.streams {
                true => ", class blocks come and go with each window",
                false => "",
            };
            log::info!("device memory planned {peak} of {limit}{come}");
            gpu.keep_to(plan.room);
        }
        Ok(RankDevice::Gpu(gpu))
    }

    /// The same device once more, of which `host` is the processor's part.
    pub(crate) fn again(&self, host: Host, epsilon: f32) -> RankDevice {
        match self {
            RankDevice::Host(_) => RankDevice::Host(host),
            RankDevice::Gpu(gpu) => RankDevice::Gpu(Gpu::new(host, gpu.queue().clone(), epsilon)),
        }
    }

    /// What results say of it.
    pub(crate) fn name(&self) -> String {
        match self {
            RankDevice::Host(_) => "host".into(),
            RankDevice::Gpu(gpu) => gpu.queue().describe(),
        }
    }
}

/// What a rank computes with, and what all of them have.
pub(crate) struct Given {
    pub(crate) device: RankDevice,
    ranks: Vec<Has>,
    own: usize,
}

impl Given {
    /// One line that says what all ranks have.
    pub(crate) fn line(&self) -> String {
        summary(&self.ranks)
    }

    /// Whether every rank computes with its processor.
    pub(crate) fn on_host(&self) -> bool {
        self.ranks.iter().all(|has| has.identity.is_none())
    }

    /// This rank's instructions, where every rank computes with its processor.
    pub(crate) fn instructions(&self) -> Option<Instructions> {
        match &self.device {
            RankDevice::Host(host) if self.on_host() => Some(host.instructions()),
            _ => None,
        }
    }

    /// Bytes that any rank may take of its GPU, where every rank has one. Collective.
    pub(crate) fn least_limit(&self, comm: &Comm) -> Option<usize> {
        if self.ranks.iter().any(|has| has.identity.is_none()) {
            return None;
        }
        let own = match &self.device {
            RankDevice::Gpu(gpu) => gpu.queue().limit(),
            RankDevice::Host(_) => usize::MAX,
        };
        // The least of all is the largest of what is left out.
        Some(!comm.max(!(own as u64)) as usize)
    }

    /// The same, but where a rank took a GPU by itself that `fits` refuses, it and the others of
    /// its node that did so take the processor. Collective.
    pub(crate) fn where_it_fits(
        mut self,
        comm: &Comm,
        fits: impl FnOnce(&Gpu) -> Result<()>,
    ) -> Given {
        let by_itself = |has: &Has| has.auto && has.identity.is_some();
        if !self.ranks.iter().any(by_itself) {
            return self;
        }
        let refused = match &self.device {
            RankDevice::Gpu(gpu) if by_itself(&self.ranks[self.own]) => fits(gpu).err(),
            _ => None,
        };
        let reasons = comm.all_gather_any(refused.map_or(String::new(), |e| e.text).as_bytes());
        for (has, why) in self.ranks.iter_mut().zip(&reasons).filter(|(_, why)| !why.is_empty()) {
            has.gives_up(String::from_utf8_lossy(why).into_owned());
        }
        together(&mut self.ranks);
        self.device = match self.device {
            RankDevice::Gpu(gpu) if self.ranks[self.own].identity.is_none() => {
                RankDevice::Host(gpu.into_host())
            }
            device => device,
        };
        self
    }

    /// The same as a run takes its memory. Says what ranks train with, and what of training stays
    /// on the processor. Collective.
    ///
    /// # Errors
    /// Exit 9, common to all ranks: the memory of a device that was named doesn't suffice.
    pub(crate) fn planned(self, setting: &mut Setting) -> Result<Given> {
        let limit = self.least_limit(setting.comm);
        if limit.is_some() {
            setting.choose_ranks(limit)?;
        }
        let fits = |gpu: &Gpu| setting.fits(gpu.queue().limit());
        let given = self.where_it_fits(setting.comm, fits);
        if limit.is_some() && given.least_limit(setting.comm).is_none() {
            setting.choose_ranks(None)?;
        }
        log::info!("device: {}", given.line());
        if let RankDevice::Gpu(_) = given.device {
            log::info!("device: {STAYS_ON_HOST} run on the processor");
        }
        Ok(Given { device: given.device.planned(setting)?, ..given })
    }
}

/// The device of this rank, of which `host` is the processor's part, and what all ranks have.
/// `epsilon` is eps of the loss. Collective.
///
/// # Errors
/// Exit 3, common to all ranks: what is named isn't there, or doesn't give the processor's bits.
/// Exit 9: it is lost. What making the host gave.
pub(crate) fn chosen(comm: &Comm, told: Told, host: Result<Host>, epsilon: f32) -> Result<Given> {
    let (rank, ranks) = comm.on_node();
    let place = OnNode { rank, ranks };
    let named = named(told.by, told.name);
    let name = named.as_ref().map_or("host", |(_, name)| name).to_string();
    let node = Node::look(comm, &name, place);
    let chosen = named.and_then(|(by, name)| match &*name {
        "auto" => Ok(node.open()),
        name => choose(name, place)
            .map_err(|text| Error::new(Exit::Launch, format!("{by} = {name:?}: {text}"))),
    });
    // Drivers that were asked, or compiled something, may have taken signals for themselves.
    signals::look_again();
    let both = chosen.and_then(|chosen| Ok((chosen, host?)));
    let (chosen, host) = comm.agree(both)?;
    let mut ranks = Has::all(comm, &chosen, name == "auto");
    together(&mut ranks);
    let own = &ranks[comm.rank()];
    // Ranks that have the same device share its memory, however many devices each one sees.
    let same = |other: &&Has| (&other.node, &other.identity) == (&own.node, &own.identity);
    let sharing = ranks.iter().filter(same).count();
    let device = match chosen {
        Chosen::Device(opened) if own.identity.is_some() => {
            match opened.bounded((told.memory_gib * GIB) as usize, sharing) {
                Ok(queue) => Ok(RankDevice::Gpu(Gpu::new(host, queue, epsilon))),
                Err(text) => Err(Error::new(Exit::Resources, text)),
            }
        }
        _ => Ok(RankDevice::Host(host)),
    };
    // Nobody takes memory before all have seen what is free.
    Ok(Given { device: comm.agree(device)?, ranks, own: comm.rank() })
}

/// What this rank is told to compute with, and what says so: `by`, or a variable in its place.
///
/// # Errors
/// Exit 3: the variable has no device's name.
pub(crate) fn named<'a>(by: &'a str, name: &str) -> Result<(&'a str, String)> {
    match std::env::var(VARIABLE) {
        Ok(name) if DEVICE_NAMES.contains(&name.as_str()) => Ok((VARIABLE, name)),
        Ok(name) => {
            let expected = DEVICE_NAMES.join(", ");
            let text = format!("{VARIABLE}: found {name:?}, expected one of {expected}");
            Err(Error::new(Exit::Launch, text))
        }
        Err(std::env::VarError::NotPresent) => Ok((by, name.into())),
        Err(_) => Err(Error::new(Exit::Launch, format!("{VARIABLE}: found no text"))),
    }
}

/// Which devices there are, and how many ranks have one like it.
fn summary(ranks: &[Has]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    ranks.iter().for_each(|has| *counts.entry(&has.line).or_default() += 1);
    let lines = counts.iter().map(|(line, count)| match *count == ranks.len() {
        true => line.to_string(),
        false => format!("{line} on {count} of {} ranks", ranks.len()),
    });
    lines.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Why a rank has no GPU may be told in several parts.
    #[test]
    fn ranks_without_a_gpu_are_on_their_processors() {
        let given = |identity: Option<&str>| {
            let line = Chosen::Host { why: "GPUs by CUDA: none; GPUs by OpenCL: none".into() };
            let (node, line) = ("a".into(), line.describe());
            let has = Has { node, auto: true, identity: identity.map(String::from), line };
            let device = RankDevice::Host(Host::named("auto", 1, 1e-5).unwrap());
            Given { device, ranks: vec![has], own: 0 }
        };
        assert!(given(None).on_host() && !given(Some("x")).on_host());
        assert_eq!(given(None).least_limit(&Comm::serial()), None);
    }
}
