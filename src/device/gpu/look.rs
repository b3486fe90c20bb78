//! What devices a machine has, for whoever asks before a run is: each one's name, memory and
//! driver, and whether a rank could compute with it.

use serde::{Deserialize, Serialize};

use super::choice::{OnNode, open, spread};
use super::cuda::{self, Cuda};
use super::opencl::{self, Kinds};
use crate::system;

/// A way to devices: CUDA's driver or OpenCL's loader.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Way {
    /// As `run.device` names it.
    pub(crate) name: String,
    /// What it leads to, or why it leads nowhere.
    pub(crate) devices: Result<Vec<Found>, String>,
}

/// A device.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Found {
    /// What tells it from others of its node, however many a process sees.
    pub(crate) identity: String,
    /// Name, version and driver, in one line.
    pub(crate) name: String,
    pub(crate) memory_bytes: u64,
    /// How many numbers of it were compared, all of which are the processor's: none where it was
    /// only listed. Or what it lacks, or what differs.
    pub(crate) outcome: Result<usize, String>,
}

/// Whether something here may lead to a GPU. No driver is loaded for it. PoCL is a processor's.
pub(crate) fn may_have_gpus() -> bool {
    system::loads("libcuda.so") || other_than_pocl()
}

fn other_than_pocl() -> bool {
    system::opencl_drivers().iter().any(|driver| !driver.contains("pocl"))
}

/// The devices that ranks may be given which are told to use the one of this name. None is opened.
/// Nobody asks PoCL but for "opencl".
pub(crate) fn list(name: &str) -> Vec<Way> {
    let way = |name: &str, devices| Way { name: name.into(), devices };
    let gpus = || if other_than_pocl() { opencl(Kinds::Gpus) } else { Ok(Vec::new()) };
    match name {
        "auto" => vec![way("cuda", cuda()), way("opencl", gpus())],
        "cuda" => vec![way(name, cuda())],
        "opencl" => vec![way(name, opencl(Kinds::Any))],
        _ => Vec::new(),
    }
}

/// Opens the device of this number that a way leads to, and compares it with the processor.
///
/// # Errors
/// What it lacks, or what differs.
pub(crate) fn compare(way: &str, ordinal: usize) -> Result<usize, String> {
    open(way, ordinal, Kinds::Any).map(|opened| opened.compared())
}

/// Why a rank at this place of its node can't have the device that it is told to use; `auto` has
/// the processor where there is no other.
pub(crate) fn missing(name: &str, ways: &[Way], place: OnNode) -> Option<String> {
    let way = ways.iter().find(|way| way.name == name)?;
    let devices = match &way.devices {
        Ok(devices) => devices,
        Err(text) => return Some(text.clone()),
    };
    match spread(devices.len(), place, "no device found") {
        Ok(ordinal) => devices[ordinal].outcome.as_ref().err().cloned(),
        Err(text) => Some(text),
    }
}

fn cuda() -> Result<Vec<Found>, String> {
    let found = |ordinal: i32| {
        // What doesn't suffice isn't asked for more.
        let suffices = cuda::suffices(ordinal);
        let identity = suffices.clone().and_then(|()| cuda::identity(ordinal));
        described(cuda::introduce(ordinal), identity, format!("CUDA: GPU {ordinal}"))
    };
    Ok((0..Cuda::count()? as i32).map(found).collect())
}

fn opencl(kinds: Kinds) -> Result<Vec<Found>, String> {
    let found = |(ordinal, device)| {
        let identity = opencl::lacks(&device).map(|()| format!("OpenCL {ordinal}"));
        described(opencl::introduce(&device), identity, format!("OpenCL: device {ordinal}"))
    };
    Ok(opencl::devices(kinds)?.into_iter().enumerate().map(found).collect())
}

/// A device by what it says of itself, and what tells it from others or what it lacks. One that
/// says nothing hides no other.
fn described(
    told: Result<(String, u64), String>,
    identity: Result<String, String>,
    number: String,
) -> Found {
    let outcome =
        told.as_ref().map_err(String::clone).and(identity.as_ref().map_err(String::clone));
    let outcome = outcome.map(|_| 0);
    let (name, memory_bytes) = told.unwrap_or((number.clone(), 0));
    Found { identity: identity.unwrap_or(number), name, memory_bytes, outcome }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_rank_cannot_have_is_missing() {
        let found = |outcome: Result<usize, &str>| Found {
            identity: "one".into(),
            name: "a device".into(),
            memory_bytes: 1 << 30,
            outcome: outcome.map_err(String::from),
        };
        let ways = |devices| vec![Way { name: "cuda".into(), devices }];
        let place = |rank| OnNode { rank, ranks: 3 };
        let two = ways(Ok(vec![found(Ok(9)), found(Err("no denormals"))]));
        let missing_of = |rank| missing("cuda", &two, place(rank));
        assert_eq!([0, 1, 2].map(missing_of), [None, Some("no denormals".into()), None]);
        assert_eq!(missing("auto", &two, place(1)), None);
        assert!(missing("cuda", &ways(Ok(Vec::new())), place(0)).is_some());
        let failing = ways(Err("no driver".into()));
        assert_eq!(missing("cuda", &failing, place(0)), Some("no driver".into()));
    }
}
