//! What works on this machine beside a run: what all cores have done, less what the run has.

use std::time::{Duration, Instant};

use crate::system;

/// For how long others are watched before a run.
const WINDOW: Duration = Duration::from_millis(500);

/// A moment from which work is counted.
pub(super) struct Since {
    moment: Instant,
    /// Seconds of all cores, and of the processes that this one has started and waited for.
    all: Option<f64>,
    children: f64,
}

impl Since {
    pub(super) fn now() -> Since {
        let (all, children) = (busy_seconds(), children_processor_seconds());
        Since { moment: Instant::now(), all, children }
    }

    /// Cores that have worked for others since then, on average; `None` where the system doesn't
    /// tell.
    pub(super) fn others(&self) -> Option<f64> {
        let seconds = self.moment.elapsed().as_secs_f64();
        let own = children_processor_seconds() - self.children;
        Some(of_others(busy_seconds()? - self.all?, own, seconds))
    }
}

/// Cores that work for others now.
pub(super) fn others_now() -> Option<f64> {
    let since = Since::now();
    std::thread::sleep(WINDOW);
    since.others()
}

/// Cores at work for others, of which all and one's own have worked so many seconds.
fn of_others(all: f64, own: f64, seconds: f64) -> f64 {
    (all - own).max(0.0) / seconds
}

/// Seconds that all cores of this machine have worked so far, for whomever, with what a hypervisor
/// has taken from it; `None` where the system doesn't tell.
fn busy_seconds() -> Option<f64> {
    busy_ticks(&system::work_of_cores()?)
        .map(|ticks| ticks as f64 / rustix::param::clock_ticks_per_second().max(1) as f64)
}

/// user, nice, system, irq, softirq and steal of the first line, less idle and waiting for disks;
/// time of guests is part of the first two.
fn busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
    (ticks.len() >= 8).then(|| [0, 1, 2, 5, 6, 7].map(|at| ticks[at]).iter().sum())
}

/// Seconds that processors have worked for the processes that this one has started and waited for,
/// and for those that these have waited for.
fn children_processor_seconds() -> f64 {
    // SAFETY: all bytes of it may be zero: it holds numbers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the system fills what it is given and keeps nothing of it.
    let outcome = unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage) };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    if outcome == 0 { seconds(usage.ru_utime) + seconds(usage.ru_stime) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_what_is_neither_idle_nor_waiting() {
        let stat = "cpu  100 20 30 4000 500 6 7 8 9 10\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(busy_ticks(stat), Some(100 + 20 + 30 + 6 + 7 + 8));
        assert_eq!(busy_ticks("intr 5\n"), None);
        if system::work_of_cores().is_some() {
            assert!(busy_seconds().is_some_and(|seconds| seconds > 0.0));
        }
    }

    #[test]
    fn own_work_is_not_that_of_others() {
        assert_eq!(of_others(8.0, 6.0, 4.0), 0.5);
        assert_eq!(of_others(5.9, 6.0, 4.0), 0.0);
    }

    /// A child that works for a while.
    #[test]
    fn children_that_were_waited_for_are_known() {
        let before = children_processor_seconds();
        let busy = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        let mut child = std::process::Command::new("sh").args(["-c", busy]).spawn().unwrap();
        assert!(child.wait().unwrap().success());
        let worked = children_processor_seconds() - before;
        assert!((0.01..60.0).contains(&worked), "{worked}");
    }
}
