//! What a run directory holds, as far as it is there: of runs under way, stopped, failed and
//! finished, and of those of earlier versions.

use std::path::Path;

use serde_json::Value;

use super::plot::Band;
use crate::disk::{read_text, there};
use crate::error::{Error, Result};
use crate::job::Job;
use crate::report::{Kept, LastValidation, STEPS, events_of, is_offered};

/// No file of a run that is read here is larger; what claims to be is not read.
const BYTES_MAX: u64 = 1 << 30;

/// A run.
pub(super) struct Run {
    /// The last part of its path.
    pub(super) name: String,
    /// Settings, (section.key, value), in the order of the file, and the text of it.
    pub(super) settings: Vec<(String, String)>,
    pub(super) job: String,
    /// `run.json`, or nothing.
    pub(super) record: Value,
    pub(super) points: Vec<Point>,
    /// The model that it has kept, or would keep so far.
    pub(super) kept: Option<Kept>,
    pub(super) validation: Option<LastValidation>,
    /// How far it has come.
    pub(super) state: State,
    /// What isn't there, a sentence each.
    pub(super) missing: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum State {
    Finished,
    Failed,
    Stopped,
    /// It goes on, or has ended without leaving a word.
    Open,
}

/// One event.
pub(super) struct Point {
    /// `pretrain`, `experts` or `shared`.
    pub(super) step: &'static str,
    pub(super) round: u64,
    /// Epochs, passes and iterations so far, this one too.
    pub(super) pass: f64,
    /// Seconds since the run began, those of earlier starts included.
    pub(super) seconds: f64,
    pub(super) loss: Option<f64>,
    pub(super) validation: Value,
    /// Whether the run may keep the model that it is of.
    pub(super) offered: bool,
}

/// What stands along the horizontal axis.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Along {
    Passes,
    Time,
}

impl Run {
    /// Reads the directory `path`.
    ///
    /// # Errors
    /// Exit 6: it isn't the directory of a run; exit 5: it can't be read.
    pub(super) fn read(path: &Path) -> Result<Run> {
        let found = |name: &str| there(&path.join(name)).map(|found| found.is_some());
        let looked = || Ok([found("job.toml")?, found("run.json")?, found("metrics.jsonl")?]);
        let [job, record, events] = looked().map_err(|error| Error::file(path, &error))?;
        if !(job || record || events) {
            let text = format!("{}: found no job.toml, run.json or metrics.jsonl", path.display());
            return Err(Error::run_directory(format!("{text}, expected the directory of a run"))
                .hint("the --output of `reelscale train`"));
        }
        let mut missing = Vec::new();
        let mut text_of = |name: &str, without: &str| {
            read_text(&path.join(name), BYTES_MAX).unwrap_or_else(|error| {
                missing.push(format!("{name}: {error}; {without}"));
                String::new()
            })
        };
        let job = text_of("job.toml", "the settings aren't known");
        let events = match events {
            true => text_of("metrics.jsonl", "there are no curves"),
            false => String::new(),
        };
        let record = match record {
            true => text_of("run.json", "nothing is known of how it ended"),
            false => String::new(),
        };
        let record: Value = serde_json::from_str(&record).unwrap_or_default();
        let events = events_of(&events);
        let state = state(path, &record);
        let kept = match state {
            // The record is that of an earlier start.
            State::Open => None,
            _ => serde_json::from_value(record["kept"].clone()).ok(),
        };
        let kept = kept.or_else(|| Kept::of(&events, &Job::recorded(&job).ok()?.experts));
        let points = points_of(events);
        if points.is_empty() {
            missing.push("metrics.jsonl: no event yet; there are no curves".into());
        }
        let (validation, without) = match LastValidation::read(path) {
            Ok(Some(found)) => (Some(found), None),
            Ok(None) => {
                let text = "not there, so there are no figures of classes: the run has no \
                            validation rows, hasn't been validated yet, or is of an earlier \
                            version";
                (None, Some(text.to_string()))
            }
            Err(text) => (None, Some(text)),
        };
        missing.extend(without.map(|text| format!("validation.json: {text}")));
        if record["timers"].as_object().is_none_or(|timers| timers.is_empty()) {
            missing.push("run.json: no timers: they are written when a start ends".into());
        }
        let name = path.canonicalize().ok().and_then(|path| path.file_name().map(Into::into));
        let name: std::ffi::OsString = name.unwrap_or_else(|| path.as_os_str().into());
        let name = name.to_string_lossy().into_owned();
        let settings = settings_of(&job);
        Ok(Run { name, settings, job, record, points, kept, validation, state, missing })
    }

    /// The horizontal axis in `unit`, of which `scale` seconds are one.
    pub(super) fn at(along: Along, point: &Point, unit: f64) -> f64 {
        match along {
            Along::Passes => point.pass,
            Along::Time => point.seconds / unit,
        }
    }

