//! What `reelscale doctor` says of devices: which there are, whether they give the processor's
//! bits, and what a run would take.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::auto::leading_nowhere;
use super::{device, find_devices};
use crate::comm::Comm;
use crate::device::gpu::choice::{OnNode, Seen, by_auto};
use crate::device::gpu::look::{Found, Way, missing};
use crate::{human, report};

/// What a rank is told to use, by what, and the devices that it sees.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Sees {
    node: String,
    by: String,
    seen: Seen,
    /// Why it sees none.
    fails: Option<String>,
}

/// What a rank's devices are, a line for each, and what is wrong with the one that it is told to
/// use. Collective: each device is opened once, by the first rank of its node that sees it, since
/// one in exclusive mode is one process's.
pub(crate) fn look(comm: &Comm, told: &str) -> (Vec<String>, Vec<String>) {
    let (rank, ranks) = comm.on_node();
    let place = OnNode { rank, ranks };
    let mut problems = Vec::new();
    let (by, name) = device::named("run.device", told).unwrap_or_else(|error| {
        problems.push(error.text);
        ("run.device", told.into())
    });
    let found = find_devices::list(&name);
    let fails = found.as_ref().err().cloned();
    let seen = Seen { told: name, ways: found.unwrap_or_else(|text| leading_nowhere(&text)) };
    let own = Sees { node: report::host(), by: by.into(), seen, fails };
    let mut all = gathered(comm, &own);
    let outcomes: Vec<Vec<Compared>> = gathered(comm, &compared(&all, comm.rank()));
    for one in outcomes.iter().flatten() {
        let here = all.iter_mut().filter(|sees| sees.node == one.node);
        let devices = here.flat_map(|sees| devices_of(&mut sees.seen.ways));
        let same = devices.filter(|(way, found)| *way == one.way && found.identity == one.identity);
        same.for_each(|(_, found)| found.outcome.clone_from(&one.outcome));
    }
    let here = |other: &&Sees| other.node == own.node;
    let before = all[..comm.rank()].iter().filter(here).count();
    let node: Vec<Seen> = all.iter().filter(here).map(|other| other.seen.clone()).collect();
    let lines = lines(&all[comm.rank()], (&node, before), place, &mut problems);
    (lines, problems)
}

/// What a device of a node compares to.
#[derive(Debug, Serialize, Deserialize)]
struct Compared {
    node: String,
    way: String,
    identity: String,
    outcome: Result<usize, String>,
}

/// What all ranks say, in their order. Collective.
fn gathered<T: Serialize + DeserializeOwned>(comm: &Comm, own: &T) -> Vec<T> {
    let all = comm.all_gather_any(&serde_json::to_vec(own).expect("plain data"));
    all.iter().map(|text| serde_json::from_slice(text).expect("as written")).collect()
}

fn devices_of(ways: &mut [Way]) -> impl Iterator<Item = (&str, &mut Found)> {
    ways.iter_mut().flat_map(|way| {
        let name = way.name.as_str();
        way.devices.iter_mut().flatten().map(move |found| (name, found))
    })
}

/// Compares the devices that no rank of its node before rank `own` sees, and that lack nothing.
fn compared(all: &[Sees], own: usize) -> Vec<Compared> {
    let sees = |other: &Sees, way: &Way, found: &Found| {
        let ways = other.seen.ways.iter().filter(|other| other.name == way.name);
        let mut devices = ways.flat_map(|way| way.devices.iter().flatten());
        other.node == all[own].node && devices.any(|other| other.identity == found.identity)
    };
    let mut outcomes = Vec::new();
    for way in &all[own].seen.ways {
        for (ordinal, found) in way.devices.iter().flatten().enumerate() {
            let before = all[..own].iter().any(|other| sees(other, way, found));
            if !before && found.outcome.is_ok() {
                let (node, identity) = (all[own].node.clone(), found.identity.clone());
                let outcome = find_devices::compare(&way.name, ordinal);
                outcomes.push(Compared { node, way: way.name.clone(), identity, outcome });
            }
        }
    }
    outcomes
}

/// A line for each device that a rank of a node sees, and for what a run takes; and what is wrong
/// with the one that it is told to use.
fn lines(
    own: &Sees,
    (node, place_of_own): (&[Seen], usize),
    place: OnNode,
    problems: &mut Vec<String>,
) -> Vec<String> {
    let Sees { by, seen, fails, .. } = own;
    let auto = seen.told == "auto";
    if let Some(text) = fails {
        // Who names none has the processor.
        problems.extend((!auto).then(|| format!("devices: {text}")));
        return vec![text.clone()];
    }
    let lacks = missing(&seen.told, &seen.ways, place);
    problems.extend(lacks.map(|text| format!("{by} = {:?}: {text}", seen.told)));
    let lines = seen.ways.iter().flat_map(|way| match &way.devices {
        Ok(devices) if devices.is_empty() => vec![format!("{}: no GPU found", way.name)],
        Ok(devices) => devices.iter().map(describe).collect(),
        Err(text) => vec![text.clone()],
    });
    let mut lines: Vec<String> = lines.collect();
    if auto {
        lines.push(match by_auto(node, place_of_own) {
            Ok((way, _)) => format!("a run takes them: a GPU by {way} for each rank"),
            Err(why) => format!("a run takes the processor: {why}"),
        });
    }
    lines
}

fn describe(found: &Found) -> String {
    let outcome = match &found.outcome {
        Ok(compared) => format!("gives the processor's bits ({compared} numbers compared)"),
        Err(text) => format!("refused: {text}"),
    };
    format!("{}, {}: {outcome}", found.name, human::bytes(found.memory_bytes))
}
