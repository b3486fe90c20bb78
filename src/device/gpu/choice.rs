//! Which device a rank computes with: what its job names, or a GPU where there is one for it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::check::check;
use super::cuda::{self, Cuda};
use super::launcher::Launcher;
use super::look::{Found, Way};
use super::opencl::{Kinds, OpenCl, devices};
use super::queue::Queue;
use crate::human;
use crate::kernel::text::{OPENCL_OPTIONS, PTX, whole};

/// Ways to GPUs, as `run.device` names them, in the order in which `auto` goes them, and what
/// people call them.
pub(crate) const WAYS: [(&str, &str); 2] = [("cuda", "CUDA"), ("opencl", "OpenCL")];

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

/// The device for a rank that is told to use the one of this name.
///
/// # Errors
/// It isn't there or doesn't give the processor's bits.
pub(crate) fn choose(name: &str, place: OnNode) -> Result<Chosen, String> {
    let count = match name {
        "host" => return Ok(Chosen::Host { why: "as told".into() }),
        "cuda" => Cuda::count()?,
        "opencl" => devices(Kinds::Any)?.len(),
        _ => return Err("no device is called so".into()),
    };
    let none = if name == "cuda" { "CUDA: no GPU found" } else { "OpenCL: no device found" };
    open(name, spread(count, place, none)?, Kinds::Any).map(Chosen::Device)
}

/// Device number `ordinal` that this way leads to, once it has passed the check. Of OpenCL's, they
/// are numbered among those of these kinds.
///
/// # Errors
/// It isn't there, lacks what the kernels need, or doesn't give the processor's bits.
pub(crate) fn open(way: &str, ordinal: usize, kinds: Kinds) -> Result<Opened, String> {
    let (launcher, identity): (Box<dyn Launcher>, _) = match way {
        "cuda" => (Box::new(Cuda::new(ordinal as i32, PTX)?), cuda::identity(ordinal as i32)?),
        _ => {
            let all = devices(kinds)?;
            let device = *all.get(ordinal).ok_or("OpenCL: the device is gone")?;
            let launcher = OpenCl::of(device, &whole(), OPENCL_OPTIONS)?;
            (Box::new(launcher), format!("OpenCL {ordinal}"))
        }
    };
    let queue = Queue::new(launcher, usize::MAX);
    let compared = check(&queue).map_err(|text| format!("{}: {text}", queue.describe()))?;
    Ok(Opened { launcher: queue.into_launcher(), identity, compared })
}

/// The device of a rank, of so many.
pub(super) fn spread(devices: usize, place: OnNode, none: &str) -> Result<usize, String> {
    if devices == 0 { Err(none.into()) } else { Ok(place.rank % devices) }
}

/// What a rank is told to compute with, and the GPUs that it sees where that is `auto`: those of
/// each way for which there is a driver.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) told: String,
    pub(crate) ways: Vec<Way>,
}

/// Why `auto` takes the processor where nothing leads to a GPU.
pub(crate) const NO_DRIVER: &str = "there is no GPU's driver here";

/// The GPU that rank `own` of a node takes by itself: its way and its number there. All ranks of
/// the node that are told `auto` have one of the same way, each its own, or none has any. CUDA's
/// come before OpenCL's.
///
/// # Errors
/// Why it takes the processor.
pub(crate) fn by_auto(node: &[Seen], own: usize) -> Result<(&'static str, usize), String> {
    let takes = |rank: &usize| node[*rank].told == "auto";
    let takers: Vec<usize> = (0..node.len()).filter(takes).collect();
    if node.iter().any(|rank| !["auto", "host"].contains(&&*rank.told)) {
        return Err("other ranks of this node name their devices".into());
    }
    if takers.iter().all(|rank| node[*rank].ways.is_empty()) {
        return Err(NO_DRIVER.into());
    }
    let place = takers.iter().position(|rank| *rank == own).expect("a rank that is told auto");
    let mut reasons = Vec::new();
    for (way, name) in WAYS {
        match one_each(node, &takers, way) {
            Ok(ordinals) => return Ok((way, ordinals[place])),
            Err(why) => reasons.push(format!("GPUs by {name}: {why}")),
        }
    }
    Err(reasons.join("; "))
}

