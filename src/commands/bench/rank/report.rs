//! What `reelscale bench rank` found, as JSON and for people, with what it rests on.

use serde_json::{Value, json};

use super::Args;
use super::meter::Taken;
use super::steps::{Missing, Step, Waves};
use crate::comm::Comm;
use crate::commands::bench::table;
use crate::commands::out::{self, For, Format};
use crate::error::{Error, Exit, Result};
use crate::human::{self, counted, json_line};

/// A step of a rank, measured.
pub(super) struct Measured {
    pub(super) step: Step,
    pub(super) rank: usize,
    pub(super) fullest: usize,
    /// The sample.
    pub(super) taken: Taken,
    /// How many times as much the whole is.
    pub(super) times: f64,
    /// Floating-point operations of 1 / P of it.
    pub(super) flop: f64,
    /// Of one core, a second, in the kernel alone.
    pub(super) rate: f64,
    pub(super) missing: Missing,
    pub(super) peak_bytes: Option<usize>,
}

/// A rank, measured.
pub(super) struct Found {
    pub(super) ranks: usize,
    /// Those that pretrain, where that is measured.
    pub(super) learners: Option<usize>,
    /// Whether the others are there.
    pub(super) here: bool,
    /// Until the threads of a team have begun.
    pub(super) team_seconds: f64,
    pub(super) steps: Vec<Measured>,
}

impl Measured {
    /// The share of the threads' time in which they would do the flop at the kernel's rate.
    ///
    /// # Errors
    /// Exit 70: it is above 1.
    fn efficiency(&self, threads: usize) -> Result<f64> {
        let seconds = self.taken.seconds * self.times;
        let efficiency = self.flop / (threads as f64 * self.rate) / seconds;
        match efficiency <= 1.0 {
            true => Ok(efficiency),
            false => {
                let name = self.step.name();
                let text = format!("{name} step: efficiency: found {efficiency:.3}, above 1");
                Err(Error::new(Exit::Bug, text).hint("--seconds 120 measures more of it"))
            }
        }
    }

    fn json(&self, threads: usize) -> Result<Value> {
        let mut found = self.figures();
        let counts = self.rank == self.fullest;
        found["efficiency"] = if counts { json!(self.efficiency(threads)?) } else { Value::Null };
        Ok(found)
    }

    /// All but the efficiency.
    pub(super) fn figures(&self) -> Value {
        let (taken, times) = (&self.taken, self.times);
        let host = taken.seconds - taken.arithmetic - taken.waited;
        let [piece, of] = self.step.pieces();
        json!({
            "step": self.step.name(),
            "of": of,
            "rank": self.rank,
            "fullest": self.fullest,
            "seconds": taken.seconds * times,
            "arithmetic_seconds": taken.arithmetic * times,
            "host_seconds": host * times,
            "waiting_seconds": taken.waited * times,
            "bytes_received": (taken.received as f64 * times).round() as u64,
            // Of the host's work that of one thread, which more of them don't make shorter.
            "host_alone_seconds": taken.alone * times,
            // What one thread would take for all that threads share.
            "arithmetic_core_seconds": taken.core_arithmetic * times,
            "host_core_seconds": taken.core_host * times,
            "core_gflops": self.rate / 1e9,
            "peak_bytes": self.peak_bytes,
            "sample": {
                "pieces": taken.pieces,
                "piece": piece,
                "rows": taken.rows,
                "seconds": taken.seconds,
                "bytes_received": taken.received,
                "processor_seconds_here": taken.processor,
            },
        })
    }

    /// What it rests on by itself.
    fn assumption(&self) -> Option<String> {
        let (name, missing) = (self.step.name(), human::bytes(self.missing.bytes as u64));
        let waves = self.missing.waves.filter(|waves| waves.stretch * waves.times > 1.0);
        match (waves, self.missing.bytes) {
            (Some(Waves { stretch, times, .. }), _) => Some(format!(
                "{name}: one row in {stretch:.1} of a row block was computed, and teams count as \
                 often; one in {times:.1} of the waves; {missing} of other rows are in peak_bytes"
            )),
            (None, 0) => None,
            _ => Some(format!("{name}: {missing} of activations at rest aren't here but counted")),
        }
    }
}

