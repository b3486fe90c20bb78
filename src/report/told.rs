//! Progress as people read it: how far work has come, how fast it goes, what is left of it.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::human;
use crate::stint::{Look, View};

/// A rate, or a time that is left, is told of work that has taken so many seconds; before that it
/// says nothing.
const TOLD_AFTER: f64 = 0.2;
/// That a rank works longer than the others is told from this share of their mean on.
const LONGER_FROM: f64 = 0.1;
/// The share of time that was waited is told from this on.
const WAITED_FROM: f64 = 0.01;

/// What is under way: `round 1/2, expert step 24 %, epoch 3/10 45 %, 12.3k rows/s, 91 % of the
/// kernel's rate, waits 4 %; left 0:12:30, of run 1:02:00, of epoch 0:00:42`; then the same in
/// fewer and fewer words, for lines that are short. Nothing where nothing is under way.
pub(super) fn lines(view: &View) -> Vec<String> {
    let (Some(outermost), Some(innermost)) = (view.looks.first(), view.looks.last()) else {
        return Vec::new();
    };
    let (work, left, of_part) = (work(view), times_left(view), left_of_part_under_way(view));
    let rate = rate(innermost);
    let words = [rate.clone(), share_of_kernel(innermost), waits(innermost), slowest(view)];
    let speed: Vec<String> = words.into_iter().flatten().collect();
    let line = |speed: &[String], left: &[String]| {
        let left = if left.is_empty() { "".into() } else { format!("; left {}", left.join(", ")) };
        [&work[..], speed].concat().join(", ") + &left
    };
    let rate = rate.as_slice();
    let step = format!("{} {}", outermost.name, percent(share(outermost)));
    let all: Vec<String> = left.iter().cloned().chain(of_part).collect();
    let of_step = &left[..left.len().min(1)];
    let shorter = [(rate, &left[..]), (rate, of_step), (&[], &left), (&[], of_step)];
    let shorter = shorter.map(|(speed, left)| line(speed, left));
    [line(&speed, &all)].into_iter().chain(shorter).chain([step]).collect()
}

/// What is under way, and how much of each is done.
fn work(view: &View) -> Vec<String> {
    let named = |look: &Look| format!("{} {}", look.name, percent(share(look)));
    let outermost = &view.looks[0];
    let mut parts = vec![named(outermost)];
    if let Some((number, within)) = part(outermost) {
        let (count, name) = outermost.length.parts;
        parts.push(format!("{name} {number}/{count} {}", percent(within)));
    }
    parts.extend(view.looks[1..].iter().map(named));
    parts
}

/// How much of its time was waited, where that is worth a word.
fn waits(look: &Look) -> Option<String> {
    let seconds = look.elapsed.as_secs_f64();
    let waited = (look.waited / seconds.max(1e-9)).min(1.0);
    (seconds > TOLD_AFTER && waited >= WAITED_FROM).then(|| format!("waits {}", percent(waited)))
}

/// The rank that the others wait for, where it works much longer.
fn slowest(view: &View) -> Option<String> {
    let (rank, longer) = view.slowest.filter(|(_, longer)| *longer > LONGER_FROM)?;
    Some(format!("rank {rank} works {} more than the mean", percent(longer)))
}

/// What is left of the outermost and of the run, as far as it is known.
fn times_left(view: &View) -> Vec<String> {
    let outermost = &view.looks[0];
    let Some(seconds) = left(outermost) else { return Vec::new() };
    let mut times = vec![human::duration(seconds)];
    times.extend(view.after.map(|after| format!("of run {}", human::duration(seconds + after))));
    times
}

/// What is left of the outermost's part, where nothing goes on within that.
fn left_of_part_under_way(view: &View) -> Option<String> {
    let outermost = &view.looks[0];
    left(outermost)?;
    let seconds = left_of_part(outermost).filter(|_| view.looks.len() == 1)?;
    Some(format!("of {} {}", outermost.length.parts.1, human::duration(seconds)))
}

/// How much of it is done, 0 to 1.
fn share(look: &Look) -> f64 {
    (look.done as f64 / look.length.whole as f64).min(1.0)
}

