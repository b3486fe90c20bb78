//! Tells a user how far the work under way has come (`stint.rs`): one live line on a terminal, or
//! a line now and then in a log. By a thread of its own, so that work goes on whatever becomes of
//! who reads.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::told::{self, time_of_day};
use crate::clock::Clock;
use crate::stint::{self, Listening};
use crate::tell;

/// How often the live line is written anew, and the thread looks whether a line is due; between
/// these, a twentieth of the time to the first one.
const LOOK_EVERY: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(500)];
/// What takes less than this has no live line.
const LIVE_AFTER: Duration = Duration::from_secs(1);
/// Columns of a terminal that doesn't say how many it has.
const COLUMNS: usize = 80;

/// Columns that a terminal has now, if it says so.
type Columns = Box<dyn Fn() -> Option<usize> + Send>;

/// How progress is told.
pub(crate) enum Tells {
    /// By a line that changes, on a terminal of so many columns.
    Live(Columns),
    /// By lines of the log.
    Lines,
}

/// When lines of a log come while work is under way. A live line comes by the first, too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Since the first work began.
    pub(crate) first: Duration,
    /// Since the line before.
    pub(crate) then: Duration,
}

impl Default for Pace {
    /// After 10 seconds, then each minute.
    fn default() -> Pace {
        Pace { first: Duration::from_secs(10), then: Duration::from_secs(60) }
    }
}

impl Pace {
    fn look_every(&self) -> Duration {
        (self.first / 20).clamp(LOOK_EVERY[0], LOOK_EVERY[1])
    }

    /// Whether a line is due `now`, while work is under way; `next` is when the next one is.
    fn is_due(&self, next: &mut Option<Instant>, now: Instant) -> bool {
        if now < *next.get_or_insert(now + self.first) {
            return false;
        }
        // One that comes late doesn't bring the next one closer.
        *next = Some(now + self.then);
        true
    }
}

/// Who tells of the work of the thread that has made this, until it is dropped.
pub(crate) struct Narrator {
    /// Dropped first: its end is what the thread waits for.
    goes_on: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _listening: Listening,
}

impl Narrator {
    /// Tells of what this thread does from now on. Where no thread can be had nobody tells.
    pub(crate) fn begin(tells: Tells, pace: Pace, clock: Clock) -> Narrator {
        let (goes_on, ended) = channel::<()>();
        let listening = stint::listen();
        let narrate = move || {
            let mut next = None;
            while ended.recv_timeout(pace.look_every()) == Err(RecvTimeoutError::Timeout) {
                match &tells {
                    Tells::Live(columns) => show(columns, pace.first.min(LIVE_AFTER)),
                    Tells::Lines => tell_if(&pace, &mut next, &clock),
                }
            }
            tell::live(None);
        };
        let thread = std::thread::Builder::new().name("narrator".into()).spawn(narrate);
        Narrator { goes_on: Some(goes_on), thread: thread.ok(), _listening: listening }
    }
}

impl Drop for Narrator {
    fn drop(&mut self) {
        self.goes_on.take();
        if let Some(thread) = self.thread.take() {
            // Where it panicked, the panic hook has ended the run.
            let _ = thread.join();
        }
    }
}

/// Writes the live line anew. No stint ends meanwhile: what a command prints after its work comes
/// after this line.
fn show(columns: &Columns, after: Duration) {
    let columns = columns().filter(|columns| *columns > 1).unwrap_or(COLUMNS);
    stint::look(|view| {
        let long = view.looks.first().is_some_and(|look| look.elapsed >= after);
        let lines = if long { told::lines(view) } else { Vec::new() };
        // In the last column some terminals begin the next line.
        let fits = |line: &&String| line.chars().count() < columns;
        tell::live(lines.iter().find(fits).map(String::as_str));
    });
}

/// Adds a line to the log, if one is due.
fn tell_if(pace: &Pace, next: &mut Option<Instant>, clock: &Clock) {
    let text = stint::look(told::lines).into_iter().next();
    let Some(text) = text.filter(|_| pace.is_due(next, clock.now())) else { return };
    log::info!("{}  {text}", time_of_day(clock.today()));
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::SystemTime;

    use super::*;
    use crate::clock::ClockHook;

    /// Time that passes where the test says so.
    #[derive(Debug)]
    struct Hand {
        began: Instant,
        passed: Mutex<Duration>,
    }

    impl ClockHook for Hand {
        fn now(&self) -> Instant {
            self.began + *self.passed.lock().unwrap()
        }

        fn today(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH + *self.passed.lock().unwrap()
        }

        fn sleep(&self, time: Duration) {
            *self.passed.lock().unwrap() += time;
        }
    }

    #[test]
    fn a_log_has_a_line_after_ten_seconds_and_then_each_minute() {
        let hand = Hand { began: Instant::now(), passed: Mutex::new(Duration::ZERO) };
        let clock = Clock::hooked(std::sync::Arc::new(hand));
        let (pace, mut next, mut lines) = (Pace::default(), None, Vec::new());
        for tenth in 0..2000 {
            if pace.is_due(&mut next, clock.now()) {
                lines.push(f64::from(tenth) / 10.0);
            }
            clock.sleep(Duration::from_millis(100));
        }
        assert_eq!(lines, [10.0, 70.0, 130.0, 190.0]);
        // A process that didn't run for an hour has missed lines that nobody wants any more.
        clock.sleep(Duration::from_secs(3600));
        let mut is_due = || pace.is_due(&mut next, clock.now());
        assert!(is_due() && !is_due());
        clock.sleep(Duration::from_secs(59));
        assert!(!is_due());
        clock.sleep(Duration::from_secs(1));
        assert!(is_due());
    }
}
