//! What a run said at its end, over all its starts (`report` of its record): where the time went,
//! at which rates, what ranks held, and what would help.

use serde_json::Value;

use super::page::{Cell, escape, facts, table};
use super::run::{Run, State};
use crate::human::{bytes, count, counted};
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
    text += &facts(&held(report));
    text + &advice(&report["advice"])
}

/// Which starts the figures are of.
fn scope(run: &Run, report: &Value) -> String {
    let starts = report["starts"].as_u64().unwrap_or(1);
    let mut text = match starts {
        1 => "Seconds of ranks, in one start.".to_string(),
        starts => format!("Seconds of ranks, over {starts} starts."),
    };
    if let Some(unknown) = report["starts_without_phases"].as_u64().filter(|count| *count > 0) {
        let started = counted(unknown, "start");
        text +=
            &format!(" {started} ended by force: known only up to the last checkpoint, as other.");
    }
    if run.state == State::Open {
        text += " The start that hasn't ended yet isn't in it.";
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
    let row = |(step, rate): (&String, &Value)| {
        let share = |key: &str| {
            let share = rate[key].as_f64();
            Cell::Number(share.map_or("–".into(), |share| format!("{:.0} %", 100.0 * share)))
        };
        let gflops = rate["gflops"].as_f64();
        Some(vec![
            Cell::text(name_of_phase(step)),
            Cell::Number(count(rate["rows_per_second"].as_f64()?)),
            share("share_of_kernel"),
            Cell::Number(gflops.map_or("–".into(), |gflops| format!("{gflops:.1}"))),
            share("share_of_measured_peak"),
        ])
    };
    let rows: Vec<Vec<Cell>> = rates.as_object().into_iter().flatten().filter_map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    let head = ["step", "rows a second", "of the kernel by itself", "GFLOP/s", "of run.balance's"];
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
        ("with MPI and HDF5", of(&memory["resident_bytes"])),
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
