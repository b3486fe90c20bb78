//! What is kept of one run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One run, of what its run.json says and what was seen from outside.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) ranks: usize,
    /// From 1.
    pub(super) repeat: usize,
    /// Exit code of the launcher.
    pub(super) exit: i32,
    /// Why it failed.
    pub(super) error: Option<String>,
    /// Of the run, as its run.json has them.
    pub(super) seconds: Option<f64>,
    /// From the launcher's start to its end.
    pub(super) command_seconds: f64,
    /// Seconds of each timer on the rank that took most.
    pub(super) timers: BTreeMap<String, f64>,
    pub(super) result_hash: String,
    /// What a rank really had.
    pub(super) threads: usize,
    /// Ranks of the fullest node, and cores that such a node has.
    pub(super) node_ranks: usize,
    pub(super) node_cores: usize,
    pub(super) processor: String,
    /// Cores of this machine that worked for others: in the moment before the run, and on average
    /// while it went on. Nothing where nobody can tell.
    pub(super) others_before: Option<f64>,
    pub(super) others_during: Option<f64>,
}

/// Timers of steps, which lie one after the other; all others count what goes on within them.
const STEPS: [&str; 4] = ["pretrain", "experts", "shared", "other"];
/// What no step's timer has: start, opening of shards, keeping of the model.
const REST: &str = "start and end";

/// Whether this part of the seconds lies within the others.
pub(super) fn is_within(phase: &str) -> bool {
    phase != REST && !STEPS.contains(&phase)
}

impl Row {
    /// Takes what the run says of itself.
    pub(super) fn take(&mut self, record: &Value) {
        self.seconds = record["seconds"].as_f64();
        self.result_hash = record["result_hash"].as_str().unwrap_or_default().into();
        self.threads = record["threads_per_rank"].as_u64().unwrap_or(0) as usize;
        self.processor = record["machine"]["processor"].as_str().unwrap_or_default().into();
        let timers = record["timers"].as_object().into_iter().flatten();
        let most = |ranks: &Value| {
            let ranks = ranks.as_array().into_iter().flatten().filter_map(Value::as_f64);
            ranks.fold(0.0, f64::max)
        };
        self.timers = timers.map(|(name, ranks)| (name.clone(), most(ranks))).collect();
    }

    pub(super) fn is_measured(&self) -> bool {
        self.exit == 0 && self.error.is_none() && self.seconds.is_some()
    }

    /// Steps with their seconds and what is left of the run; then what goes on within them.
    pub(super) fn phases(&self) -> Vec<(String, f64)> {
        let of = |within: bool| {
            let named = self.timers.iter().map(|(name, seconds)| (name.clone(), *seconds));
            named.filter(move |(name, _)| is_within(name) == within)
        };
        let steps: f64 = of(false).map(|(_, seconds)| seconds).sum();
        let rest = (self.seconds.unwrap_or(0.0) - steps).max(0.0);
        of(false).chain([(REST.to_string(), rest)]).chain(of(true)).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_slowest_rank_of_each_timer_counts() {
        let mut row = Row::default();
        row.take(&json!({
            "seconds": 10.0, "result_hash": "ab", "threads_per_rank": 2,
            "machine": { "processor": "P" },
            "timers": { "experts": [3.0, 4.0], "shared": [5.0, 2.0], "input wait": [1.0, 0.5],
                        "experts/input wait": [1.0, 0.5] },
        }));
        let expected = [
            ("experts", 4.0),
            ("shared", 5.0),
            ("start and end", 1.0),
            ("experts/input wait", 1.0),
            ("input wait", 1.0),
        ];
        assert_eq!(row.phases(), expected.map(|(name, seconds)| (name.to_string(), seconds)));
        assert!(row.is_measured());
        assert!(!Row { exit: 3, ..row }.is_measured());
    }
}
