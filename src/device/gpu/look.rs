//! What devices a machine has, for whoever asks before a run is: each one's name, memory and
//! driver, and whether a rank could compute with it.

use serde::{Deserialize, Serialize};

use super::choice::{OnNode, checked, opencl_gpus, spread};
use super::cuda::{self, Cuda};
use super::opencl::{self, Kinds, OpenCl};
use crate::kernel::text::{OPENCL_OPTIONS, PTX, whole};

/// A way to devices: CUDA's driver or OpenCL's loader.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Way {
    /// As `run.device` names it.
    pub(crate) name: String,
    /// What it leads to, or why it leads nowhere.
    pub(crate) devices: Result<Vec<Found>, String>,
}

/// A device.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Found {
    /// Name, version and driver, in one line.
    pub(crate) name: String,
    pub(crate) memory_bytes: u64,
    /// How many numbers of it were compared, all of which are the processor's; or what it lacks,
    /// or what differs.
    pub(crate) outcome: Result<usize, String>,
}

/// The devices that ranks may be given which are told to use the one of this name. As in the
/// choice, nobody asks PoCL but for "opencl".
pub(crate) fn look(name: &str) -> Vec<Way> {
    let way = |name: &str, devices| Way { name: name.into(), devices };
    match name {
        "auto" => vec![
            way("cuda", cuda_devices()),
            way(
                "opencl",
                opencl_gpus().and_then(|count| match count {
                    0 => Ok(Vec::new()),
                    _ => opencl_devices(Kinds::Gpus),
                }),
            ),
        ],
        "cuda" => vec![way(name, cuda_devices())],
        "opencl" => vec![way(name, opencl_devices(Kinds::Any))],
        _ => Vec::new(),
    }
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

fn cuda_devices() -> Result<Vec<Found>, String> {
    let found = (0..Cuda::count()? as i32).map(|ordinal| {
        let (name, memory_bytes) = cuda::introduce(ordinal)?;
        let opened = Cuda::new(ordinal, PTX).and_then(|device| checked(Box::new(device)));
        let outcome = opened.map(|opened| opened.compared());
        Ok(Found { name, memory_bytes, outcome })
    });
    found.collect()
}

fn opencl_devices(kinds: Kinds) -> Result<Vec<Found>, String> {
    let found = opencl::devices(kinds)?.into_iter().map(|device| {
        let (name, memory_bytes) = opencl::introduce(&device)?;
        let opened = OpenCl::of(device, &whole(), OPENCL_OPTIONS)
            .and_then(|device| checked(Box::new(device)));
        let outcome = opened.map(|opened| opened.compared());
        Ok(Found { name, memory_bytes, outcome })
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_rank_cannot_have_is_missing() {
        let found = |outcome: Result<usize, &str>| Found {
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
