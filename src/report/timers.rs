//! Seconds by name, and their table over ranks.

use std::collections::BTreeMap;

/// The timer of validations that only report (`experts.validate_every`).
pub(crate) const REPORTED_TIMER: &str = "validation, to report";
/// The timer of what the expert step's windows wait for others, if all of an epoch wait as long as
/// the one in the middle.
pub(crate) const WINDOW_WAITS: &str = "experts/usual window wait";

/// A timer's name, every rank's seconds of it, and this rank's calls.
pub(crate) type Timer = (String, Vec<f64>, u64);

/// Seconds and calls by name. Names with a slash are parts of what stands before it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timers(BTreeMap<String, (f64, u64)>);

impl Timers {
    /// Adds time that was measured elsewhere.
    pub(crate) fn add(&mut self, name: &str, seconds: f64) {
        let entry = self.0.entry(name.to_string()).or_default();
        entry.0 += seconds;
        entry.1 += 1;
    }

    /// Makes it the time that was measured elsewhere so far, by one call more.
    pub(crate) fn set(&mut self, name: &str, seconds: f64) {
        let entry = self.0.entry(name.to_string()).or_default();
        *entry = (seconds, entry.1 + 1);
    }

    /// Adds to the part `name` of `whole` what no part of this name has yet of `seconds`, which
    /// were measured elsewhere so far.
    pub(crate) fn add_rest(&mut self, whole: &str, name: &str, seconds: f64) {
        let parts = self
            .0
            .iter()
            .filter(|(part, _)| part.rsplit_once('/').is_some_and(|(_, of)| of == name));
        let known: f64 = parts.map(|(_, (seconds, _))| seconds).sum();
        self.add(&format!("{whole}/{name}"), (seconds - known).max(0.0));
    }

    /// (name, seconds, calls), by name.
    pub(crate) fn totals(&self) -> Vec<(String, f64, u64)> {
        self.0.iter().map(|(name, (seconds, calls))| (name.clone(), *seconds, *calls)).collect()
    }
}

/// Mean, least (rank) and most (rank) of each timer, given every rank's seconds of it.
pub(crate) fn table(timers: &[Timer]) -> String {
    let mut text =
        format!("{:<28} {:>10} {:>17} {:>17}\n", "seconds", "mean", "min (rank)", "max (rank)");
    for (name, ranks, _) in timers {
        let mean = ranks.iter().sum::<f64>() / ranks.len().max(1) as f64;
        let by = |better: fn(&f64, &f64) -> bool| {
            let first = ranks.iter().enumerate().next().map(|(rank, seconds)| (rank, *seconds));
            ranks.iter().enumerate().fold(first.unwrap_or_default(), |best, (rank, seconds)| {
                if better(seconds, &best.1) { (rank, *seconds) } else { best }
            })
        };
        let (least, most) = (by(|a, b| a < b), by(|a, b| a > b));
        let cell = |(rank, seconds): (usize, f64)| format!("{seconds:.2} ({rank})");
        text += &format!("{name:<28} {mean:>10.2} {:>17} {:>17}\n", cell(least), cell(most));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_the_fastest_and_the_slowest_rank() {
        let text = table(&[("wait".into(), vec![2.0, 1.0, 4.5], 1)]);
        let row: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row, ["wait", "2.50", "1.00", "(1)", "4.50", "(2)"]);
    }
}
