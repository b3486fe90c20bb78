//! What a step of a job takes of a rank, and what limits it.

use serde_json::{Value, json};

use crate::cost::traffic::Moved;

/// A step, once.
pub(super) struct StepPlan {
    pub(super) name: &'static str,
    /// What it is once: an epoch, an iteration, a pass.
    pub(super) of: &'static str,
    /// How often a run does it.
    pub(super) times: usize,
    /// Of the fullest rank, what of it uneven threads and their beginnings take, and of each rank
    /// if all had as much and threads were even.
    pub(super) arithmetic: f64,
    pub(super) threads: f64,
    pub(super) ideal: f64,
    /// What of the network isn't behind arithmetic, and host work.
    pub(super) waiting: f64,
    pub(super) host: f64,
    pub(super) moved: Moved,
    pub(super) idle: usize,
    /// Bytes that a rank reads, and seconds by which storage brings them late.
    pub(super) input: f64,
    pub(super) late: f64,
}

impl StepPlan {
    pub(super) fn seconds(&self) -> f64 {
        self.with_input() + self.late
    }

    /// Had it all of its input at once.
    pub(super) fn with_input(&self) -> f64 {
        self.arithmetic + self.host + self.waiting
    }

    pub(super) fn efficiency(&self) -> f64 {
        self.ideal / self.seconds()
    }

    /// What takes most of the time beside what arithmetic would take if all ranks had as much.
    fn limited_by(&self) -> &'static str {
        let losses = [
            ("too few blocks", self.arithmetic - self.threads - self.ideal),
            ("uneven threads", self.threads),
            ("host work", self.host),
            ("network", self.waiting),
            ("input", self.late),
        ];
        let (name, most) =
            losses.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).expect("five of them");
        if most < 0.1 * self.seconds() { "arithmetic" } else { name }
    }

    /// `beyond`: the share of what comes to a rank that comes from other nodes.
    pub(super) fn json(&self, (ranks_per_node, beyond): (usize, f64)) -> Value {
        let of_node = self.moved.received as f64 * ranks_per_node as f64 * beyond;
        json!({
            "step": self.name,
            "of": self.of,
            "times": self.times,
            "seconds": self.seconds(),
            "arithmetic_seconds": self.arithmetic,
            "threads_seconds": self.threads,
            "host_seconds": self.host,
            "waiting_seconds": self.waiting,
            "input_waiting_seconds": self.late,
            "bytes_received": self.moved.received,
            "messages": self.moved.calls,
            "node_bytes_received": of_node.round() as u64,
            "idle_ranks": self.idle,
            "limited_by": self.limited_by(),
            "efficiency": self.efficiency(),
        })
    }
}
