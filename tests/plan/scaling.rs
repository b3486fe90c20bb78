//! `reelscale scaling`: its figures are those of the runs' records, it goes on after a kill without
//! measuring anything twice, and it says when figures can't be believed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::common::{TestCommand, json, needs_mpi, reelscale, shards, signal};

/// A job of a second at most, with further lines of its expert step and of how it runs.
fn job(folder: &Path, (experts, run): (&str, &str)) -> PathBuf {
    let data = folder.join("data");
    if !data.exists() {
        shards(&data, 500, 32, 16);
    }
    let text = format!(
        "[data]\ntrain = [\"{}/*.h5\"]\nvalidation_fraction = 0.2\n[model]\n\
         shared = [{{ dense = 16 }}]\n[pretrain]\nepochs = 1\n[experts]\nepochs = 1\n{experts}\n\
         [shared]\niterations = 2\n[rounds]\ncount = 1\n[run]\nthreads = 1\nrow_blocks = 8\n\
         {run}\n",
        data.display()
    );
    let path = folder.join("job.toml");
    fs::write(&path, text).unwrap();
    path
}

fn scaling(what: &str, job: &Path, output: &Path) -> TestCommand {
    let (kind, more) = what.split_once(' ').unwrap();
    reelscale(&format!("scaling {kind}")).path(job).arg("--output").path(output).args(more)
}

fn rows(study: &Path) -> Vec<Value> {
    let text = fs::read_to_string(study.join("study.json")).unwrap_or_default();
    let study: Value = serde_json::from_str(&text).unwrap_or_default();
    study["rows"].as_array().cloned().unwrap_or_default()
}

/// (ranks, repeat) of all rows, in the order in which they were measured.
fn order(rows: &[Value]) -> Vec<(u64, u64)> {
    let number = |row: &Value, key: &str| row[key].as_u64().unwrap();
    rows.iter().map(|row| (number(row, "ranks"), number(row, "repeat"))).collect()
}

fn reasons(study: &Path) -> Vec<String> {
    let reasons = json(&study.join("result.json"), "reasons");
    let texts = reasons.as_array().unwrap().iter();
    texts.map(|reason| reason.as_str().unwrap().to_string()).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len() % 2 == 1 { values[half] } else { (values[half - 1] + values[half]) / 2.0 }
}

/// The table says what the records say: seconds of the run and of each step on its slowest rank.
fn is_of_its_records(study: &Path, ranks: &[u64], repeats: u64) {
    let record = |ranks: u64, repeat: u64| {
        let text = fs::read_to_string(study.join(format!("runs/{ranks}-ranks-{repeat}.json")));
        serde_json::from_str::<Value>(&text.unwrap()).unwrap()
    };
    let of = |ranks: u64, value: &dyn Fn(&Value) -> f64| {
        median((1..=repeats).map(|repeat| value(&record(ranks, repeat))).collect())
    };
    let seconds = |ranks: u64| of(ranks, &|record| record["seconds"].as_f64().unwrap());
    let table = fs::read_to_string(study.join("table.csv")).unwrap();
    let cells = |phase: &str, ranks: u64| -> Vec<String> {
        let start = format!("{phase},{ranks},");
        let line = table.lines().find(|line| line.starts_with(&start));
        line.unwrap_or_else(|| panic!("{start}: {table}")).split(',').map(String::from).collect()
    };
    let number = |text: &str| text.parse::<f64>().unwrap_or_else(|_| panic!("{text:?}: {table}"));
    for ranks in ranks {
        let run = cells("run", *ranks);
        assert_eq!(run[2], repeats.to_string());
        assert_eq!(number(&run[3]), seconds(*ranks), "{table}");
        assert_eq!(number(&run[7]), seconds(1) / seconds(*ranks), "speedup: {table}");
        assert_eq!(number(&run[8]), seconds(1) / seconds(*ranks) / *ranks as f64);
        assert!(number(&run[13]) > 0.0, "planned: {table}");
        if *ranks > 1 {
            let (s, p) = (seconds(1) / seconds(*ranks), *ranks as f64);
            let serial = (1.0 / s - 1.0 / p) / (1.0 - 1.0 / p);
            assert!((number(&run[11]) - serial).abs() < 1e-12, "{table}");
        }
        for step in ["pretrain", "experts", "shared"] {
            let slowest = |record: &Value| {
                let timers = record["timers"][step].as_array().unwrap().iter();
                timers.map(|seconds| seconds.as_f64().unwrap()).fold(0.0, f64::max)
            };
            assert_eq!(number(&cells(step, *ranks)[3]), of(*ranks, &slowest), "{step}: {table}");
        }
    }
}

