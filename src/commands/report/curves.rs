//! Loss and metrics as a run went, and the curves of several runs in one picture.

use super::page::{beside, escape, figure};
use super::plot::{Axis, Line, Plot};
use super::run::{Along, Run};
use crate::report::STEPS;

/// Metrics of validations and how they are called.
const METRICS: [(&str, &str); 4] =
    [("gap_at_20", "GAP@20"), ("map_full", "MAP"), ("hit_at_1", "Hit@1"), ("perr", "PERR")];

/// A unit of time in which so many seconds are few, and its seconds.
fn unit(seconds: f64) -> (&'static str, f64) {
    match seconds {
        seconds if seconds >= 3.0 * 3600.0 => ("hours", 3600.0),
        seconds if seconds >= 180.0 => ("minutes", 60.0),
        _ => ("seconds", 1.0),
    }
}

/// The horizontal axis, and its unit in seconds.
fn horizontal(along: Along, seconds: f64) -> (Axis, f64) {
    let (name, seconds) = unit(seconds);
    let label = match along {
        Along::Passes => "epochs, passes and iterations".to_string(),
        Along::Time => format!("{name} since the run began"),
    };
    (Axis { label, ..Axis::default() }, seconds)
}

/// Loss and metrics of a run, against epochs and against time.
pub(super) fn of_run(run: &Run) -> String {
    if run.points.is_empty() {
        return String::new();
    }
    let plots = |keys: &[(&str, &str)], label: &str| {
        let plot = |along| {
            let (x, unit) = horizontal(along, run.seconds());
            let line = |(key, name): &(&str, &str)| Line {
                name: name.to_string(),
                points: run.line(key, along, unit),
            };
            let lines: Vec<Line> =
                keys.iter().map(line).filter(|line| !line.points.is_empty()).collect();
            let title = format!("{label} of {} against {}", run.name, x.label);
            let y = Axis { label: label.to_string(), ..Axis::default() };
            let bands = run.bands(along, unit);
            Plot { title, x, y, lines, bands, ..Plot::default() }
        };
        let plots = [Along::Passes, Along::Time].map(plot);
        match plots[0].lines.is_empty() {
            true => String::new(),
            false => beside(&plots.map(|plot| figure(&plot.svg(), ""))),
        }
    };
    let keys: String = STEPS
        .iter()
        .filter(|(step, _)| run.points.iter().any(|point| point.step == *step))
        .map(|(step, name)| format!("<span class='key {step}'></span>{name}"))
        .collect();
    format!(
        "<h3>As it went</h3>\n<p class='soft'>Shaded: {keys}. A change of shade, or a line in it, \
         is the end of a step.</p>\n{}{}",
        plots(&[("train", "training"), ("loss", "validation")], "loss"),
        plots(&METRICS, "metrics on validation")
    )
}

/// The curves of several runs, each picture with a line a run.
pub(super) fn compared(runs: &[Run]) -> String {
    let longest = runs.iter().map(Run::seconds).fold(0.0, f64::max);
    let plots = |key: &str, label: &str| {
        let plot = |along| {
            let (x, unit) = horizontal(along, longest);
            let lines = runs
                .iter()
                .map(|run| Line { name: run.name.clone(), points: run.line(key, along, unit) });
            let lines: Vec<Line> = lines.filter(|line| !line.points.is_empty()).collect();
            let title = format!("{label} against {}", x.label);
            let y = Axis { label: label.to_string(), ..Axis::default() };
            Plot { title, x, y, lines, ..Plot::default() }
        };
        let plots = [Along::Passes, Along::Time].map(plot);
        match plots[0].lines.is_empty() {
            true => format!("<p class='soft'>No run has {}.</p>\n", escape(label)),
            false => beside(&plots.map(|plot| figure(&plot.svg(), ""))),
        }
    };
    plots("gap_at_20", "GAP@20 on validation") + &plots("train", "training loss")
}
