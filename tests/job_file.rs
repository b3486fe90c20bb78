//! Job files: defaults, every error at once with its place, overrides, the documented keys.

mod common;
#[path = "job_file/records.rs"]
mod records;

use common::reelscale;
use proptest::prelude::*;
use reelscale::Job;
use reelscale::internals::job::{KEYS, Takes, Validation, documented};
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
                experts = 2000\n\
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
        "a.toml:9:11: pretrain.experts: found 2000, expected a whole number from 1 to 1024",
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
            Takes::Grid => {
                let outside = [
                    "2by1",
                    "0x2",
                    "1x0",
                    "x",
                    "2x",
                    "x3",
                    "+1x1",
                    "-1x1",
                    "1",
                    "AUTO",
                    "1 x 1",
                    "99999999999999999999x1",
                    "1x1x1",
                ];
                let outside = outside.map(|grid| format!("{grid:?}")).to_vec();
                let says = "auto or rows x columns";
                (vec!["auto".into(), "1x1".into(), "1x300".into()], outside, says.into())
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

proptest! {
    #[test]
    fn no_text_makes_it_panic(
        text in "[\\[\\]a-z=. \n\"{}0-9_-]{0,80}",
        assignment in "\\PC{0,20}",
    ) {
        let _ = Job::parse(&text, "a.toml", &[assignment]);
    }
}
