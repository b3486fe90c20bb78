//! Job files: defaults, every error at once with its place, overrides, the documented keys.

use proptest::prelude::*;
use reelscale::job::{Job, Validation, documented};
use reelscale::model::spec::{Activation, Dummy, Layer};
use reelscale::optim::{MiniBatchSolver, Solver};

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
        "a.toml: data.train: missing, expected a list of shards",
        "a.toml:4:1: data.validation_fraction: found beside data.validation, expected one of them",
        "a.toml:15:1: shared.step_min: found 0.5, expected at most shared.step_initial = 0.0001",
    ];
    let mut found = errors_of(text, &[]);
    let mut expected = expected.map(String::from).to_vec();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn syntax_errors_have_a_place() {
    let found = errors_of("[data]\ntrain = [\"a\"\n[model]\n", &[]);
    assert!(found[0].starts_with("a.toml:"), "{found:?}");
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
    assert_eq!(job.data.validation, Validation::None);
    assert_eq!((job.model.dummy, job.model.epsilon), (Dummy::Learned, 1e-5));
    assert_eq!(
        (job.shared.step_initial, job.shared.step_min, job.shared.step_max),
        (1e-4, 1e-9, 0.1)
    );
    assert_eq!((job.run.row_blocks, job.experts.learning_rate), (256, 1.0));
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