/// How much of it was done meanwhile, and in how many seconds; `None` where that says nothing yet.
fn meanwhile(look: &Look, seconds: f64) -> Option<(f64, f64)> {
    let share = look.done.saturating_sub(look.length.before) as f64 / look.length.whole as f64;
    (share > 0.0 && seconds > TOLD_AFTER).then_some((share, seconds))
}

/// The part that is under way, from 1 on, and how much of it is done.
fn part(look: &Look) -> Option<(u64, f64)> {
    let parts = look.length.parts.0;
    let at = share(look) * parts as f64;
    let number = (at as u64).min(parts.max(1) - 1);
    (parts > 1).then(|| (number + 1, at - number as f64))
}

/// Its amount a second, less the time of stints within.
fn amount_a_second(look: &Look) -> Option<f64> {
    let (share, seconds) = meanwhile(look, look.alone.as_secs_f64())?;
    Some(look.length.amount.0 as f64 * share / seconds)
}

fn rate(look: &Look) -> Option<String> {
    let a_second = amount_a_second(look)?;
    Some(match look.length.amount.1 {
        "bytes" => format!("{}/s", human::bytes(a_second as u64)),
        unit => format!("{} {unit}/s", human::count(three_figures(a_second))),
    })
}

/// Which share that is of what the kernel does by itself, where somebody has measured it.
fn share_of_kernel(look: &Look) -> Option<String> {
    let share = amount_a_second(look)? / look.kernel?;
    // Measured for a moment on a machine that others share it may be less than the work's own.
    Some(format!("{:.0} % of the kernel's rate", 100.0 * share))
}

/// Small rates aren't known to many figures either.
fn three_figures(rate: f64) -> f64 {
    if rate < 99.5 { rate } else { rate.round() }
}

/// Seconds that are left of all of it, with stints within as before.
fn left(look: &Look) -> Option<f64> {
    let (done, seconds) = meanwhile(look, look.taken.as_secs_f64())?;
    Some(less_since(look, seconds / done * (1.0 - share(look))))
}

/// Seconds that were left when so much was done, less those that have passed since.
fn less_since(look: &Look, seconds: f64) -> f64 {
    (seconds - look.elapsed.saturating_sub(look.taken).as_secs_f64()).max(0.0)
}

/// Seconds that are left of its part.
fn left_of_part(look: &Look) -> Option<f64> {
    let (done, seconds) = meanwhile(look, look.alone.as_secs_f64())?;
    let (_, within) = part(look)?;
    Some(less_since(look, seconds / done * (1.0 - within) / look.length.parts.0 as f64))
}

fn percent(share: f64) -> String {
    // What isn't done isn't all of it.
    let whole = (share * 100.0).floor();
    format!("{whole:.0} %")
}

