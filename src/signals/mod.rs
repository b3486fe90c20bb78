//! What asks a run to stop: signals to any of its ranks, and the end of its time.

mod taken;

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{SigHandler, Signal, signal};

use crate::progress::tick;

pub(crate) use taken::{look_again, look_and_tell, set_on_signals, take_signals};

/// How often the time that is left is looked at.
const TICK: Duration = Duration::from_millis(500);

/// The end of a run's time. A stop is asked for when only the margin is left, which is learned
/// while the run goes on.
pub struct Deadline {
    margin_milliseconds: Arc<AtomicU64>,
}

impl Deadline {
    /// Sets `stop` once only the margin, `first_margin` to begin with, is left until `end`.
    pub(crate) fn watch(
        end: SystemTime,
        first_margin: Duration,
        stop: &Arc<AtomicBool>,
    ) -> Deadline {
        let margin = Arc::new(AtomicU64::new(first_margin.as_millis() as u64));
        let (deadline, stop) = (Deadline { margin_milliseconds: margin.clone() }, stop.clone());
        let look = move || {
            let margin = Duration::from_millis(margin.load(Relaxed));
            let left = end.duration_since(SystemTime::now()).unwrap_or_default();
            if left <= margin {
                log::info!("{:.0} s of time left: stopping", left.as_secs_f64());
                stop.store(true, Relaxed);
            }
            !stop.load(Relaxed)
        };
        // A start without time stops at its first boundary, however late the thread begins. The
        // thread goes with the process.
        if look() {
            std::thread::spawn(move || {
                while look() {
                    std::thread::sleep(TICK);
                }
            });
        }
        deadline
    }

    /// Takes this margin from now on, if it is longer.
    pub(crate) fn lengthen(&self, margin: Duration) {
        self.margin_milliseconds.fetch_max(margin.as_millis() as u64, Relaxed);
    }
}

/// What squeue gets, which asks a controller that may be down.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// A file that grows beyond `ulimit -f` is an error of whoever writes it, as on a full disk, and no
/// signal that ends the process.
pub(crate) fn ignore_size_limit() {
    // SAFETY: a handler that is none does nothing that a signal may not.
    let _ = unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) };
}

/// When Slurm ends this job, if it runs under Slurm: from SLURM_JOB_END_TIME where this Slurm
/// exports it, else asked of `squeue` once.
pub(crate) fn slurm_end() -> Option<SystemTime> {
    let seconds = match std::env::var("SLURM_JOB_END_TIME") {
        Ok(text) => match text.trim().parse() {
            Ok(seconds) => seconds,
            Err(_) => return unknown_end(&text),
        },
        Err(_) => {
            let job = std::env::var("SLURM_JOB_ID").ok()?;
            let mut squeue = Command::new("squeue");
            let end = answer_within(squeue.args(["-h", "-j", &job, "-o", "%e"]), ANSWER_LIMIT)?;
            // A job may have none. `date` would make midnight of nothing.
            if !end.trim().starts_with(|first: char| first.is_ascii_digit()) {
                return None;
            }
            // Local time without its zone: `date` knows the zone.
            let mut date = Command::new("date");
            let seconds = answer_within(date.args(["+%s", "-d", end.trim()]), ANSWER_LIMIT)?;
            seconds.trim().parse().ok()?
        }
    };
    let end = UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    end.or_else(|| unknown_end(&seconds.to_string()))
}

/// What a command writes to its standard output, a few lines. `None` where it can't be started, or
/// fails or hasn't ended after `limit`, which is warned of: the others wait for what this rank
/// learns.
fn answer_within(command: &mut Command, limit: Duration) -> Option<String> {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = quiet.spawn().ok()?;
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().ok()? {
            break status;
        }
        if started.elapsed() >= limit {
            let _ = child.kill();
            let _ = child.wait();
            log::warn!(
                "{}: no answer in {} s; no time limit is kept; hint: --max-time",
                command.get_program().display(),
                limit.as_secs()
            );
            return None;
        }
        // A wait that has an end is no hang.
        tick();
        std::thread::sleep(Duration::from_millis(10));
    };
    if !status.success() {
        let program = command.get_program().display();
        log::warn!("{program}: it fails ({status}); no time limit is kept; hint: --max-time");
        return None;
    }
    let mut text = String::new();
    child.stdout?.read_to_string(&mut text).ok()?;
    Some(text)
}

/// Says that the end of the job isn't known.
fn unknown_end(found: &str) -> Option<SystemTime> {
    log::warn!(
        "SLURM_JOB_END_TIME: found {found:?}, expected seconds since 1970; no time limit is kept"
    );
    None
}

/// `90`, `90s`, `30m`, `36h`, `2d` or `1:30:00`.
///
/// # Errors
/// What was expected.
pub(crate) fn duration(text: &str) -> std::result::Result<Duration, String> {
    let wrong = || format!("found {text:?}, expected seconds, 30m, 36h, 2d or 1:30:00");
    let number = |text: &str| text.parse::<f64>().ok().filter(|n| (0.0..1e9).contains(n));
    let seconds = if text.contains(':') {
        let parts: Option<Vec<f64>> = text.split(':').map(number).collect();
        let parts = parts.filter(|parts| parts.len() <= 3);
        parts.map(|parts| parts.iter().fold(0.0, |sum, part| 60.0 * sum + part))
    } else {
        let units = [("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86400.0)];
        let unit =
            units.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)));
        let (digits, seconds) = unit.unwrap_or((text, &1.0));
        number(digits).map(|number| number * seconds)
    };
    seconds.map(Duration::from_secs_f64).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_does_not_answer_is_left() {
        let shell = |text: &str, limit| {
            answer_within(Command::new("sh").args(["-c", text]), Duration::from_secs(limit))
        };
        assert_eq!(shell("echo 2026-11-26T12:00:00", 60).as_deref(), Some("2026-11-26T12:00:00\n"));
        let started = Instant::now();
        assert_eq!(shell("exec sleep 100", 1), None);
        assert_eq!(shell("echo 2026-11-26T12:00:00; exit 1", 60), None, "it fails");
        assert!(started.elapsed() < Duration::from_secs(50));
        assert_eq!(answer_within(&mut Command::new("/no/such/program"), ANSWER_LIMIT), None);
    }

    #[test]
    fn durations_are_read_as_they_are_written() {
        for (text, seconds) in [
            ("90", 90),
            ("90s", 90),
            ("30m", 1800),
            ("36h", 129_600),
            ("2d", 172_800),
            ("1:30:00", 5400),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "1:2:3:4", "soon", "-3m", "1:x", "nan", "1e300d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_flag_is_set_when_only_the_margin_is_left() {
        let stop: Arc<AtomicBool> = Arc::default();
        let end = SystemTime::now() + Duration::from_secs(3600);
        let deadline = Deadline::watch(end, Duration::from_secs(10), &stop);
        std::thread::sleep(3 * TICK);
        assert!(!stop.load(Relaxed));
        deadline.lengthen(Duration::from_secs(3601));
        std::thread::sleep(3 * TICK);
        assert!(stop.load(Relaxed));
    }
}
