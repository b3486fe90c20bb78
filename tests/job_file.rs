//! Job files: defaults, every error at once with its place, overrides, the documented keys.

mod common;

use common::reelscale;
use proptest::prelude::*;
use reelscale::Job;
use reelscale::internals::job::{Decides, Default, KEYS, Takes, Validation, documented};
use reelscale::internals::model::spec::{Activation, Dummy, Layer};
use reelscale::internals::optim::{MiniBatchSolver, Solver};

fn errors_of(text: &str, overrides: &[&str]) -> Vec<String> {
    let overrides: Vec<String> = overrides.iter().map(|text| text.to_string()).collect();
    let error = Job::parse(text, "a.toml", &overrides).unwrap_err();
    assert_eq!(error.exit as u8, 2);
    error.text.lines().map(|line| line.trim().to_string()).collect()
}

#[test]
fn all_faults_are_told_at_once_with_line_and_column() {
    let text = "[data]\n\
                train = \"a.h5\"\n\
                validation = [\"b.h5\"]\n\
                validation_fraction = 0.1\n\
                [model]\n\
                shared = [{ dense = 0 }]\n\
                dumy = \"zero\"\n\
                [pretrain]\n\
                experts = 9\n\
                epochs = true\n\
                learning_rate = nan\n\
                [expert]\n\
                count = 4\n\
                [shared]\n\
                step_min = 0.5\n";
    let expected = [
        "a.toml:2:9: data.train: found \"a.h5\", expected a list of texts such as \
         [\"hdf5-data/*.h5\"]",
        "a.toml:12:2: expert: unknown section; hint: did you mean experts?",
        "a.toml:6:21: model.shared: dense: found 0, expected a whole number from 1 to 1048576",
        "a.toml:7:1: model.dumy: unknown key; hint: did you mean model.dummy?",
        "a.toml:10:10: pretrain.epochs: found true, expected a whole number from 0 to 1000000",
        "a.toml:9:11: pretrain.experts: found 9, expected a whole number from 1 to 5",
        "a.toml:11:17: pretrain.learning_rate: found nan, expected a number from 0 to 1000000",
        "a.toml:4:1: data.validation_fraction: found beside data.validation, expected one of them",
        "a.toml:15:1: shared.step_min: found 0.5, expected at most shared.step_initial = 0.0001",
    ];
    let mut found = errors_of(text, &[]);
    let mut expected = expected.map(String::from).to_vec();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

/// What a file that can't be read has and lacks isn't known.
#[test]
fn a_syntax_error_has_a_place_and_is_told_alone() {
    let found = errors_of("[data]\ntrain = [\"a\"\n[model]\n", &[]);
    assert!(found.len() == 1 && found[0].starts_with("a.toml:3:"), "{found:?}");
    let found = errors_of("[model]\n[model]\n", &["experts.count=0"]);
    assert!(found.len() == 2 && found[1].starts_with("--set experts.count=0: "), "{found:?}");
    assert_eq!(errors_of("", &[]), ["a.toml: data.train: missing, expected a list of shards"]);
}

/// A key that is wrong has a value that nobody knows, so nothing is said of what stands beside it.
#[test]
fn of_keys_that_are_wrong_only_that_is_told() {
    let text = "[data]\ntrain = [\"a\"]\n[shared]\nstep_initial = \"?\"\nstep_min = 0.5\n\
                [experts]\nclass_patience = 2\npatience = true\n";
    let wrong = ["data.validation_fraction=1", "rounds.count=0", "pretrain.epochs=-1"];
    let found = errors_of(text, &wrong);
    let keys: Vec<&str> = found.iter().map(|line| line.split(": ").nth(1).unwrap()).collect();
    let expected =
        ["experts.patience", "shared.step_initial", "data.validation_fraction", "pretrain.epochs"];
    assert_eq!(keys, expected, "{found:?}");
}

/// What help says that a key takes is what it takes: both ends, and nothing beyond them.
#[test]
fn every_key_takes_what_it_says_and_nothing_beyond() {
    let all = documented();
    for key in KEYS {
        let taken = |value: &str| {
            let set = [format!("{}={value}", key.name)];
            let error = Job::parse("[data]\ntrain = [\"a\"]", "a.toml", &set).err();
            // Not what it stands beside.
            let beside = ["beside", "without", "at most shared.", "at least shared."];
            error.is_none_or(|error| beside.iter().any(|word| error.text.contains(word)))
        };
        let (inside, outside, says): (Vec<String>, Vec<String>, String) = match key.takes {
            Takes::Integer(least, most) => {
                let above = i128::from(most) + 1;
                let says = match most {
                    i64::MAX => format!("from {least}"),
                    _ => format!("{least} to {most}"),
                };
                let inside = [least, most].map(|number| number.to_string()).to_vec();
                let outside = vec![(least - 1).to_string(), above.to_string(), "1.5".into()];
                (inside, outside, says)
            }
            Takes::Number(least, most) | Takes::ZeroOr(least, most) => {
                let zero = matches!(key.takes, Takes::ZeroOr(..));
                let short = |number: f64| match number == 0.0 || number >= 1e-3 {
                    true => number.to_string(),
                    false => format!("{number:?}"),
                };
                let says = format!(
                    "{}{} to {}",
                    if zero { "0 or " } else { "" },
                    short(least),
                    short(most)
                );
                let text = |number: f64| format!("{number:?}");
                let mut inside = vec![text(least), text(most)];
                inside.extend(zero.then(|| "0".into()));
                let below = if least == 0.0 { -f64::MIN_POSITIVE } else { least.next_down() };
                let mut outside = vec![text(below), text(most.next_up())];
                outside.extend(["nan", "inf", "-inf", "1e999", "-1"].map(String::from));
                outside.extend(zero.then(|| "1e-9".into()));
                (inside, outside, says)
            }
            Takes::Boolean => {
                (vec!["true".into(), "false".into()], vec!["0".into()], "true or false".into())
            }
            Takes::Choice(names) => {
                let mut outside = vec!["nothing-of-that".into(), "1".into(), "".into()];
                outside.extend(names.iter().map(|name| name.to_uppercase()));
                (names.iter().map(|name| name.to_string()).collect(), outside, names.join(", "))
            }
            Takes::Text => (vec!["a".into(), "".into()], vec!["1".into(), "[]".into()], "".into()),
            Takes::Texts => (vec!["[\"a\"]".into()], vec!["a".into(), "[1]".into()], "".into()),
            Takes::Layers => {
                let inside = ["[]", "[{dense=1}]", "[{dense=1048576}]", "[{gating=true}]"];
                let outside = ["[{dense=0}]", "[{dense=1048577}]", "[{gating=false}]", "[1]", "a"];
                (inside.map(String::from).to_vec(), outside.map(String::from).to_vec(), "".into())
            }
        };
        inside.iter().for_each(|value| assert!(taken(value), "{}={value}", key.name));
        outside.iter().for_each(|value| assert!(!taken(value), "{}={value}", key.name));
        let name = key.name.split_once('.').unwrap().1;
        let lines = all.lines().filter(|line| line.split(" = ").next().unwrap().ends_with(name));
        assert!(lines.into_iter().any(|line| line.contains(&says)), "{}: {says}", key.name);
    }
}

#[test]
fn only_what_is_near_is_meant() {
    let hint = |set: &str| {
        let line = errors_of("[data]\ntrain = [\"a\"]", &[set]).swap_remove(0);
        line.split_once("did you mean ").map(|(_, name)| name.to_string()).unwrap_or_default()
    };
    for (set, expected) in [
        ("experts.seed=1", "run.seed?"),
        ("expert.count=1", "experts?"),
        ("pretrain.lerning_rate=1", "pretrain.learning_rate?"),
        ("data.trian=[]", "data.train?"),
        ("experts.l1=1", "experts.l2?"),
        ("experts.batchsize=1", "experts.batch?"),
        ("pretrain.xyz=1", ""),
        ("model.layers=1", ""),
        ("x.y=1", ""),
        ("model.shared=[{gatin=true}]", "gating?"),
        ("model.shared=[{units=3}]", ""),
        ("model.shared=[{kernel=3}]", ""),
    ] {
        assert_eq!(hint(set), expected, "{set}");
    }
    let of = |layer: &str| errors_of("", &[&format!("model.shared=[{layer}]")]).swap_remove(0);
    assert!(of("{gating=1}").ends_with("model.shared: gating: found 1, expected true"));
    assert!(of("{}").ends_with("{ gating = true } or { residual = true }"), "{}", of("{}"));
}

/// A line break in the value of one key doesn't begin another.
#[test]
fn an_override_sets_one_key() {
    let text = "[data]\ntrain = [\"a\"]";
    for set in
        ["run.seed=5\nthreads=3", "run.seed=5\n[experts]\ncount=9", "run.seed=5\r\nthreads=3"]
    {
        let found = errors_of(text, &[set]);
        assert!(found.len() == 1 && found[0].contains("run.seed: found \"5"), "{found:?}");
    }
    let lines = ["model.shared=[{gating=true},\n{dense=7}]".to_string()];
    assert_eq!(Job::parse(text, "a.toml", &lines).unwrap().model.shared.len(), 2);
}

#[test]
fn overrides_win_and_their_errors_name_them() {
    let overrides =
        ["experts.solver=adam", "model.shared=[{gating=true},{dense=7}]", "run.seed = 5"];
    let text = "[data]\ntrain = [\"a\"]\n[run]\nseed = 3\n";
    let job = Job::parse(text, "a.toml", &overrides.map(String::from)).unwrap();
    assert_eq!(
        (job.experts.solver, job.experts.learning_rate, job.run.seed),
        (Solver::MiniBatch(MiniBatchSolver::Adam), 0.01, 5)
    );
    let dense = Layer::Dense { units: 7, activation: Activation::Relu };
    assert_eq!(job.model.shared, [Layer::Gating, dense]);
    let found = errors_of(text, &["experts.count=0", "nonsense", "run.sed=1"]);
    assert_eq!(
        found,
        [
            "--set experts.count=0: experts.count: found 0, expected a whole number from 1 to 1024",
            "--set nonsense: expected section.key=value",
            "--set run.sed=1: run.sed: unknown key; hint: did you mean run.seed?",
        ]
    );
}

#[test]
fn defaults_are_those_of_the_method() {
    let job = Job::parse("[data]\ntrain = [\"a\"]", "a.toml", &[]).unwrap();
    assert_eq!(job.data.validation_rows(), Validation::None);
    assert_eq!((job.model.dummy, job.model.epsilon), (Dummy::Learned, 1e-5));
    assert_eq!(
        (job.shared.step_initial, job.shared.step_min, job.shared.step_max),
        (1e-4, 1e-9, 0.1)
    );
    assert_eq!((job.run.row_blocks, job.experts.learning_rate), (256, 1.0));
}

#[test]
fn the_sign_of_zero_means_nothing() {
    let text = "[data]\ntrain = [\"a\"]\n[model]\nepsilon = -0.0\n[experts]\ndropout = -1e-400";
    let job = Job::parse(text, "a.toml", &[]).unwrap();
    assert!(job.model.epsilon.is_sign_positive() && job.experts.dropout.is_sign_positive());
    assert!(!job.to_toml().contains("-0"));
}

#[test]
fn the_documented_keys_are_those_of_the_program() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/jobs/all-keys.toml");
    if std::env::var_os("REELSCALE_BLESS").is_some() {
        std::fs::write(path, documented()).unwrap();
    }
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text == documented(), "jobs/all-keys.toml is stale: run with REELSCALE_BLESS=1");
    let all = Job::parse(&text, "all-keys.toml", &[]).unwrap();
    let least = Job::parse("[data]\ntrain = [\"hdf5-data/train/*.h5\"]", "a.toml", &[]).unwrap();
    assert_eq!(all, least);
}