/// A time of day as logs have it, of the world's common clock: 2026-01-31T23:59:59Z.
pub(super) fn time_of_day(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Years from March on, in eras of 400 years, of which all are equal (Hinnant,
    // "chrono-Compatible Low-Level Date Algorithms").
    let from_march = days + 719_468;
    let (era, day) = (from_march / 146_097, from_march % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = match month {
        0..=9 => (era * 400 + year, month + 3),
        _ => (era * 400 + year + 1, month - 9),
    };
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::stint::Length;

    fn look(name: &str, length: Length, done: u64, seconds: [f64; 3]) -> Look {
        let [elapsed, alone, waited] = seconds;
        let [elapsed, alone] = [elapsed, alone].map(Duration::from_secs_f64);
        Look {
            name: name.into(),
            length,
            done,
            elapsed,
            taken: elapsed,
            alone,
            waited,
            kernel: None,
        }
    }

    /// Ten epochs of 1,000 rows.
    fn step() -> Length {
        Length { parts: (10, "epoch"), ..Length::of(10_000, "rows") }
    }

    fn told(looks: Vec<Look>, after: Option<f64>) -> String {
        lines(&View { looks, after, slowest: None }).swap_remove(0)
    }

    #[test]
    fn a_line_says_how_far_how_fast_and_what_is_left() {
        assert!(lines(&View::default()).is_empty());
        let just_begun = look("expert step", step(), 0, [3.0, 3.0, 0.0]);
        assert_eq!(told(vec![just_begun], None), "expert step 0 %, epoch 1/10 0 %");
        // Two epochs and a half in 30 s, 5 of which went into validations: 100 rows/s.
        let half = look("expert step", step(), 2500, [30.0, 25.0, 3.0]);
        let expected = [
            "expert step 25 %, epoch 3/10 50 %, 100 rows/s, waits 10 %; left 0:01:30, of run \
             1:01:30, of epoch 0:00:05",
            "expert step 25 %, epoch 3/10 50 %, 100 rows/s; left 0:01:30, of run 1:01:30",
            "expert step 25 %, epoch 3/10 50 %, 100 rows/s; left 0:01:30",
            "expert step 25 %, epoch 3/10 50 %; left 0:01:30, of run 1:01:30",
            "expert step 25 %, epoch 3/10 50 %; left 0:01:30",
            "expert step 25 %",
        ];
        let view = View { looks: vec![half.clone()], after: Some(3600.0), slowest: None };
        assert_eq!(lines(&view), expected);
        let quick =
            View { looks: vec![Look { kernel: Some(150.0), ..half.clone() }], ..view.clone() };
        let said = "100 rows/s, 67 % of the kernel's rate, waits 10 %; left";
        assert!(lines(&quick)[0].contains(said), "{:?}", lines(&quick));
        assert_eq!(lines(&quick)[1..], expected[1..]);
        let apart = |longer| lines(&View { slowest: Some((3, longer)), ..view.clone() });
        assert_eq!(apart(0.09), expected);
        let slow = apart(0.234).swap_remove(0);
        let said = "waits 10 %, rank 3 works 23 % more than the mean; left";
        assert!(slow.contains(said), "{slow}");
        // Until more of it is done, time passes and its speed stays.
        let later = Look { elapsed: Duration::from_secs(34), ..half.clone() };
        let text = told(vec![later], None);
        let expected = "expert step 25 %, epoch 3/10 50 %, 100 rows/s, waits 8 %; left 0:01:26, of \
                        epoch 0:00:01";
        assert_eq!(text, expected);
        // Where nothing is known of the run, the epoch's time still goes first.
        let alone = View { looks: vec![half.clone()], after: None, slowest: None };
        let expected = "expert step 25 %, epoch 3/10 50 %, 100 rows/s; left 0:01:30";
        assert_eq!(lines(&alone)[1], expected);
        // While a validation goes on what it does is told.
        let scores = look("scoring", Length::of(400, "rows"), 100, [2.0, 2.0, 0.0]);
        let text = told(vec![half, scores], None);
        let expected = "expert step 25 %, epoch 3/10 50 %, scoring 25 %, 50 rows/s; left 0:01:30";
        assert_eq!(text, expected);
    }

    /// A start that goes on doesn't count as its own what one before has done.
    #[test]
    fn what_was_done_before_says_nothing_of_speed() {
        let length = Length { before: 9000, ..step() };
        let on = look("expert step", length, 9500, [50.0, 50.0, 0.0]);
        let expected = "expert step 95 %, epoch 10/10 50 %, 10 rows/s; left 0:00:50, of epoch \
                        0:00:50";
        assert_eq!(told(vec![on], None), expected);
        let all = look("converting", Length::of(4 << 20, "bytes"), 4 << 20, [2.0, 2.0, 0.0]);
        assert_eq!(told(vec![all], None), "converting 100 %, 2.00 MiB/s; left 0:00:00");
    }

    #[test]
    fn times_of_day_are_those_of_the_calendar() {
        let told = |seconds| time_of_day(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(told(0), "1970-01-01T00:00:00Z");
        assert_eq!(told(951_868_799), "2000-02-29T23:59:59Z");
        assert_eq!(told(1_772_323_200), "2026-03-01T00:00:00Z");
        assert_eq!(told(4_107_542_400), "2100-03-01T00:00:00Z");
    }
}