/// Killed after its first row, a study goes on: what was measured stays as it is.
#[test]
fn a_strong_study_goes_on_and_its_figures_are_those_of_the_records() {
    needs_mpi!();
    let folder = tempfile::tempdir().unwrap();
    let (job, study) = (job(folder.path(), ("", "")), folder.path().join("study"));
    let command = scaling("strong --ranks 2,1 --repeat 2", &job, &study);
    let mut first = command.spawn();
    first.wait_for(&study.join("study.json"), "\"repeat\": 1");
    signal("KILL", first.launcher());
    assert!(!first.finish().status.success());
    let before = rows(&study);
    assert!((1..4).contains(&before.len()), "{before:?}");
    let record = fs::read(study.join("runs/1-ranks-1.json")).unwrap();

    let printed = command.stdout();
    let after = rows(&study);
    assert_eq!(after[..before.len()], before[..]);
    assert_eq!(order(&after), [(1, 1), (2, 1), (1, 2), (2, 2)], "in turns");
    assert_eq!(fs::read(study.join("runs/1-ranks-1.json")).unwrap(), record);
    is_of_its_records(&study, &[1, 2], 2);
    let left: Vec<bool> = ["run", "data"].iter().map(|name| study.join(name).exists()).collect();
    assert_eq!(left, [false, false], "only records are kept");
    let picture = fs::read_to_string(study.join("scaling.svg")).unwrap();
    assert!(picture.contains("INVALID") && picture.matches("<polyline").count() == 6);
    // It says what can't be believed, and nothing about results, which are the same.
    assert!(printed.contains("INVALID\n  1 rank: its shortest run took "), "{printed}");
    let found = reasons(&study);
    assert!(found.iter().all(|reason| !reason.contains("different")), "{found:?}");

    // Runs that can't be are refused.
    let text = fs::read_to_string(study.join("study.json")).unwrap();
    let seconds = json(&study.join("study.json"), "rows")[0]["seconds"].to_string();
    for (found, edited) in
        [("\"repeat\": 2", "\"repeat\": 1"), ("\"ranks\": 2", "\"ranks\": 0"), (&seconds, "0.0")]
    {
        assert!(text.contains(found), "{found} in {text}");
        fs::write(study.join("study.json"), text.replace(found, edited)).unwrap();
        let told = command.clone().fails_with(6);
        let text = if edited.contains("repeat") { "twice" } else { "can't be" };
        assert!(told.contains(text), "{edited}: {told}");
    }
    fs::write(study.join("study.json"), text).unwrap();
    // Nothing is left to do; another job is refused, and the study stays.
    command.stdout();
    assert_eq!(rows(&study), after);
    let other = command.clone().args("--set experts.count=3").fails_with(6);
    assert!(other.contains("holds another study: experts.count: found 3, it has 4"), "{other}");
    let other = scaling("weak --ranks 1,2 --rows-per-rank 9", &job, &study).fails_with(6);
    assert!(other.contains("holds another study"), "{other}");
    assert_eq!(rows(&study), after);
}