    /// Stretches of one step of one round each.
    pub(super) fn bands(&self, along: Along, unit: f64) -> Vec<Band> {
        let mut bands: Vec<(Band, u64)> = Vec::new();
        let mut from = 0.0;
        for point in &self.points {
            let to = Run::at(along, point, unit);
            match bands.last_mut() {
                Some((band, round)) if band.what == point.step && *round == point.round => {
                    band.to = to;
                }
                _ => bands.push((Band { from, to, what: point.step }, point.round)),
            }
            from = to;
        }
        bands.into_iter().map(|band| band.0).filter(|band| band.to > band.from).collect()
    }

    /// What a metric of the validations came to, or the loss of training.
    pub(super) fn line(&self, key: &str, along: Along, unit: f64) -> Vec<(f64, f64)> {
        let value = |point: &Point| match key {
            "train" => point.loss,
            key => point.validation[key].as_f64(),
        };
        let points = self.points.iter();
        points.filter_map(|point| Some((Run::at(along, point, unit), value(point)?))).collect()
    }

    /// Seconds of all its starts, as far as they have told.
    pub(super) fn seconds(&self) -> f64 {
        let told = self.record["report"]["seconds"].as_f64().unwrap_or(0.0);
        self.points.last().map_or(0.0, |point| point.seconds).max(told)
    }

    /// The best validation by GAP@20 of a model that the run may keep: that of the one it keeps.
    pub(super) fn best(&self) -> Option<&Point> {
        let offered = self.points.iter().filter(|point| point.offered);
        let validated = offered.filter_map(|point| {
            let gap = point.validation["gap_at_20"].as_f64()?;
            Some((gap, point))
        });
        validated.reduce(|a, b| if b.0 > a.0 { b } else { a }).map(|best| best.1)
    }
}

/// The job file as (section.key, value).
fn settings_of(job: &str) -> Vec<(String, String)> {
    let Ok(table) = job.parse::<toml::Table>() else { return Vec::new() };
    let mut settings = Vec::new();
    for (section, values) in &table {
        for (key, value) in values.as_table().into_iter().flatten() {
            settings.push((format!("{section}.{key}"), value.to_string()));
        }
    }
    settings
}

/// The events of `metrics.jsonl` as points of curves.
fn points_of(events: Vec<Value>) -> Vec<Point> {
    let (mut points, mut pass, mut before, mut last) = (Vec::new(), 0.0, 0.0, 0.0);
    for mut event in events {
        let Some(step) = step_of(&event) else { continue };
        if event["epoch"].is_u64() || event["iteration"].is_u64() {
            pass += 1.0;
        }
        // Each start counts from its own beginning.
        let at = event["timing"]["at_seconds"].as_f64().unwrap_or(last);
        if at < last {
            before += last;
        }
        last = at;
        points.push(Point {
            step,
            round: event["round"].as_u64().unwrap_or(0),
            pass,
            seconds: event["seconds"].as_f64().unwrap_or(before + at),
            loss: event["loss"].as_f64(),
            offered: is_offered(&event),
            validation: event["validation"].take(),
        });
    }
    points
}

fn step_of(event: &Value) -> Option<&'static str> {
    let step = event["step"].as_str()?;
    STEPS.iter().map(|known| known.0).find(|known| *known == step)
}

/// How far the run at `path` has come: its record is of the last start only where it was written
/// after that took the directory.
fn state(path: &Path, record: &Value) -> State {
    let changed = |name: &str| there(&path.join(name)).ok().flatten()?.modified().ok();
    if record["finished"] == true {
        return State::Finished;
    }
    let (taken, recorded) = (changed("lock"), changed("run.json"));
    match () {
        () if recorded.is_none() || taken > recorded => State::Open,
        () if record["error"].is_string() => State::Failed,
        () if record["reason"].is_string() => State::Stopped,
        () => State::Open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_several_starts_go_on_in_time_and_a_torn_line_is_left_out() {
        let line = |rest: &str, at: f64| {
            format!("{{\"step\":{rest},\"timing\":{{\"at_seconds\":{at},\"seconds\":1}}}}\n")
        };
        let text = [
            line("\"pretrain\",\"epoch\":1,\"loss\":3.5,\"validation\":{\"gap_at_20\":0.1}", 10.0),
            line("\"experts\",\"round\":1,\"epoch\":1,\"loss\":2.5", 20.0),
            line("\"experts\",\"round\":1,\"validation\":{\"gap_at_20\":0.2}", 5.0),
            "{\"step\":\"shared\",\"ro".to_string(),
        ];
        let points = points_of(events_of(&text.concat()));
        let found: Vec<_> = points.iter().map(|point| (point.pass, point.seconds)).collect();
        assert_eq!(found, [(1.0, 10.0), (2.0, 20.0), (2.0, 25.0)]);
        assert_eq!(points[2].validation["gap_at_20"], 0.2);
    }
}
