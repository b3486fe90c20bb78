//! What ranks of a node that are told `auto` take together: a GPU each, or the processor.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::find_devices;
use crate::comm::Comm;
use crate::device::gpu::choice::{Chosen, OnNode, Seen, WAYS, by_auto, open};
use crate::device::gpu::look::Way;
use crate::device::gpu::opencl::Kinds;
use crate::report;

/// No node has more GPUs, or parts of GPUs that stand for themselves.
const GPUS_MAX: usize = 64;

/// The ranks of this rank's node in their order, and this one among them.
pub(crate) struct Node {
    seen: Vec<Seen>,
    own: usize,
}

impl Node {
    /// What the ranks of this node see, each by a process apart, where they are told `auto`.
    /// Collective.
    pub(crate) fn look(comm: &Comm, told: &str, place: OnNode) -> Node {
        let ways = if told == "auto" { ways(place) } else { Vec::new() };
        let own = (report::host(), Seen { told: told.into(), ways });
        let text = serde_json::to_vec(&own).expect("plain data");
        let all = comm.all_gather_any(&text);
        let all = all.iter().map(|text| serde_json::from_slice(text).expect("as written"));
        let all: Vec<(String, Seen)> = all.collect();
        let here = |other: &&(String, Seen)| other.0 == own.0;
        let before = all[..comm.rank()].iter().filter(here).count();
        Node { seen: all.iter().filter(here).map(|(_, seen)| seen.clone()).collect(), own: before }
    }

    /// What this rank takes by itself. A driver that crashes or hangs when a device is opened does
    /// so in another process first.
    pub(crate) fn open(&self) -> Chosen {
        let opened = by_auto(&self.seen, self.own).and_then(|(way, ordinal)| {
            find_devices::compare(way, ordinal)?;
            open(way, ordinal, Kinds::Gpus)
        });
        opened.map_or_else(|why| Chosen::Host { why }, Chosen::Device)
    }
}

fn ways(place: OnNode) -> Vec<Way> {
    let found = match place.ranks {
        ..=GPUS_MAX => find_devices::list("auto"),
        ranks => Err(format!("nobody asks for as many as the {ranks} ranks of this node")),
    };
    found.unwrap_or_else(|text| leading_nowhere(&text))
}

/// All ways where this is why they lead to no GPU.
pub(crate) fn leading_nowhere(why: &str) -> Vec<Way> {
    let way = |(name, _): (&str, _)| Way { name: name.into(), devices: Err(why.into()) };
    WAYS.map(way).into()
}

/// What a rank has, as all ranks know it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Has {
    pub(crate) node: String,
    /// Whether it chose by itself.
    pub(crate) auto: bool,
    /// What tells its device from others of its node; none: the processor.
    pub(crate) identity: Option<String>,
    /// For people: what it is, and why.
    pub(crate) line: String,
}

impl Has {
    /// What all ranks have. Collective.
    pub(crate) fn all(comm: &Comm, chosen: &Chosen, auto: bool) -> Vec<Has> {
        let identity = chosen.identity().map(String::from);
        let own = Has { node: report::host(), auto, identity, line: chosen.describe() };
        let text = serde_json::to_vec(&own).expect("plain data");
        let all = comm.all_gather_any(&text);
        all.iter().map(|text| serde_json::from_slice(text).expect("as written")).collect()
    }

    /// The processor in place of what it has, and why.
    pub(crate) fn gives_up(&mut self, why: String) {
        (self.identity, self.line) = (None, Chosen::Host { why }.describe());
    }
}

/// Where one rank of a node that chose by itself has the processor, all of them have.
pub(crate) fn together(ranks: &mut [Has]) {
    let mut reasons: BTreeMap<String, String> = BTreeMap::new();
    for has in ranks.iter().filter(|has| has.auto && has.identity.is_none()) {
        reasons.entry(has.node.clone()).or_insert(has.line.clone());
    }
    for has in ranks.iter_mut().filter(|has| has.auto) {
        if let Some(line) = reasons.get(&has.node) {
            (has.identity, has.line) = (None, line.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_of_a_node_that_choose_by_themselves_give_up_together() {
        let has = |node: &str, auto, gpu: Option<&str>| Has {
            node: node.into(),
            auto,
            identity: gpu.map(String::from),
            line: gpu.map_or("host (it is full)".into(), String::from),
        };
        let mut ranks = [
            has("a", true, Some("x")),
            has("a", true, None),
            has("a", false, Some("y")),
            has("b", true, Some("x")),
        ];
        let before = ranks.clone();
        together(&mut ranks);
        assert_eq!(ranks[0], has("a", true, None));
        assert_eq!(ranks[1..], before[1..]);
    }
}