/// Whoever has the program alone has the documentation of all keys.
#[test]
fn help_lists_every_key() {
    assert!(reelscale("train --help").stdout().contains(&documented()));
    assert!(!reelscale("train -h").stdout().contains("[pretrain]"), "the short one doesn't");
}

#[test]
fn every_job_of_the_project_is_valid() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/jobs");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let jobs: Vec<_> = paths.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    assert!(jobs.len() >= 7, "{jobs:?}");
    for path in jobs {
        let text = std::fs::read_to_string(&path).unwrap();
        let job = Job::parse(&text, &path.display().to_string(), &[]);
        assert!(job.is_ok(), "{}", job.unwrap_err().text);
    }
}

/// A job in which every key has another value than its default.
fn job_without_defaults() -> Job {
    let other = |takes: Takes, default: Default| match takes {
        Takes::Integer(least, most) => (least + (most - least).min(7)).to_string(),
        Takes::Number(least, most) | Takes::ZeroOr(least, most) => {
            format!("{:?}", least + (most - least) / 3.0)
        }
        Takes::Boolean => matches!(default, Default::Always("false")).to_string(),
        Takes::Choice(names) => format!("\"{}\"", names[names.len() - 1]),
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

proptest! {
    #[test]
    fn no_text_makes_it_panic(
        text in "[\\[\\]a-z=. \n\"{}0-9_-]{0,80}",
        assignment in "\\PC{0,20}",
    ) {
        let _ = Job::parse(&text, "a.toml", &[assignment]);
    }
}
