//! Settings that would help: each tried by itself, by the same formulas.

use super::Question;
use super::steps::Steps;
use crate::job::Job;

/// Lines at most, and what a setting must save at least.
const LINES: usize = 3;
const LEAST_GAIN: f64 = 0.05;
/// Rows of a slice at least: fewer make poor tiles.
const SLICE_ROWS: usize = 256;

/// A setting that is tried, and what it changes beside the time.
struct Trial {
    setting: String,
    note: &'static str,
    job: Job,
}

fn trials(job: &Job) -> Vec<Trial> {
    let mut trials = Vec::new();
    let mut add = |setting: String, note, change: &dyn Fn(&mut Job)| {
        let mut other = job.clone();
        change(&mut other);
        trials.push(Trial { setting, note, job: other });
    };
    let batch = job.experts.batch;
    for slices in [2, 4, 8, 16, 32] {
        if slices > job.experts.row_slices && batch / slices >= SLICE_ROWS {
            let setting = format!("experts.row_slices = {slices}");
            add(setting, "other bits", &|job| job.experts.row_slices = slices);
        }
    }
    for times in [4, 16] {
        let (rows, slices) = (batch * times, (batch * times / 1024).max(job.experts.row_slices));
        if rows <= 16_384 {
            let setting = format!("experts.batch = {rows}, experts.row_slices = {slices}");
            add(setting, "other training: the learning rate wants tuning", &|job| {
                (job.experts.batch, job.experts.row_slices) = (rows, slices);
                job.experts.window = job.experts.window.max(rows);
            });
        }
    }
    if job.run.row_blocks != 0 {
        add("run.row_blocks = 0".into(), "other bits", &|job| job.run.row_blocks = 0);
    }
    if job.run.grid != "auto" {
        add("run.grid = \"auto\"".into(), "same bits", &|job| job.run.grid = "auto".into());
    }
    trials
}

/// At most three settings with what they would save, the best first. What doesn't fit is left out.
pub(super) fn advice(question: &Question, steps: &Steps) -> Vec<String> {
    let now = steps.total();
    let tried = trials(&question.job).into_iter().filter_map(|trial| {
        let (_, steps) = question.with(&trial.job, question.ranks).ok()?;
        let gain = 1.0 - steps.total() / now;
        (gain >= LEAST_GAIN).then_some((gain, trial))
    });
    let mut tried: Vec<(f64, Trial)> = tried.collect();
    tried.sort_by(|a, b| b.0.total_cmp(&a.0));
    let line = |(gain, Trial { setting, note, .. }): &(f64, Trial)| {
        format!("{setting}: {:.0} % less time ({note})", 100.0 * gain)
    };
    tried.iter().take(LINES).map(line).collect()
}