impl Found {
    /// As JSON.
    ///
    /// # Errors
    /// Exit 70: an efficiency above 1.
    pub(super) fn json(&self, args: &Args, name: &str) -> Result<Value> {
        let steps = self.steps.iter().map(|step| step.json(args.threads));
        Ok(json!({
            "job": name,
            "ranks": self.ranks,
            "pretraining_ranks": self.learners,
            "threads": args.threads,
            "network": match self.here {
                true => "the one that is here".to_string(),
                false => format!(
                    "{}GB/s,{}us",
                    args.network.bytes_per_second / 1e9,
                    args.network.message_seconds * 1e6
                ),
            },
            "steps": steps.collect::<Result<Vec<_>>>()?,
            "peak_bytes": self.steps.iter().filter_map(|step| step.peak_bytes).max(),
            "assumptions": self.assumptions(args),
        }))
    }

    /// What it rests on beside what was measured.
    pub(super) fn assumptions(&self, args: &Args) -> Vec<String> {
        let mut lines = vec![
            "features, activations and labels are made up, reading them is a copy; nothing \
             validates, no checkpoint is written"
                .to_string(),
            "the first windows or mini-batch of an epoch and its end are left out".to_string(),
        ];
        if let Some(rate) = args.rest {
            lines.push(format!("nothing is computed: it rests, a core of {rate} GFLOP/s"));
        }
        if let Some(learners) = self.learners.filter(|learners| *learners < self.ranks) {
            lines.push(format!(
                "pretraining is on {learners} of {} ranks, more would only exchange more; the \
                 others wait, and the efficiency counts their time",
                self.ranks
            ));
        }
        lines.extend(self.steps.iter().filter_map(Measured::assumption));
        if self.here {
            return lines;
        }
        lines.extend([
            "others are in step with this rank; each rank has one link, and messages move without \
             being polled for"
                .to_string(),
            format!(
                "{}: each item of work was timed on one core here and given to the thread \
                 that is free first; they share no cache and no memory bandwidth",
                counted(args.threads as u64, "thread")
            ),
            "buffers of MPI aren't in the memory that is told".to_string(),
        ]);
        if self.team_seconds > 0.0 {
            lines
                .push(format!("a team of all threads begins in {:.1} us", self.team_seconds * 1e6));
        }
        lines
    }
}

/// Rank 0 prints what rank `chosen` has found, or of ranks that are there without it the fullest.
/// Collective.
///
/// # Errors
/// What a rank's figures give; exit 5: nobody takes it.
pub(super) fn print(
    comm: &Comm,
    found: Result<Value>,
    chosen: Option<usize>,
    format: Format,
) -> Result<()> {
    let found = comm.agree(found)?;
    let all = comm.all_gather_any(found.to_string().as_bytes());
    let fullest = found["steps"][0]["fullest"].as_u64().expect("a rank") as usize;
    let chosen = if all.len() == 1 { 0 } else { chosen.unwrap_or(fullest) };
    let found: Value = serde_json::from_slice(&all[chosen]).expect("what that rank has made");
    out::print(comm, For::Reading, || match format {
        Format::Json => json_line(&found),
        Format::Text => text(&found),
    })
}

/// For people.
fn text(found: &Value) -> String {
    let keys = ["ranks", "threads"].map(|key| format!("{key} {}", found[key]));
    let network = found["network"].as_str().expect("a text");
    let mut text = format!("{}, network {network}\n", keys.join(", "));
    let columns = [
        "step",
        "of",
        "rank",
        "seconds",
        "arithmetic_seconds",
        "host_seconds",
        "host_alone_seconds",
        "waiting_seconds",
        "bytes_received",
        "efficiency",
    ];
    let steps = found["steps"].as_array().expect("steps").iter();
    let rows: Vec<Value> = steps
        .map(|step| {
            let cells = columns.iter().map(|key| (key.to_string(), step[key].clone()));
            Value::Object(cells.collect())
        })
        .collect();
    text += &table(&rows);
    if let Some(peak) = found["peak_bytes"].as_u64() {
        text += &format!("peak {}\n", human::bytes(peak));
    }
    let assumptions = found["assumptions"].as_array().expect("assumptions").iter();
    for line in assumptions.filter_map(Value::as_str) {
        text += &format!("assumed: {line}\n");
    }
    text
}