/// A GPU for each of these ranks of a node, by its number among those that the rank sees.
fn one_each(node: &[Seen], takers: &[usize], way: &str) -> Result<Vec<usize>, String> {
    let seen: Vec<&[Found]> =
        takers.iter().map(|rank| found(&node[*rank], way)).collect::<Result<_, _>>()?;
    let usable = |found: &&Found| found.outcome.is_ok();
    let all = seen.iter().flat_map(|devices| devices.iter().filter(usable));
    let identities: BTreeSet<&str> = all.map(|found| found.identity.as_str()).collect();
    let refused = seen
        .iter()
        .flat_map(|devices| devices.iter())
        .find_map(|found| found.outcome.as_ref().err());
    match (identities.len(), refused) {
        (0, None) => return Err("none".into()),
        (0, Some(reason)) => return Err(reason.clone()),
        (gpus, _) if gpus < takers.len() => {
            return Err(format!("{gpus} for the {} ranks of this node", takers.len()));
        }
        _ => {}
    }
    // Each the one at its place, or else the next that is free.
    let (mut taken, mut ordinals) = (BTreeSet::new(), Vec::new());
    for (place, devices) in seen.iter().enumerate() {
        let usable: Vec<(usize, &Found)> =
            devices.iter().enumerate().filter(|(_, found)| found.outcome.is_ok()).collect();
        let from = place % usable.len().max(1);
        let in_turn = usable[from..].iter().chain(&usable[..from]);
        let free = in_turn.copied().find(|(_, found)| taken.insert(found.identity.as_str()));
        let (ordinal, _) = free.ok_or("ranks of this node would share one")?;
        ordinals.push(ordinal);
    }
    Ok(ordinals)
}

/// The devices of a way that a rank sees.
fn found<'a>(seen: &'a Seen, way: &str) -> Result<&'a [Found], String> {
    match seen.ways.iter().find(|one| one.name == way).map(|way| &way.devices) {
        None => Ok(&[]),
        Some(Ok(devices)) => Ok(devices),
        Some(Err(text)) => Err(text.clone()),
    }
}

impl Opened {
    /// Numbers of it that are the processor's, of as many that were compared.
    pub(super) fn compared(&self) -> usize {
        self.compared
    }

    /// The device with at most `limit` bytes of its memory; 0: this rank's share of what is free,
    /// once all `sharing` ranks that have it have opened it. No more than one buffer may have there
    /// (CL_DEVICE_MAX_MEM_ALLOC_SIZE): what is planned within that, none exceeds.
    ///
    /// # Errors
    /// The device is lost.
    pub(crate) fn bounded(mut self, limit: usize, sharing: usize) -> Result<Queue, String> {
        let limit = match limit {
            0 => self.launcher.free_bytes()? / sharing,
            limit => limit,
        };
        let largest = self.launcher.largest()?;
        if largest < limit {
            let [largest, limit] = [largest, limit].map(|bytes| human::bytes(bytes as u64));
            log::info!(
                "device memory: {largest} of {limit} are used, as a buffer may have no more"
            );
        }
        Ok(Queue::new(self.launcher, limit.min(largest)))
    }
}

