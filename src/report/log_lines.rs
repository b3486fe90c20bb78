//! Plain log lines on standard error.

use std::cell::Cell;
use std::sync::OnceLock;

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::human::in_a_line;
use crate::tell;

struct Lines {
    rank: usize,
    size: usize,
}

static LINES: OnceLock<Lines> = OnceLock::new();

thread_local! {
    /// The rank that this thread is, where ranks are threads.
    static OWN: Cell<Option<usize>> = const { Cell::new(None) };
}

impl Lines {
    fn rank(&self) -> usize {
        OWN.get().unwrap_or(self.rank)
    }
}

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata) -> bool {
        // Information that is the same on all ranks is printed by rank 0 alone.
        self.rank() == 0 || metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let rank = if self.size > 1 && record.level() <= Level::Warn {
            format!("rank {}: ", self.rank())
        } else {
            String::new()
        };
        // Several lines are one list, as errors have them; other line breaks are somebody's name.
        let text = record.args().to_string();
        let lines: Vec<String> = text.split("\n  ").map(in_a_line).collect();
        tell::line(&format!("{:<5} {rank}{}", record.level(), lines.join("\n  ")));
    }

    fn flush(&self) {}
}

/// Sends log lines to standard error: information from rank 0 only, warnings from every rank with
/// its number. Further calls in the same process change nothing.
pub(crate) fn install(rank: usize, size: usize) {
    let lines = LINES.get_or_init(|| Lines { rank, size });
    if log::set_logger(lines).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// The log lines of this thread are those of a rank of its own.
pub(crate) fn thread_is(rank: usize) {
    OWN.set(Some(rank));
}
