//! What a run said at its end, over all its starts (`report` of its record): where the time went,
//! at which rates, what ranks held, and what would help.

use serde_json::Value;

use super::page::{Cell, escape, facts, sentence, table};
use super::run::{Run, State};
use crate::commands::train::ended_by_force;
use crate::human::{bytes, count};
use crate::report::name_of_phase;

/// All of it; nothing where the record has none.
pub(super) fn of(run: &Run) -> String {
    let report = &run.record["report"];
    if !report["phases"].is_object() {
        return String::new();
    }
    let mut text = String::from("<h3>Where the time went</h3>\n");
    text += &format!("<p class='soft'>{}</p>\n", escape(&scope(run, report)));
    text += &shares(&report["phases"], "step");
    text += &shares(&report["within"], "of which");
    text += &rates(&report["rates"]);
    let held = held(report);
    text += &if held.is_empty() { String::new() } else { facts(&held) };
    text + &advice(&report["advice"])
}

/// Which starts the figures are of.
fn scope(run: &Run, report: &Value) -> String {
    let starts = report["starts"].as_u64().unwrap_or(1);
    let mut text = match starts {
        1 => "Seconds of ranks, in one start.".to_string(),
        starts => format!("Seconds of ranks, over {starts} starts."),
    };
    if let Some(unknown) = ended_by_force(report) {
        text += &format!(" {}", sentence(&unknown));
    }
    if run.state == State::Open {
        text += " A start that has left no record isn't in it.";
    }
    text
}

/// Mean, least and most seconds over ranks, and the share of the run.
fn shares(phases: &Value, what: &str) -> String {
    let row = |(name, phase): (&String, &Value)| {
        let seconds = |key: &str| Some(Cell::Number(format!("{:.1}", phase[key].as_f64()?)));
        let share = 100.0 * phase["share"].as_f64()?;
        Some(vec![
            Cell::text(name_of_phase(name)),
            seconds("seconds")?,
            seconds("least")?,
            seconds("most")?,
            Cell::Number(format!("{share:.1} %")),
            Cell::Bar(share),
        ])
    };
    let rows: Vec<Vec<Cell>> = phases.as_object().into_iter().flatten().filter_map(row).collect();
    match rows.is_empty() {
        true => String::new(),
        false => table(&[what, "mean", "least", "most", "of the run", ""], &rows),
    }
}

/// Rows a second of each step, and what share they are of what was measured beside them.
fn rates(rates: &Value) -> String {
    type Figure = (&'static str, &'static str, fn(f64) -> String);
    let percent: fn(f64) -> String = |share| format!("{:.0} %", 100.0 * share);
    let figures: [Figure; 4] = [
        ("rows_per_second", "rows a second", count),
        ("share_of_kernel", "of the kernel by itself", percent),
        ("gflops", "GFLOP/s", |gflops| format!("{gflops:.1}")),
        ("share_of_measured_peak", "of the measured peak", percent),
    ];
    let steps = || rates.as_object().into_iter().flatten();
    // What no step has has no column.
    let known = |figure: &Figure| steps().any(|(_, rate)| rate[figure.0].as_f64().is_some());
    let known: Vec<Figure> = figures.into_iter().filter(known).collect();
    let row = |(step, rate): (&String, &Value)| {
        let of = |(key, _, text): &Figure| rate[*key].as_f64().map_or("–".into(), text);
        let cells = known.iter().map(|figure| Cell::Number(of(figure)));
        std::iter::once(Cell::text(name_of_phase(step))).chain(cells).collect()
    };
    let rows: Vec<Vec<Cell>> = steps().map(row).collect();
    if known.is_empty() {
        return String::new();
    }
    let head: Vec<&str> = std::iter::once("step").chain(known.iter().map(|of| of.1)).collect();
    table(&head, &rows)
}

/// Node-hours, memory of the rank that had most, and checkpoints.
fn held(report: &Value) -> Vec<(&'static str, String)> {
    let of = |value: &Value| value.as_u64().map(bytes);
    let memory = &report["memory"];
    let hours = report["node_hours"].as_f64().map(|hours| format!("{hours:.4}"));
    let known = [
        ("node-hours", hours),
        ("checkpoints", report["checkpoints"].as_u64().map(|count| count.to_string())),
        ("largest checkpoint", of(&report["checkpoint_bytes"])),
        ("memory planned", of(&memory["planned_bytes"])),
        ("memory held", of(&memory["held_bytes"])),
        ("all of the process", of(&memory["resident_bytes"])),
    ];
    known.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn advice(advice: &Value) -> String {
    let texts = advice.as_array().into_iter().flatten().filter_map(|one| one["text"].as_str());
    let lines: String = texts.map(|text| format!("<li>{}</li>\n", escape(text))).collect();
    match lines.is_empty() {
        true => String::new(),
        false => format!("<h3>What would help</h3>\n<ul>\n{lines}</ul>\n"),
    }
}