impl Chosen {
    /// What tells a device from others of its node: the same of ranks that share it.
    pub(crate) fn identity(&self) -> Option<&str> {
        match self {
            Chosen::Host { .. } => None,
            Chosen::Device(opened) => Some(&opened.identity),
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

    /// GPUs of these names; of one that begins with a question mark the rest is what it lacks.
    fn way(name: &str, gpus: &[&str]) -> Way {
        let found = |gpu: &&str| Found {
            identity: gpu.to_string(),
            name: "a GPU".into(),
            memory_bytes: 1 << 30,
            outcome: gpu.strip_prefix('?').map_or(Ok(0), |lacks| Err(lacks.into())),
        };
        Way { name: name.into(), devices: Ok(gpus.iter().map(found).collect()) }
    }

    fn seen(told: &str, cuda: &[&str], opencl: &[&str]) -> Seen {
        Seen { told: told.into(), ways: vec![way("cuda", cuda), way("opencl", opencl)] }
    }

    /// What each rank of a node takes, or why all take the processor.
    fn taken(node: &[Seen]) -> Result<Vec<(&'static str, usize)>, String> {
        let takers = (0..node.len()).filter(|rank| node[*rank].told == "auto");
        let mut all: Vec<_> = takers.map(|rank| by_auto(node, rank)).collect();
        if let Some(why) = all.iter().find_map(|one| one.as_ref().err()) {
            assert!(all.iter().all(|one| one.as_ref() == Err(why)), "{all:?}");
        }
        all.drain(..).collect()
    }

    #[test]
    fn each_rank_takes_a_gpu_of_its_own_or_none_does() {
        let auto = |gpus: &[&str]| seen("auto", gpus, &[]);
        let four = ["a", "b", "c", "d"];
        let cuda = |ordinals: &[usize]| Ok(ordinals.iter().map(|one| ("cuda", *one)).collect());
        // All see all.
        assert_eq!(taken(&vec![auto(&four); 4]), cuda(&[0, 1, 2, 3]));
        assert_eq!(taken(&vec![auto(&four); 3]), cuda(&[0, 1, 2]));
        // The launcher has bound each to one of its own, or to some.
        assert_eq!(taken(&[auto(&["a"]), auto(&["b"])]), cuda(&[0, 0]));
        assert_eq!(taken(&[auto(&["a", "b"]), auto(&["a", "b"]), auto(&["c"])]), cuda(&[0, 1, 0]));
        assert_eq!(taken(&[auto(&["a", "b"]), auto(&["b"])]), cuda(&[0, 0]));
        // One that lacks something counts for nothing.
        assert_eq!(taken(&vec![auto(&["?no pools", "b", "c"]); 2]), cuda(&[1, 2]));
        // Ranks that are told the processor take none.
        let mixed = [seen("host", &[], &[]), auto(&["a"]), seen("host", &[], &[])];
        assert_eq!(taken(&mixed), cuda(&[0]));
        // OpenCL's come where CUDA's aren't.
        assert_eq!(taken(&[seen("auto", &[], &["x"])]), Ok(vec![("opencl", 0)]));
        assert_eq!(taken(&[seen("auto", &["a"], &["x"])]), cuda(&[0]));
    }

    #[test]
    fn where_there_is_no_gpu_for_each_all_take_the_processor() {
        let auto = |gpus: &[&str]| seen("auto", gpus, &[]);
        let because = |node: &[Seen], why: &str| {
            let told = taken(node).unwrap_err();
            assert!(told.contains(why), "{told}");
        };
        because(
            &vec![auto(&["a", "b"]); 3],
            "GPUs by CUDA: 2 for the 3 ranks of this node; GPUs by OpenCL: none",
        );
        because(&vec![auto(&["a"]); 2], "1 for the 2 ranks");
        because(&[auto(&["?no pools"])], "GPUs by CUDA: no pools");
        because(&vec![auto(&["?no pools", "b"]); 2], "1 for the 2 ranks");
        // Enough of them, but not where they are wanted.
        because(&[auto(&["a"]), auto(&["a"]), auto(&["a", "b", "c"])], "would share one");
        because(&[auto(&["a"]), seen("cuda", &[], &[])], "name their devices");
        let failing = Way { name: "cuda".into(), devices: Err("a driver that fails".into()) };
        because(
            &[auto(&["a"]), Seen { told: "auto".into(), ways: vec![failing] }],
            "a driver that fails",
        );
        let none = Seen { told: "auto".into(), ways: Vec::new() };
        assert_eq!(by_auto(&[none.clone(), none], 1), Err(NO_DRIVER.into()));
    }
}
