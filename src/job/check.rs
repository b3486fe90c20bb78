//! From a `JobFile` to a `Job`: defaults are filled in, and keys must fit together.

use super::checked::Validation;
use super::file::JobFile;
use super::keys::{Job, KEYS};
use super::table::Default;
use super::value::Value;
use crate::partition::Grid;

/// The checked job; `None` where `errors` isn't empty afterwards. `name` is the file's.
pub(crate) fn check(file: &JobFile, name: &str, errors: &mut Vec<String>) -> Option<Job> {
    if file.torn {
        return None;
    }
    let job = with_defaults(file).job();
    fit(&job, file, name, errors);
    errors.is_empty().then_some(job)
}

/// Every key, in the file or not. One that is required and missing is an empty list.
pub(crate) fn with_defaults(file: &JobFile) -> JobFile {
    let mut whole = JobFile::default();
    let mut set = |name: &str, value: &str| {
        let mut errors = Vec::new();
        whole.set(&format!("{name}={value}"), &mut errors);
        assert!(errors.is_empty(), "a default that its key doesn't take: {errors:?}");
    };
    for key in KEYS {
        match key.default {
            Default::Required => set(key.name, "[]"),
            Default::Always(value) => set(key.name, value),
            Default::By(..) => {}
        }
    }
    whole.values.extend(file.values.iter().map(|(key, value)| (*key, value.clone())));
    for key in KEYS.iter().filter(|key| !file.values.contains_key(key.name)) {
        let Default::By(other, default) = key.default else { continue };
        let Value::Text(chosen) = &whole.values[other].0 else { panic!("{other} is a choice") };
        let value = default(chosen);
        whole.set(&format!("{}={value}", key.name), &mut Vec::new());
    }
    whole
}

/// What of `before` stays in `now` though it was the default by what another key was before: a line
/// each. The record of a run has every key, and whoever sets one of them may forget the other.
pub(crate) fn left_behind(before: &JobFile, now: &JobFile) -> Vec<String> {
    let wholes = [before, now].map(with_defaults);
    let lines = KEYS.iter().filter_map(|key| {
        let Default::By(other, default) = key.default else { return None };
        let [chosen_before, chosen] = wholes.each_ref().map(|whole| match &whole.values[other].0 {
            Value::Text(chosen) => chosen,
            _ => panic!("{other} is a choice"),
        });
        let (name, value) = (key.name, before.values.get(key.name)?);
        let stays = now.values.get(name) == Some(value) && chosen != chosen_before;
        let defaults = [chosen_before, chosen].map(|chosen| default(chosen));
        (stays && value.0.to_toml() == defaults[0] && defaults[0] != defaults[1]).then(|| {
            let ([value, new], place) = (defaults, &value.1);
            format!(
                "{place}: {name}: {value} stays, the default of {other} = {chosen_before:?}; that \
                 of {chosen:?} is {new}; hint: --set {name}={new}"
            )
        })
    });
    lines.collect()
}

impl JobFile {
    /// The job of a file that has every key.
    pub(crate) fn job(&self) -> Job {
        Job::of(|key| &self.values[key].0)
    }
}

/// What no key can see by itself.
fn fit(job: &Job, file: &JobFile, name: &str, errors: &mut Vec<String>) {
    let given = |key: &str| file.values.contains_key(key);
    // Of `keys`, the first of which is named. What one that is wrong was to be isn't known.
    let mut refuse = |keys: &[&str], text: String| {
        if keys.iter().any(|key| file.faulty.contains(key)) {
            return;
        }
        let place = file.values.get(keys[0]).map_or(name, |value| value.1.as_str());
        errors.push(format!("{place}: {}: {text}", keys[0]));
    };
    if job.data.train.is_empty() {
        let text = match given("data.train") {
            true => "found an empty list, expected shards",
            false => "missing, expected a list of shards",
        };
        refuse(&["data.train"], text.into());
    }
    if !job.data.validation.is_empty() && job.data.validation_fraction > 0.0 {
        let text = "found beside data.validation, expected one of them";
        refuse(&["data.validation_fraction", "data.validation"], text.into());
    }
    let shared = &job.shared;
    let steps = [
        ("shared.step_min", shared.step_min),
        ("shared.step_initial", shared.step_initial),
        ("shared.step_max", shared.step_max),
    ];
    for pair in steps.windows(2) {
        let ((small, found), (large, most)) = (pair[0], pair[1]);
        if found > most && given(small) {
            refuse(&[small, large], format!("found {found}, expected at most {large} = {most}"));
        } else if found > most {
            refuse(&[large, small], format!("found {most}, expected at least {small} = {found}"));
        }
    }
    let grid = Grid::named(&job.run.grid).ok().flatten();
    if let Some((rows @ 2.., _)) = grid {
        let slices = job.experts.row_slices;
        if rows > slices {
            let text = format!("found {rows} rows, expected at most experts.row_slices = {slices}");
            refuse(&["run.grid", "experts.row_slices"], text);
        }
    }
    let key = "experts.validate_every";
    if job.experts.validate_every > 0 && job.data.validation_rows() == Validation::None {
        let keys = [key, "data.validation", "data.validation_fraction"];
        refuse(&keys, "found without validation rows, expected some".into());
    }
    let key = "experts.class_patience";
    if job.experts.class_patience > 0 {
        if job.data.validation_rows() == Validation::None {
            let keys = [key, "data.validation", "data.validation_fraction"];
            refuse(&keys, "found without validation rows, expected some".into());
        }
        if job.experts.patience > 0 {
            refuse(
                &[key, "experts.patience"],
                "found beside experts.patience, expected one of them".into(),
            );
        }
    }
    if job.pretrain.epochs == 0 && job.rounds.count == 0 {
        let text = "found 0 beside pretrain.epochs = 0, nothing would be trained";
        refuse(&["rounds.count", "pretrain.epochs"], text.into());
    }
}
