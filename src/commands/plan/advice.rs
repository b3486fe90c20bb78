//! Settings that would help: each tried by itself, by the same formulas.

use std::collections::BTreeSet;

use super::Question;
use super::steps::Steps;
use super::world::World;
use crate::job::Job;
use crate::model::experts::layouts;

/// Lines at most, and what a setting must save at least.
const LINES: usize = 3;
const LEAST_GAIN: f64 = 0.05;
/// Rows of a slice at least: fewer make poor tiles.
const SLICE_ROWS: usize = 256;
/// Rows of a window at most: that of jobs/youtube8m-x100.toml.
const WINDOW_MAX: usize = 131_072;

/// A setting that is tried, the key that it is of, and what it changes beside the time.
struct Trial {
    key: &'static str,
    setting: String,
    note: &'static str,
    job: Job,
}

/// What is tried of a job on these ranks, whose steps wait for the network for this share of it.
fn trials(question: &Question, world: &World, waiting: f64) -> Vec<Trial> {
    let job = &question.job;
    let mut trials = Vec::new();
    let mut add = |key, value: String, note, change: &dyn Fn(&mut Job)| {
        let mut other = job.clone();
        change(&mut other);
        trials.push(Trial { key, setting: format!("{key} = {value}"), note, job: other });
    };
    let batch = job.experts.batch;
    for slices in [2, 4, 8, 16, 32] {
        if slices > job.experts.row_slices && batch / slices >= SLICE_ROWS {
            let change = |job: &mut Job| job.experts.row_slices = slices;
            add("experts.row_slices", slices.to_string(), "other bits", &change);
        }
    }
    for times in [4, 16] {
        let (rows, slices) = (batch * times, (batch * times / 1024).max(job.experts.row_slices));
        if rows <= 16_384 {
            let values = format!("{rows}, experts.row_slices = {slices}");
            add(
                "experts.batch",
                values,
                "other training: the learning rate wants tuning",
                &|job| {
                    (job.experts.batch, job.experts.row_slices) = (rows, slices);
                    job.experts.window = job.experts.window.max(rows);
                },
            );
        }
    }
    // A window saves waiting alone.
    for times in [2, 4, 8] {
        let window = job.experts.window_rows() * times;
        if window <= WINDOW_MAX && waiting >= LEAST_GAIN {
            let change = |job: &mut Job| job.experts.window = window;
            add("experts.window", window.to_string(), "same bits", &change);
        }
    }
    // As many blocks as ranks, or some times that, come out even.
    let large = &world.whole.large;
    let mut seen = BTreeSet::from([large.len()]);
    let counts: Vec<usize> = large.iter().flat_map(|layout| layout.experts.clone()).collect();
    let shape = &world.whole.shape;
    for wanted in [1, 2, 4].map(|times| question.ranks * times) {
        let blocks = layouts(&counts, shape.dummy, shape.outputs(), wanted).len();
        if seen.insert(blocks) {
            let change = |job: &mut Job| job.run.class_blocks = wanted;
            add("run.class_blocks", wanted.to_string(), "other bits", &change);
        }
    }
    if job.run.row_blocks != 0 {
        add("run.row_blocks", "0".into(), "other bits", &|job| job.run.row_blocks = 0);
    }
    if job.run.grid != "auto" {
        let change = |job: &mut Job| job.run.grid = "auto".into();
        add("run.grid", "\"auto\"".into(), "same bits", &change);
    }
    trials
}

/// At most three settings with what they would save, the best of each key and the best first. What
/// doesn't fit is left out.
pub(super) fn advice(question: &Question, world: &World, steps: &Steps) -> Vec<String> {
    let now = steps.total();
    let trials = trials(question, world, steps.waiting() / now);
    let tried = trials.into_iter().filter_map(|trial| {
        let (_, steps) = question.with(&trial.job, question.ranks).ok()?;
        let gain = 1.0 - steps.total() / now;
        (gain >= LEAST_GAIN).then_some((gain, trial))
    });
    let mut tried: Vec<(f64, Trial)> = tried.collect();
    tried.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut keys = BTreeSet::new();
    tried.retain(|(_, trial)| keys.insert(trial.key));
    let line = |(gain, Trial { setting, note, .. }): &(f64, Trial)| {
        format!("{setting}: {:.0} % less time ({note})", 100.0 * gain)
    };
    tried.iter().take(LINES).map(line).collect()
}
