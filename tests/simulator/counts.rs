//! How often what has happened.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How often something has happened.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub schedules: u64,
    pub sessions: u64,
    pub points: u64,
    pub disk_calls: u64,
    pub collectives: u64,
    pub checkpoints: u64,
    /// What happened, and at what the program was then.
    pub events: BTreeMap<(String, &'static str), u64>,
    /// Ends of starts.
    pub ends: BTreeMap<String, u64>,
    /// Calls that made something last, by place.
    pub syncs: BTreeMap<String, u64>,
    /// Most collectives that a rank made after it was told to stop.
    pub until_stop: u64,
    /// Time in rank threads, and of all.
    pub ran: Duration,
    pub took: Duration,
}

impl Counts {
    pub fn add(&mut self, other: &Counts) {
        self.schedules += other.schedules;
        self.sessions += other.sessions;
        self.points += other.points;
        self.disk_calls += other.disk_calls;
        self.collectives += other.collectives;
        self.checkpoints += other.checkpoints;
        self.until_stop = self.until_stop.max(other.until_stop);
        self.ran += other.ran;
        self.took += other.took;
        for (key, count) in &other.events {
            *self.events.entry(key.clone()).or_default() += count;
        }
        for (key, count) in &other.ends {
            *self.ends.entry(key.clone()).or_default() += count;
        }
        for (key, count) in &other.syncs {
            *self.syncs.entry(key.clone()).or_default() += count;
        }
    }
}

/// What must have happened in any long series, and at what the program was then.
const MUST: &[(&str, &str)] = &[
    ("Power", "start"),
    ("Power", "computing"),
    ("Power", "writing a checkpoint"),
    ("Power", "checkpoint named, not synced"),
    ("Power", "removing an older checkpoint"),
    ("Power", "writing the model"),
    ("Power", "removing all checkpoints"),
    ("Stop", "start"),
    ("Stop", "computing"),
    ("Stop", "writing a checkpoint"),
    ("Stop", "writing the model"),
    ("Kill", "writing a checkpoint"),
    ("Loss", "writing a checkpoint"),
    ("NodeLoss", "writing a checkpoint"),
    ("Fails", "writing a checkpoint"),
    ("Full", "writing a checkpoint"),
    ("SyncFails", "writing a checkpoint"),
];

impl Counts {
    /// What a long series must have met and this one hasn't.
    pub fn never(&self) -> Vec<(&'static str, &'static str)> {
        let met = |(what, phase): &(&str, &'static str)| {
            self.events.contains_key(&(what.to_string(), *phase))
        };
        MUST.iter().filter(|one| !met(one)).copied().collect()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(
            f,
            "{} schedules, {} starts, {} points, {} collectives, {} calls of the disk, \
             {} checkpoints",
            self.schedules,
            self.sessions,
            self.points,
            self.collectives,
            self.disk_calls,
            self.checkpoints
        )?;
        for ((what, phase), count) in &self.events {
            writeln!(f, "  {count:8} {what:10} {phase}")?;
        }
        for (end, count) in &self.ends {
            writeln!(f, "  {count:8} starts ended: {end}")?;
        }
        let each = self.took.as_secs_f64() * 1e3 / self.schedules.max(1) as f64;
        let ran = self.ran.as_secs_f64() * 1e3 / self.schedules.max(1) as f64;
        writeln!(f, "  at most {} collectives from a stop to the end", self.until_stop)?;
        write!(f, "  {each:.1} ms a schedule, {ran:.1} of them in its ranks")
    }
}
