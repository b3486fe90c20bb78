//! A run's record of its job, which is a job file too: what may change when the run goes on, and
//! what earlier versions wrote.

use reelscale::Job;
use reelscale::internals::job::{Decides, Default, KEYS, Takes};

use super::errors_of;

/// A job in which every key has another value than its default.
fn job_without_defaults() -> Job {
    let other = |takes: Takes, default: Default| match takes {
        Takes::Integer(least, most) => (least + (most - least).min(7)).to_string(),
        Takes::Number(least, most) | Takes::ZeroOr(least, most) => {
            format!("{:?}", least + (most - least) / 3.0)
        }
        Takes::Boolean => matches!(default, Default::Always("false")).to_string(),
        Takes::Choice(names) => format!("\"{}\"", names[names.len() - 1]),
        Takes::Grid => "\"1x3\"".into(),
        Takes::Text => "\"a folder\"".into(),
        Takes::Texts => "[\"a \\\"b\\\"/*.h5\", \"c\"]".into(),
        Takes::Layers => "[{ residual = true }, { dense = 3, activation = \"tanh\" }]".into(),
    };
    // What stands beside another key only in jobs of its own, and steps, which must rise.
    let left_out = ["data.validation_fraction", "experts.patience"];
    let steps = ["shared.step_min", "shared.step_initial", "shared.step_max"];
    let keys = KEYS.iter().filter(|key| !left_out.contains(&key.name));
    let sets: Vec<String> = keys
        .map(|key| match steps.iter().position(|name| *name == key.name) {
            Some(place) => format!("{}={}", key.name, [0.1, 0.3, 0.7][place]),
            None => format!("{}={}", key.name, other(key.takes, key.default)),
        })
        .collect();
    Job::parse("", "sets", &sets).unwrap()
}

/// The record of a run is a job file: of the same job.
#[test]
fn a_record_is_a_job_file() {
    let default = Job::parse("[data]\ntrain = [\"a\"]", "a.toml", &[]).unwrap();
    let (all, record) = (job_without_defaults(), default.to_toml());
    assert_eq!(Job::parse(&all.to_toml(), "job.toml", &[]).unwrap(), all);
    assert_eq!(Job::parse(&record, "job.toml", &[]).unwrap(), default);
    assert_eq!(record.lines().filter(|line| line.contains(" = ")).count(), KEYS.len());
    assert!(record.contains("\nepsilon = 1e-5\n") && record.contains("\nlearning_rate = 0.01\n"));
}

/// What may change when a run goes on is what the table says, key by key.
#[test]
fn only_keys_that_decide_no_bit_may_change() {
    let job = job_without_defaults();
    let lines = |job: &Job| job.to_toml().lines().map(String::from).collect::<Vec<_>>();
    let default = Job::parse("[data]\ntrain = [\"d\"]", "a.toml", &[]).unwrap();
    let others = lines(&default);
    let (mut section, mut changed) = (String::new(), 0);
    for (index, line) in lines(&job).into_iter().enumerate() {
        section = line.strip_prefix('[').map_or(section, |rest| rest.trim_matches(']').to_string());
        let Some((name, _)) = line.split_once(" = ") else { continue };
        let key = KEYS.iter().find(|key| key.name == format!("{section}.{name}")).unwrap();
        let mut before = lines(&job);
        before[index].clone_from(&others[index]);
        let same = before[index] == line;
        let changes = job.changes_since(&before.join("\n")).unwrap();
        let found = (changes.harmless.len(), changes.forbidden.len());
        let may = match key.decides {
            Decides::Result => false,
            Decides::Execution => true,
            // Other files, but not some instead of none.
            Decides::Files => key.name == "data.train",
        };
        let expected = (usize::from(may && !same), usize::from(!may && !same));
        assert_eq!(found, expected, "{}: {changes:?}", key.name);
        changed += usize::from(!same);
        // A record that doesn't have it: it was its default.
        before.remove(index);
        let missing = job.changes_since(&before.join("\n")).unwrap();
        let all = || missing.harmless.iter().chain(&missing.forbidden);
        assert!(all().all(|change| change.0 == key.name), "{missing:?}");
        // What decides bits is what ranks compare.
        let listed = job.computed().contains(&format!("{} = ", key.name));
        assert_eq!(listed, key.decides == Decides::Result, "{}", key.name);
    }
    assert_eq!(changed, KEYS.len() - 2, "all but those that were left out");
}

