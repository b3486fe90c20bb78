//! A study as a table for people, as csv, and as JSON.

use std::path::Path;

use serde_json::{Value, json};

use super::row::Row;
use super::sizes::{Scaled, Size};
use super::study::Identity;
use super::{Kind, RowsFrom};
use crate::commands::bench::table as columns;
use crate::human::counted;

/// How other load is measured: what a reader of a verdict must know.
const LOAD: &str = "on the machine that started the runs, as /proc/stat counts: cores that worked \
                    in half a second before each run, and while it went on less what the run's own \
                    processes took (not under srun, whose processes belong to others)";

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// Of a number that may be missing.
fn cell<T>(value: Option<T>, shown: impl Fn(T) -> String) -> String {
    value.map_or("-".into(), shown)
}

fn two(number: f64) -> String {
    format!("{number:.2}")
}

/// What the figures are of.
fn title(of: &Identity) -> String {
    let threads = counted(of.threads as u64, "thread");
    let rows = match (of.rows_per_rank, of.rows_from) {
        (None, _) => String::new(),
        (Some(rows), Some(RowsFrom::Data)) => format!("{rows} rows of the data and "),
        (Some(rows), _) => format!("{rows} rows and "),
    };
    format!("{} scaling, {rows}{threads} a rank", of.kind.name())
}

fn verdict(reasons: &[String]) -> &'static str {
    if reasons.is_empty() { "VALID" } else { "INVALID" }
}

/// For people.
pub(super) fn text(of: &Identity, sizes: &[Size], reasons: &[String], folder: &Path) -> String {
    let whole = sizes.iter().map(|size| {
        let scaled = &size.whole;
        json!({
            "ranks": size.ranks,
            "runs": size.runs,
            "seconds": two(size.seconds.median),
            "spread": cell((size.runs > 1).then_some(size.spread), percent),
            "speedup": two(scaled.speedup),
            "efficiency": percent(scaled.efficiency),
            "serial fraction": cell(scaled.serial_fraction, |share| format!("{share:.4}")),
            "planned speedup": cell(size.planned_speedup, two),
        })
    });
    let mut text = format!("{}\n", title(of));
    text += &columns(&whole.collect::<Vec<Value>>());
    text += "\nseconds and efficiency of each part; checkpoints, validation and waits are within\n";
    let line = |size: &Size| {
        let mut line = serde_json::Map::new();
        line.insert("ranks".into(), size.ranks.into());
        for phase in size.phases.iter().filter(|phase| !phase.phase.contains('/')) {
            let seconds = two(phase.seconds.median);
            let efficiency = phase.scaled.as_ref().map(|scaled| scaled.efficiency);
            let own = match efficiency.filter(|efficiency| efficiency.is_finite()) {
                Some(efficiency) => format!("{seconds} ({})", percent(efficiency)),
                None => seconds,
            };
            line.insert(phase.phase.clone(), own.into());
        }
        Value::Object(line)
    };
    text += &columns(&sizes.iter().map(line).collect::<Vec<Value>>());
    text += &format!("\n{}\n", verdict(reasons));
    reasons.iter().for_each(|reason| text += &format!("  {reason}\n"));
    let folder = folder.display();
    text + &format!("{folder}: result.json, table.csv, rows.csv, scaling.svg, jobs/, runs/\n")
}

/// result.json.
pub(super) fn result(of: &Identity, sizes: &[Size], reasons: &[String]) -> String {
    let result = json!({
        "verdict": verdict(reasons),
        "reasons": reasons,
        "kind": of.kind,
        "threads": of.threads,
        "rows_per_rank": of.rows_per_rank,
        "rows_from": of.rows_from,
        "sizes": sizes,
        "other_load": LOAD,
    });
    serde_json::to_string_pretty(&result).expect("plain data") + "\n"
}

/// table.csv: a line for each number of ranks and part of its seconds; "run" is the whole.
pub(super) fn table(sizes: &[Size]) -> String {
    let mut text = "phase,ranks,runs,seconds_median,seconds_min,seconds_max,spread,speedup,\
                    efficiency,efficiency_min,efficiency_max,serial_fraction,planned_seconds,\
                    planned_speedup\n"
        .to_string();
    for size in sizes {
        let parts = size
            .phases
            .iter()
            .map(|phase| (&*phase.phase, phase.seconds, phase.scaled.as_ref(), [None, None]));
        let planned = [size.planned_seconds, size.planned_speedup];
        let run = ("run", size.seconds, Some(&size.whole), planned);
        for (name, seconds, scaled, planned) in [run].into_iter().chain(parts) {
            let (ranks, runs) = (size.ranks, size.runs);
            let of = |value: fn(&Scaled) -> f64| scaled.map(value);
            let numbers = [
                Some(seconds.median),
                Some(seconds.min),
                Some(seconds.max),
                Some(seconds.spread()),
                of(|scaled| scaled.speedup),
                of(|scaled| scaled.efficiency),
                of(|scaled| scaled.efficiency_min),
                of(|scaled| scaled.efficiency_max),
                scaled.and_then(|scaled| scaled.serial_fraction),
                planned[0],
                planned[1],
            ];
            let numbers = numbers.map(number_or_nothing);
            text += &format!("{name},{ranks},{runs},{}\n", numbers.join(","));
        }
    }
    text
}

/// Nothing where there is none, as 0 seconds have no speedup.
fn number_or_nothing(number: Option<f64>) -> String {
    let finite = number.filter(|number| number.is_finite());
    finite.map_or(String::new(), |number| number.to_string())
}

/// rows.csv: a line for each run.
pub(super) fn rows(rows: &[Row]) -> String {
    let mut text = "ranks,repeat,exit,seconds,command_seconds,threads,result_hash,others_before,\
                    others_during,error\n"
        .to_string();
    for row in rows {
        let error = row.error.as_deref().unwrap_or_default().replace('"', "\"\"");
        let cells = [
            row.ranks.to_string(),
            row.repeat.to_string(),
            row.exit.to_string(),
            number_or_nothing(row.seconds),
            number_or_nothing(Some(row.command_seconds)),
            row.threads.to_string(),
            row.result_hash.clone(),
            number_or_nothing(row.others_before),
            number_or_nothing(row.others_during),
            format!("\"{error}\""),
        ];
        text += &(cells.join(",") + "\n");
    }
    text
}

/// What the picture's heading says.
pub(super) fn heading(kind: Kind, reasons: &[String]) -> String {
    let first = reasons.first().map_or(String::new(), |reason| format!(": {reason}"));
    let more = match reasons.len() {
        0 | 1 => String::new(),
        count => format!(", and {} more", counted(count as u64 - 1, "reason")),
    };
    format!("{} scaling, {}{first}{more}", kind.name(), verdict(reasons))
}
