//! `reelscale report`: a page about runs, out of their directories alone.

mod classes;
mod curves;
mod ended;
pub(super) mod page;
mod plot;
mod run;
mod settings;
mod timers;

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use self::page::{Cell, escape, facts, page, table};
use self::run::{Run, State};
use super::out::{For, print_here};
use crate::disk::{Disk, there};
use crate::error::{Error, Result};
use crate::human::{counted, duration};

/// Writes a page about runs: curves, settings, classes, timers.
///
/// It reads run directories only, while runs are under way, too. The page is one file that needs
/// no network and no script.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = crate::commands::examples::REPORT)]
pub(crate) struct Args {
    /// Directories of runs.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The page. An earlier one is replaced, any other file isn't.
    #[arg(long, value_name = "FILE.html")]
    output: PathBuf,
}

/// Needs no ranks: it is this process's own business, wherever it was started.
pub(crate) fn run(args: &Args) -> Result<()> {
    let output = &args.output;
    let refused = |error| Error::file(output, &error);
    // What isn't a file isn't opened: a pipe would wait.
    let earlier = there(output).map_err(refused)?;
    let is_report = |found: &Metadata| match found.is_file() {
        true => begins_as_report(output),
        false => Ok(false),
    };
    if earlier.as_ref().map(is_report).transpose().map_err(refused)? == Some(false) {
        let text = format!("{}: exists and is no report", output.display());
        return Err(Error::usage(text).hint("choose another --output"));
    }
    let runs: Vec<Run> = args.runs.iter().map(|path| Run::read(path)).collect::<Result<_>>()?;
    let runs = told_apart(runs, &args.runs);
    let text = written(&runs);
    Disk::default().write_text(output, &text).map_err(refused)?;
    let about = format!("{}: {}", output.display(), counted(runs.len() as u64, "run"));
    print_here(For::Reading, &format!("{about}\n"))
}

/// Whether the file at `path` begins as a report does.
fn begins_as_report(path: &Path) -> io::Result<bool> {
    let mut found = Vec::new();
    File::open(path)?.take(page::BEGINS.len() as u64).read_to_end(&mut found)?;
    Ok(found == page::BEGINS.as_bytes())
}

/// Runs of the same name have their whole paths for names.
fn told_apart(mut runs: Vec<Run>, paths: &[PathBuf]) -> Vec<Run> {
    let names: Vec<String> = runs.iter().map(|run| run.name.clone()).collect();
    for (run, path) in runs.iter_mut().zip(paths) {
        if names.iter().filter(|name| **name == run.name).count() > 1 {
            run.name = Path::new(path).to_string_lossy().into_owned();
        }
    }
    runs
}

/// The whole page.
fn written(runs: &[Run]) -> String {
    let title = match runs {
        [run] => run.name.clone(),
        runs => format!("{} runs", runs.len()),
    };
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    let below = match runs {
        [run] => sentence(run),
        _ => names.join(", "),
    };
    let mut body = format!(
        "<header>\n<h1>{}</h1>\n<p class='soft'>{}</p>\n</header>\n",
        escape(&title),
        escape(&below)
    );
    if runs.len() > 1 {
        body += &summaries(runs);
        body += &format!("<h3>Learning curves</h3>\n{}", curves::compared(runs));
        body += &format!("<h3>Settings that differ</h3>\n{}", settings::that_differ(runs));
    }
    for run in runs {
        if runs.len() > 1 {
            body += &format!("<h2>{}</h2>\n<p>{}</p>\n", escape(&run.name), escape(&sentence(run)));
        }
        body += &about(run);
    }
    let version = concat!("reelscale ", env!("CARGO_PKG_VERSION"));
    body += &format!("<p class='soft'>Written by {version}.</p>\n");
    page(&title, &body)
}

/// How far a run has come.
fn sentence(run: &Run) -> String {
    let of = |key: &str| run.record[key].as_str().unwrap_or_default();
    match run.state {
        State::Finished => format!("Finished: {}.", of("reason")),
        State::Failed => format!("Failed: {}.", of("error")),
        State::Stopped => format!("Stopped: {}.", of("reason")),
        State::Open => "Under way when this was written, or ended without leaving a word.".into(),
    }
}

fn figures(run: &Run) -> [(&'static str, Option<f64>); 4] {
    let best = run.best();
    let of = |key: &str| best.and_then(|best| best.validation[key].as_f64());
    [
        ("GAP@20", of("gap_at_20")),
        ("MAP", of("map_full")),
        ("Hit@1", of("hit_at_1")),
        ("PERR", of("perr")),
    ]
}

fn result_hash(run: &Run) -> Option<&str> {
    run.record["result_hash"].as_str().filter(|hash| !hash.is_empty())
}

/// A row for each run.
fn summaries(runs: &[Run]) -> String {
    let row = |run: &Run| {
        let state = match run.state {
            State::Finished => "finished",
            State::Failed => "failed",
            State::Stopped => "stopped",
            State::Open => "open",
        };
        let mut cells = vec![Cell::text(&run.name), Cell::text(state)];
        cells.extend(figures(run).map(|(_, value)| Cell::share(value)));
        cells.push(Cell::Number(duration(run.seconds())));
        let short = result_hash(run).map_or("–", |hash| hash.get(..12).unwrap_or(hash));
        cells.push(Cell::text(short));
        cells
    };
    let rows: Vec<Vec<Cell>> = runs.iter().map(row).collect();
    let head = ["run", "", "GAP@20", "MAP", "Hit@1", "PERR", "time", "result"];
    table(&head, &rows)
}

/// All of one run.
fn about(run: &Run) -> String {
    let mut shown: Vec<(&str, String)> = Vec::new();
    for (name, value) in figures(run) {
        shown.extend(value.map(|value| (name, format!("{value:.4}"))));
    }
    shown.push(("time in all", duration(run.seconds())));
    let recorded = |key: &str| run.record[key].as_u64().filter(|_| run.state != State::Open);
    if let (Some(ranks), Some(threads)) = (recorded("ranks"), recorded("threads_per_rank")) {
        shown.push(("ranks × threads", format!("{ranks} × {threads}")));
    }
    let mut text = facts(&shown);
    if run.best().is_some() {
        text += "<p class='soft'>Metrics on the validation rows, of the best model that the run \
                 may keep.</p>\n";
    }
    text += &kept(run);
    text += &curves::of_run(run);
    text += &run.validation.as_ref().map_or(String::new(), classes::of);
    text += &ended::of(run);
    text += &timers::of(run);
    if let Some(hash) = result_hash(run) {
        text += &format!("<h3>Result</h3>\n<p><code>{}</code></p>\n", escape(hash));
    }
    if !run.missing.is_empty() {
        let line = |line: &String| format!("<li>{}</li>\n", escape(line));
        let lines: String = run.missing.iter().map(line).collect();
        text += &format!("<h3>What is missing</h3>\n<ul class='soft'>\n{lines}</ul>\n");
    }
    text + &settings::all(run)
}

/// Which model the run keeps, where there is one yet.
fn kept(run: &Run) -> String {
    let Some(kept) = &run.kept else { return String::new() };
    let words = kept.sentence(run.state == State::Finished);
    format!("<p>{}</p>\n", escape(&page::sentence(&words)))
}
