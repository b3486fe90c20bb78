//! Which device a rank computes with: what its job names, or a GPU where there is one for it.

use super::check::check;
use super::cuda::{self, Cuda};
use super::launcher::Launcher;
use super::opencl::{Kinds, OpenCl, devices};
use super::queue::Queue;
use crate::kernel::text::{OPENCL_OPTIONS, PTX, whole};
use crate::system;

/// Whether `auto` takes GPUs. Their launches have been compared on PoCL alone; kernels have been on
/// GPUs (docs/gpu-notes.md), but what a rank does with them hasn't.
const AUTO_TAKES_GPUS: bool = false;

/// What a rank is on its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OnNode {
    /// This rank among those of the node.
    pub(crate) rank: usize,
    pub(crate) ranks: usize,
}

/// A device that has passed the check, whose memory nobody has bounded yet.
pub(crate) struct Opened {
    launcher: Box<dyn Launcher>,
    /// What tells it from others of its node, however many a rank sees.
    identity: String,
    /// Numbers that the check compared.
    compared: usize,
}

/// What a rank computes with.
pub(crate) enum Chosen {
    Host { why: String },
    Device(Opened),
}

/// The device for a rank that is told to use the one of this name. `auto` takes a GPU that gives
/// the processor's bits, CUDA's before OpenCL's, where the node has no more ranks than GPUs and
/// `AUTO_TAKES_GPUS`; else the processor.
///
/// # Errors
/// What is named isn't there or doesn't give the processor's bits.
pub(crate) fn choose(name: &str, place: OnNode) -> Result<Chosen, String> {
    match name {
        // No driver is asked for what nobody would take.
        "auto" if !AUTO_TAKES_GPUS => {
            Ok(Chosen::Host { why: "auto takes no GPU yet: one has to be named".into() })
        }
        "auto" => Ok(auto(place)),
        "host" => Ok(Chosen::Host { why: "as told".into() }),
        "cuda" => cuda(place).map(Chosen::Device),
        "opencl" => opencl(place, Kinds::Any).map(Chosen::Device),
        _ => Err("no device is called so".into()),
    }
}

fn auto(place: OnNode) -> Chosen {
    let mut reasons = Vec::new();
    let cuda_devices = Cuda::count();
    let gpus = |count: usize| match count {
        0 => Err("none".to_string()),
        count if count < place.ranks => {
            Err(format!("{count} for the {} ranks of this node", place.ranks))
        }
        count => Ok(count),
    };
    for (kind, count) in [("CUDA", cuda_devices), ("OpenCL", opencl_gpus())] {
        let opened = count.and_then(gpus).and_then(|_| match kind {
            "CUDA" => cuda(place),
            _ => opencl(place, Kinds::Gpus),
        });
        match opened {
            Ok(opened) => return Chosen::Device(opened),
            Err(why) => reasons.push(format!("GPUs by {kind}: {why}")),
        }
    }
    Chosen::Host { why: reasons.join("; ") }
}

/// OpenCL's GPUs. Where PoCL is all that is installed nobody asks it: it is a processor's, and
/// takes signals for itself.
pub(super) fn opencl_gpus() -> Result<usize, String> {
    match system::opencl_drivers().iter().any(|driver| !driver.contains("pocl")) {
        true => devices(Kinds::Gpus).map(|devices| devices.len()),
        false => Ok(0),
    }
}

fn cuda(place: OnNode) -> Result<Opened, String> {
    let ordinal = spread(Cuda::count()?, place, "CUDA: no GPU found")? as i32;
    let opened = checked(Box::new(Cuda::new(ordinal, PTX)?))?;
    Ok(Opened { identity: cuda::identity(ordinal)?, ..opened })
}

fn opencl(place: OnNode, kinds: Kinds) -> Result<Opened, String> {
    let all = devices(kinds)?;
    let ordinal = spread(all.len(), place, "OpenCL: no device found")?;
    let opened = checked(Box::new(OpenCl::of(all[ordinal], &whole(), OPENCL_OPTIONS)?))?;
    Ok(Opened { identity: format!("OpenCL {ordinal}"), ..opened })
}

/// The device of a rank, of so many.
pub(super) fn spread(devices: usize, place: OnNode, none: &str) -> Result<usize, String> {
    if devices == 0 { Err(none.into()) } else { Ok(place.rank % devices) }
}

/// A device that nobody has told from others.
pub(super) fn checked(launcher: Box<dyn Launcher>) -> Result<Opened, String> {
    let queue = Queue::new(launcher, usize::MAX);
    let compared = check(&queue).map_err(|text| format!("{}: {text}", queue.describe()))?;
    Ok(Opened { launcher: queue.into_launcher(), identity: String::new(), compared })
}

impl Opened {
    /// Numbers of it that are the processor's, of as many that were compared.
    pub(super) fn compared(&self) -> usize {
        self.compared
    }

    /// The device with at most `limit` bytes of its memory; 0: this rank's share of what is free,
    /// once all `sharing` ranks that have it have opened it.
    ///
    /// # Errors
    /// The device is lost.
    pub(crate) fn bounded(mut self, limit: usize, sharing: usize) -> Result<Queue, String> {
        let limit = match limit {
            0 => self.launcher.free_bytes()? / sharing,
            limit => limit,
        };
        Ok(Queue::new(self.launcher, limit))
    }
}

impl Chosen {
    /// What tells it from others of its node: the same of ranks that share a device.
    pub(crate) fn identity(&self) -> &str {
        match self {
            Chosen::Host { .. } => "host",
            Chosen::Device(opened) => &opened.identity,
        }
    }

    /// For people: what it is, and why.
    pub(crate) fn describe(&self) -> String {
        match self {
            Chosen::Host { why } => format!("host ({why})"),
            Chosen::Device(opened) => {
                let (device, compared) = (opened.launcher.describe(), opened.compared);
                format!("{device} ({compared} numbers of it are the processor's)")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_of_a_node_are_spread_over_its_devices() {
        let spread = |rank, ranks, devices| spread(devices, OnNode { rank, ranks }, "none");
        assert_eq!([0, 1, 2, 3].map(|rank| spread(rank, 4, 4)), [0, 1, 2, 3].map(Ok));
        assert_eq!([0, 1, 2, 3, 4].map(|rank| spread(rank, 5, 2)), [0, 1, 0, 1, 0].map(Ok));
        assert_eq!(spread(0, 1, 0), Err("none".into()));
    }
}