#[test]
fn load_beside_a_run_makes_it_invalid() {
    needs_mpi!();
    let folder = tempfile::tempdir().unwrap();
    let (job, study) = (job(folder.path(), ("", "")), folder.path().join("study"));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut turns = 0_u64;
                while !done.load(Ordering::Relaxed) {
                    turns = std::hint::black_box(turns + 1);
                }
            });
        }
        let output = scaling("strong --ranks 1 --repeat 1", &job, &study).output();
        done.store(true, Ordering::Relaxed);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    });
    assert_eq!(json(&study.join("result.json"), "verdict"), "INVALID");
    let found = reasons(&study);
    let load = found.iter().find(|reason| reason.contains("other load: "));
    let load = load.unwrap_or_else(|| panic!("{found:?}"));
    let cores: f64 = load.split(' ').nth(4).unwrap().parse().unwrap();
    // Two threads of this process on this machine's cores.
    assert!(cores > 0.5, "{load}");
}

#[test]
fn a_size_that_fails_is_recorded_and_the_others_go_on() {
    needs_mpi!();
    let folder = tempfile::tempdir().unwrap();
    let study = folder.path().join("study");
    // A grid of two rows wants two ranks.
    let path = job(folder.path(), ("row_slices = 2", "grid = \"2x1\""));
    let failed = scaling("strong --ranks 1,2 --repeat 2", &path, &study).fails_with(2);
    assert!(failed.contains("1 rank: a run failed: ") && failed.contains("run.grid"), "{failed}");
    let found = rows(&study);
    assert_eq!(order(&found), [(1, 1), (2, 1), (2, 2)], "a size that fails isn't tried again");
    assert_eq!(found[0]["exit"], 2);
    assert!(found[0]["error"].as_str().unwrap().contains("run.grid"), "{}", found[0]);
    assert!(study.join("runs/1-ranks-1.log").exists());
    let all = reasons(&study);
    assert!(all[0].starts_with("1 rank: run 1 failed with exit 2: "), "{all:?}");

    // What stands in the job wrongly is told before anything is run.
    let other = folder.path().join("other");
    let wrong = scaling("strong --ranks 1", &path, &other).args("--set experts.cuont=3");
    assert!(wrong.fails_with(2).contains("did you mean experts.count"));
    let wrong = scaling("strong --ranks 1 --rows-per-rank 5", &path, &other).fails_with(2);
    assert!(wrong.contains("--rows-per-rank"), "{wrong}");
    let uncounted =
        scaling("strong --ranks 1,2", &path, &other).arg("--launcher").arg("mpirun -n 1");
    let uncounted = uncounted.fails_with(2);
    assert!(uncounted.contains("expected {ranks} in it"), "{uncounted}");
    // One process, whatever number it is told.
    let one = folder.path().join("one");
    let alone = scaling("strong --ranks 2 --repeat 1 --threads 1", &path, &one);
    let alone = alone.args("--set run.grid=auto").arg("--launcher").arg("env RANKS={ranks}");
    let told = String::from_utf8_lossy(&alone.output().stdout).into_owned();
    assert!(told.contains("1 ranks ran, not 2"), "{told}");
    let lost = scaling("strong --ranks 1 --launcher /nowhere/mpirun", &path, &other);
    let lost = lost.fails_with(3);
    assert!(lost.contains("/nowhere/mpirun: No such file"), "{lost}");
    let foreign = scaling("strong --ranks 1", &path, folder.path()).fails_with(2);
    assert!(foreign.contains("isn't a scaling study"), "{foreign}");
}

