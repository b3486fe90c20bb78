//! Run directories of earlier versions (`tests/data`) go on, and finished models are what they
//! were: to literal weights, losses and metrics.

mod common;

#[path = "common/older_runs.rs"]
mod older_runs;

use common::json;
use common::pins::{Literals, Pin, numbers};
use older_runs::{Copy, STOPPED, STOPPED_LATER, copy_folder};

/// The jobs of the runs.
const JOBS: [&str; 4] = ["adam", "adagrad", "lbfgs", "frames"];

/// As runs that nobody disturbs, on one and three ranks.
#[test]
fn runs_that_were_stopped_go_on_to_their_literals() {
    let copy = Copy::new();
    let mut literals = Literals::read("older.txt");
    for name in JOBS {
        for ranks in [1, 3] {
            // Shards without proof are opened by the program alone.
            let output = format!("undisturbed-{name}-{ranks}");
            let train = copy.reelscale(&format!("train {name}.toml --output {output}"));
            train.arg("--comm").arg(format!("threads={ranks}")).stdout();
            let how = format!("undisturbed, {ranks} ranks");
            literals.check(name, &how, Pin::of_directory(&copy.path(&output)));
        }
    }
    for (run, job) in STOPPED.into_iter().chain(STOPPED_LATER) {
        for ranks in [1, 3] {
            let name = format!("{run}-{ranks}");
            copy_folder(&copy.path("runs").join(run), &copy.path(&name));
            let train = copy.reelscale(&format!("train {job}.toml --output {name}"));
            train.arg("--comm").arg(format!("threads={ranks}")).stdout();
            let how = format!("{run}, gone on with on {ranks} ranks");
            literals.check(job, &how, Pin::of_directory(&copy.path(&name)));
            let sessions = json(&copy.path(&name).join("run.json"), "sessions");
            assert!(sessions.as_array().unwrap().len() > 1, "{how}: it began anew");
        }
    }
    literals.finish();
}

/// A run that was killed between its model and its record comes to the same model, which stays; one
/// that can't be its own is refused.
#[test]
fn a_run_that_was_killed_when_its_model_was_in_place_goes_on() {
    let copy = Copy::new();
    let mut literals = Literals::read("older.txt");
    // Without a record, and with that of an earlier stop.
    for run in ["killed-irprop", "adam"] {
        copy_folder(&copy.path("runs").join(run), &copy.path(run));
        let (model, own) = (copy.path("runs/finished-adam/model"), copy.path(run).join("model"));
        copy_folder(&copy.path("runs/finished-frames/model"), &own);
        let train = copy.reelscale(&format!("train adam.toml --output {run}"));
        let told = train.fails_with(6);
        assert!(told.contains("model: exists already and isn't of this run"), "{told}");
        std::fs::remove_dir_all(&own).unwrap();
        copy_folder(&model, &own);
        let output = train.output();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && told.contains("didn't record whose it is"), "{told}");
        literals.check("adam", run, Pin::of_directory(&copy.path(run)));
        assert!(!own.join("SHA256SUMS").exists(), "the model that was there stays");
        let told = String::from_utf8_lossy(&train.output().stderr).into_owned();
        assert!(told.contains("this run is finished"), "{told}");
    }
}

/// What earlier versions have recorded is a job file of the same run.
#[test]
fn records_of_earlier_versions_are_jobs() {
    let copy = Copy::new();
    let mut literals = Literals::read("older.txt");
    for (run, job) in STOPPED.into_iter().chain(STOPPED_LATER) {
        if !["begun", "frames-pretrain", "adam", "lbfgs", "adam-shared"].contains(&run) {
            continue;
        }
        // The same directory, and a new one.
        copy_folder(&copy.path("runs").join(run), &copy.path(run));
        for output in [run.to_string(), format!("again-{run}")] {
            copy.reelscale(&format!("train runs/{run}/job.toml --output {output}")).stdout();
            literals.check(job, &output, Pin::of_directory(&copy.path(&output)));
        }
    }
}

/// `status` of all of them: stopped, killed and finished ones.
#[test]
fn runs_of_earlier_versions_say_where_they_stand() {
    let copy = Copy::new();
    let finished = [("finished-adam", "adam"), ("finished-frames", "frames")];
    for (run, _) in STOPPED.into_iter().chain(STOPPED_LATER).chain(finished) {
        let text = copy.reelscale(&format!("status --format json runs/{run}")).stdout();
        let found: serde_json::Value = serde_json::from_str(&text).unwrap();
        let state = found["state"].as_str().unwrap();
        let expected: &[&str] = match run {
            "killed-irprop" => &["killed", "unknown"],
            _ if run.starts_with("finished") => &["finished"],
            _ => &["stopped"],
        };
        assert!(expected.contains(&state), "{run}: {found}");
        let standing = (&found["step"], &found["round"], &found["done"]);
        match run {
            "lbfgs" => assert_eq!(standing, (&"experts".into(), &2.into(), &4.into()), "{found}"),
            "finished-adam" => assert_eq!(found["kept"]["metric"], "gap_at_20", "{found}"),
            _ => {}
        }
        copy.reelscale(&format!("status runs/{run}")).stdout();
    }
}

/// The model of a finished run, its metrics, and that its run has nothing left to do.
#[test]
fn finished_models_are_what_they_were() {
    let copy = Copy::new();
    let mut literals = Literals::read("older.txt");
    for (job, shards, expected) in [("adam", "videos", ADAM), ("frames", "frames", FRAMES)] {
        let run = format!("runs/finished-{job}");
        literals.check(job, &run, Pin::of_directory(&copy.path(&run)));
        let evaluate = format!("evaluate --format json --model {run}/model --data {shards}/*.h5");
        for ranks in [1, 3] {
            let command = copy.reelscale(&evaluate).arg("--comm").arg(format!("threads={ranks}"));
            let metrics = command.stdout();
            for (name, number) in expected {
                assert_eq!(numbers(&metrics, name), [number], "{run}: {name}, {ranks} ranks");
            }
        }
        let again = copy.reelscale(&format!("train {job}.toml --output {run}")).output();
        let printed = String::from_utf8_lossy(&again.stderr);
        assert!(again.status.success() && printed.contains("this run is finished"), "{printed}");
    }
}

const ADAM: [(&str, f64); 9] = [
    ("gap_at_20", 0.3580121991857245),
    ("map_at_20", 0.275529865342205),
    ("map_full", 0.2883166827599542),
    ("hit_at_1", 0.4041666666666667),
    ("hit_at_5", 0.7666666666666667),
    ("perr", 0.3625762085137085),
    ("perr_labelled", 0.43292681613577133),
    ("loss", 7.306915382668376),
    ("positives", 689.0),
];

const FRAMES: [(&str, f64); 9] = [
    ("gap_at_20", 0.3583305898838828),
    ("map_at_20", 0.30527590851965075),
    ("map_full", 0.3017996700847149),
    ("hit_at_1", 0.45),
    ("hit_at_5", 0.7083333333333334),
    ("perr", 0.3549146224146224),
    ("perr_labelled", 0.43019954232075447),
    ("loss", 7.464343288416663),
    ("positives", 349.0),
];
