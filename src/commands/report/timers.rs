//! Where the time of a run's last start went, over its ranks.

use super::page::{Cell, table};
use super::run::{Run, State};

/// A table of timers, the longest first; nothing where there are none.
pub(super) fn of(run: &Run) -> String {
    let Some(timers) = run.record["timers"].as_object() else { return String::new() };
    let seconds = |ranks: &serde_json::Value| -> Vec<f64> {
        ranks.as_array().into_iter().flatten().filter_map(|rank| rank.as_f64()).collect()
    };
    let mut timers: Vec<(&String, Vec<f64>)> =
        timers.iter().map(|(name, ranks)| (name, seconds(ranks))).collect();
    timers.retain(|timer| !timer.1.is_empty());
    let mean = |ranks: &[f64]| ranks.iter().sum::<f64>() / ranks.len() as f64;
    timers.sort_by(|a, b| mean(&b.1).total_cmp(&mean(&a.1)));
    if timers.is_empty() {
        return String::new();
    }
    let all = run.record["seconds"].as_f64().unwrap_or(0.0).max(1e-9);
    let row = |(name, ranks): &(&String, Vec<f64>)| {
        let by = |better: fn(&f64, &f64) -> bool| {
            let first = (0, ranks[0]);
            let (rank, seconds) = ranks.iter().enumerate().fold(first, |best, (rank, seconds)| {
                if better(seconds, &best.1) { (rank, *seconds) } else { best }
            });
            Cell::Number(format!("{seconds:.2} ({rank})"))
        };
        let share = 100.0 * mean(ranks) / all;
        vec![
            Cell::text(name.as_str()),
            Cell::Number(format!("{:.2}", mean(ranks))),
            by(|a, b| a < b),
            by(|a, b| a > b),
            Cell::Number(format!("{share:.1} %")),
            Cell::Bar(share),
        ]
    };
    let rows: Vec<Vec<Cell>> = timers.iter().map(row).collect();
    let head = ["seconds", "mean", "least (rank)", "most (rank)", "of the start", ""];
    let which = match run.state {
        State::Open => "last start that left a record",
        _ => "last start",
    };
    format!(
        "<h3>Timers of the {which}</h3>\n<p class='soft'>Of {all:.1} s. Waiting and \
         checkpoints are parts of steps, too.</p>\n{}",
        table(&head, &rows)
    )
}
