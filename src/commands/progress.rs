//! `--progress`: how a command tells how far it has come while it works.

use std::time::Duration;

use crate::clock::Clock;
use crate::comm::Comm;
use crate::launch;
use crate::report::{Narrator, Pace, Tells};
use crate::tell;

/// How progress is told; nothing that is computed depends on it.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Progress {
    /// How far the work has come, on standard error: a line that changes on a terminal, else a line
    /// in the log after 10 seconds and then each minute.
    #[arg(long = "progress", value_enum, default_value_t = Way::Auto, value_name = "HOW")]
    way: Way,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, clap::ValueEnum)]
enum Way {
    /// live on a terminal, also on that of mpirun; else lines.
    #[default]
    Auto,
    /// One line that changes.
    Live,
    /// Lines in the log, with the time of day (UTC).
    Lines,
    Off,
}

impl Progress {
    /// Tells of what this thread does until what it gives is dropped, on rank 0.
    pub(super) fn begin(self, comm: &Comm) -> Option<Narrator> {
        let terminal = match self.way {
            Way::Auto | Way::Live => launch::terminal(),
            Way::Lines | Way::Off => None,
        };
        let live = self.way == Way::Live || terminal.is_some();
        if self.way == Way::Off {
            return None;
        }
        if !comm.is_root() {
            if live {
                tell::live_elsewhere();
            }
            return None;
        }
        let columns = move || terminal.as_ref().and_then(launch::Terminal::columns);
        let tells = if live { Tells::Live(Box::new(columns)) } else { Tells::Lines };
        Some(Narrator::begin(tells, pace(), Clock::default()))
    }
}

/// When lines come; REELSCALE_PROGRESS_SECONDS, the first and each other after so many, is for
/// tests.
fn pace() -> Pace {
    let seconds = std::env::var("REELSCALE_PROGRESS_SECONDS").ok();
    let period = seconds.and_then(|text| text.parse().ok()).map(Duration::from_secs);
    period.map_or_else(Pace::default, |period| Pace { first: period, then: period })
}

/// What work is called of which rank 0 has a share and knows only that.
pub(super) fn of_rank_0(comm: &Comm, name: &str) -> String {
    match comm.size() {
        1 => name.to_string(),
        _ => format!("{name} (rank 0)"),
    }
}