#[test]
fn ranks_of_a_weak_study_have_as_many_rows_each() {
    needs_mpi!();
    let folder = tempfile::tempdir().unwrap();
    let (job, study) = (job(folder.path(), ("", "")), folder.path().join("study"));
    let printed = scaling("weak --ranks 1,2 --repeat 1 --rows-per-rank 300", &job, &study).stdout();
    assert!(printed.starts_with("weak scaling, 300 rows and 1 thread a rank"), "{printed}");
    for ranks in [1, 2] {
        let record = study.join(format!("runs/{ranks}-ranks-1.json"));
        assert_eq!(json(&record, "data")["train"]["rows"], 300 * ranks);
    }
    let sizes = json(&study.join("result.json"), "sizes");
    let of = |at: usize, key: &str| sizes[at][key].as_f64().unwrap();
    let seconds = |at: usize| sizes[at]["seconds"]["median"].as_f64().unwrap();
    assert_eq!(of(1, "efficiency"), seconds(0) / seconds(1) * 2.0 / 2.0);
    assert_eq!(of(1, "speedup"), 2.0 * of(1, "efficiency"));
    let found = reasons(&study);
    assert!(
        found.contains(&"1 rank: one run alone says nothing of the spread".into()),
        "{found:?}"
    );
    // Different rows have different results.
    assert!(found.iter().all(|reason| !reason.contains("different")), "{found:?}");
}

/// Shards of 200, 200 and 100 rows.
fn three_shards(folder: &Path) {
    let rows = "synthesize --rows 500 --rows-per-shard 200 --classes 32 --features 16";
    reelscale(rows).arg("--output").path(folder).output();
}

/// Each size is trained on the first rows of the job's shards, and so gives the results that these
/// rows give by hand; what changes them is refused.
#[test]
fn ranks_of_a_weak_study_have_the_first_rows_of_the_data() {
    needs_mpi!();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    three_shards(&data);
    let (job, study) = (job(folder.path(), ("", "")), folder.path().join("study"));
    let first = "weak --repeat 1 --rows-per-rank 150 --rows-from data";
    scaling(&format!("{first} --ranks 2"), &job, &study).stdout();
    let (before, two) = (rows(&study), study.join("data/2-ranks.h5"));
    let written = fs::metadata(&two).unwrap().modified().unwrap();
    let command = scaling(&format!("{first} --ranks 1,2"), &job, &study);
    let printed = command.stdout();
    assert!(
        printed.starts_with("weak scaling, 150 rows of the data and 1 thread a rank"),
        "{printed}"
    );
    assert_eq!(json(&study.join("result.json"), "rows_from"), "data");
    // It has gone on: nothing is measured or written twice.
    let after = rows(&study);
    assert_eq!((&after[..1], order(&after)), (&before[..], vec![(2, 1), (1, 1)]));
    assert_eq!(fs::metadata(&two).unwrap().modified().unwrap(), written);

    // By hand, of shards that are cut elsewhere.
    let hand = folder.path().join("hand");
    let rows_per_shard = "synthesize --rows 300 --rows-per-shard 75 --classes 32 --features 16";
    reelscale(rows_per_shard).arg("--output").path(&hand).output();
    for (ranks, shards) in [(1, "[01]"), (2, "[0-3]")] {
        let record = study.join(format!("runs/{ranks}-ranks-1.json"));
        assert_eq!(json(&record, "data")["train"]["rows"], 150 * ranks);
        let run = folder.path().join(format!("hand-{ranks}"));
        let globs = format!("data.train=[\"{}/*{shards}.h5\"]", hand.display());
        let by_hand = reelscale("--comm serial train").path(&job).arg("--output").path(&run);
        by_hand.arg("--set").arg(&globs).stdout();
        for key in ["result_hash", "model_hash"] {
            let expected = json(&run.join("run.json"), key);
            assert!(expected.is_string(), "{key}");
            assert_eq!(json(&record, key), expected, "{ranks} ranks: {key}");
        }
    }
    // A shard that is taken whole is taken where it is.
    let text = fs::read_to_string(study.join("jobs/2-ranks.toml")).unwrap();
    let shards = ["data/synthetic-00000.h5", "study/data/2-ranks.h5"];
    assert!(shards.iter().all(|name| text.contains(name)), "{text}");
    assert_eq!((text.matches(".h5").count(), study.join("data/1-ranks.h5").exists()), (2, true));

    let other = scaling("weak --ranks 1 --rows-per-rank 150", &job, &study).fails_with(6);
    let what = "holds another study: --rows-from: found synthesized, it has data";
    assert!(other.contains(what), "{other}");
    fs::copy(data.join("synthetic-00001.h5"), data.join("synthetic-00002.h5")).unwrap();
    let other = command.fails_with(6);
    assert!(other.contains("holds another study: contents of data.train: found "), "{other}");
    assert_eq!(rows(&study), after);
}