/// Records of earlier versions had the fields of the checked job.
#[test]
fn records_of_earlier_versions_are_of_the_same_job() {
    let text = "[data]\ntrain = [\"d\"]\nvalidation_fraction = 0.25\n\
                [model]\nshared = [{ dense = 10, activation = \"relu6\" }, { gating = true }]\n\
                frames = [{ residual = true }]\ninitial_biases = \"frequency\"\n\
                [experts]\nsolver = \"adam\"\nl2 = 3e-7\n";
    let layers = "[[model.shared]]\nkind = \"dense\"\nunits = 10\nactivation = \"relu6\"\n\
                  [[model.shared]]\nkind = \"gating\"\n[[model.frames]]\nkind = \"residual\"\n";
    let before = format!(
        "[data]\ntrain = [\"elsewhere\"]\nnormalize = \"l2\"\n[data.validation]\nfraction = 0.25\n\
         [model]\npooling = \"swap\"\nepsilon = 0.00001\nfrequency_biases = true\n{layers}\
         [experts]\nsolver = \"adam\"\nlearning_rate = 0.01\nl2 = 0.0000003\n\
         [run]\nscratch = \"\"\n"
    );
    let job = Job::parse(text, "a.toml", &[]).unwrap();
    let changes = |job: &Job, before: &str| {
        let changes = job.changes_since(before).unwrap();
        let names = |list: &[(String, String, String)]| -> Vec<String> {
            list.iter().map(|change| change.0.clone()).collect()
        };
        (names(&changes.harmless), names(&changes.forbidden))
    };
    let none = Vec::<String>::new;
    assert_eq!(changes(&job, &before), (vec!["data.train".to_string()], none()));
    for (from, to, key) in [
        ("units = 10", "units = 11", "model.shared"),
        ("\"gating\"", "\"residual\"", "model.shared"),
        ("\"residual\"", "\"gating\"", "model.frames"),
        ("biases = true", "biases = false", "model.initial_biases"),
        ("0.25", "0.2500001", "data.validation_fraction"),
        ("0.0000003", "0.0000004", "experts.l2"),
    ] {
        let found = changes(&job, &before.replacen(from, to, 1));
        assert_eq!(found.1, [key], "{from} -> {to}: {found:?}");
    }
    let globs = before.replace("fraction = 0.25", "globs = [\"v\"]");
    let expected = ["data.validation", "data.validation_fraction"];
    assert_eq!(changes(&job, &globs).1, expected);
    let sets = ["data.validation_fraction=0", "data.validation=[\"v2\"]"].map(String::from);
    let on_files = Job::parse(text, "a.toml", &sets).unwrap();
    assert_eq!(changes(&on_files, &globs).1, none());
    let without = Job::parse(text, "a.toml", &sets[..1]).unwrap();
    let fraction = "[data.validation]\nfraction = 0.25\n";
    let nothing =
        before.replace(fraction, "").replace("[data]\n", "[data]\nvalidation = \"none\"\n");
    assert_eq!(changes(&without, &nothing).1, none());
    assert_eq!(changes(&on_files, &nothing).1, ["data.validation"]);
    // What that version wrote is a job file of the same job, whose errors have their places.
    let again = Job::parse(&before.replace("\"elsewhere\"", "\"d\""), "job.toml", &[]).unwrap();
    assert_eq!(again, job);
    let wrong =
        before.replace("units = 10", "units = 0").replace("fraction = 0.25", "fraction = 2");
    let found = errors_of(&wrong, &[]);
    assert!(found[0].starts_with("a.toml:5:12: data.validation_fraction: found 2"), "{found:?}");
    assert!(found[1].starts_with("a.toml:12:9: model.shared: dense: found 0"), "{found:?}");
    // What decides no bit may have been what is taken no more.
    let patience = before.replace("[run]\n", "[run]\nstall_seconds = 0.5\n");
    assert_eq!(changes(&job, &patience), (vec!["data.train".to_string()], none()));
    for text in ["[[[", "[run]\nunheard_of = 1\n", "[model]\npooling = \"unheard of\"\n"] {
        assert_eq!(job.changes_since(text).unwrap_err().exit as i32, 6, "{text}");
    }
}