/// A shard of the study in whose values a byte has changed is written anew, and what a killed start
/// has left is removed; what isn't the program's stays.
#[test]
fn damaged_and_unfinished_rows_of_a_study_are_made_anew() {
    needs_mpi!();
    let folder = tempfile::tempdir().unwrap();
    three_shards(&folder.path().join("data"));
    let (job, study) = (job(folder.path(), ("", "")), folder.path().join("study"));
    let command = |repeats: usize| {
        let what =
            format!("weak --ranks 1 --repeat {repeats} --rows-per-rank 150 --rows-from data");
        scaling(&what, &job, &study)
    };
    command(1).stdout();
    let (shard, within) = (study.join("data/1-ranks.h5"), study.join("data"));
    let whole = fs::read(&shard).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    fs::write(&shard, &damaged).unwrap();
    let told = reelscale("inspect").path(&shard).fails_with(4);
    assert!(told.contains("dataset \"features\": can't be read"), "nothing else is: {told}");
    for left in ["1-ranks.h5.4711.tmp", "16-ranks.h5.1.tmp", "own.h5.1.tmp"] {
        fs::write(within.join(left), "half").unwrap();
    }
    let told = command(2).output();
    assert!(told.status.success(), "{told:?}");
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.contains("1-ranks.h5") && told.contains("it is written anew"), "{told}");
    assert!(fs::read(&shard).unwrap() == whole, "the same rows");
    let mut names: Vec<String> = fs::read_dir(&within)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["1-ranks.h5", "own.h5.1.tmp"]);
    assert_eq!(order(&rows(&study)), [(1, 1), (1, 2)]);
}

/// What is wrong with rows is told before anything runs, each time.
#[test]
fn data_without_the_rows_of_a_weak_study_are_refused() {
    needs_mpi!();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    three_shards(&data);
    let (job, study) = (job(folder.path(), ("", "")), folder.path().join("study"));
    let of = |rows: &str| format!("weak --ranks 1,2 --repeat 1 --rows-from data {rows}");
    let many = scaling(&of("--rows-per-rank 251"), &job, &study).fails_with(2);
    let what = "--rows-per-rank: found 251 on 2 ranks, expected 250 at most: data.train has 500 \
                rows; hint: fewer --ranks";
    assert!(many.contains(what), "{many}");
    let strong = scaling("strong --ranks 1 --rows-from data", &job, &study).fails_with(2);
    assert!(strong.contains("--rows-from: found with strong"), "{strong}");
    assert!(!study.exists());

    let command = scaling(&of("--rows-per-rank 150"), &job, &study);
    let shard = data.join("synthetic-00001.h5");
    let whole = fs::read(&shard).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    fs::write(&shard, damaged).unwrap();
    for _ in 0..2 {
        let told = command.fails_with(4);
        assert!(told.contains("synthetic-00001.h5") && told.contains("is damaged"), "{told}");
    }
    fs::remove_file(&shard).unwrap();
    let told = command.fails_with(6);
    assert!(told.contains("contents of data.train"), "{told}");
    fs::write(&shard, whole).unwrap();
    let within = study.join("data");
    fs::remove_dir_all(&within).unwrap();
    fs::write(&within, "in the way").unwrap();
    let told = command.fails_with(5);
    assert!(told.contains("study/data: "), "{told}");
    fs::remove_file(&within).unwrap();
    command.stdout();
    assert_eq!(order(&rows(&study)), [(1, 1), (2, 1)]);

    fs::remove_dir_all(&data).unwrap();
    let gone = command.fails_with(4);
    assert!(gone.contains("*.h5: matches no file"), "{gone}");
}
