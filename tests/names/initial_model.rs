//! `model.initial`: the model that a run begins with.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

use reelscale::internals::kernel::mixture::layout::Layout;
use reelscale::{
    Annotator, Checkpoints, Comm, Data, Exit, Job, Report, Result, load, run_threads, save, train,
};

use super::common::{json, reelscale};
use super::planted::{planted, write};
use super::{CLASSES, Elsewhere, ROWS, moved};

const JOB: &str = "
[model]
shared = [{ dense = 12, activation = \"relu\" }]
[pretrain]
epochs = 1
batch = 128
experts = 2
[experts]
count = 3
epochs = 1
batch = 128
[shared]
iterations = 1
[rounds]
count = 1
[run]
threads = 1
row_blocks = 8
";

/// A job on this shard, with more lines `section.key = value`.
pub fn job(shard: &Path, sets: &str) -> Job {
    let train = format!("data.train = [\"{}\"]", shard.display());
    let lines = sets.lines().map(str::trim).filter(|line| !line.is_empty());
    let sets: Vec<String> = std::iter::once(train).chain(lines.map(String::from)).collect();
    Job::parse(JOB, "job", &sets).unwrap()
}

/// Trains to the end, or until the first boundary where it is told to `stop`; the model of a run
/// that is done is saved in `model`. Whether it is done.
pub fn train_until(
    job: &Job,
    ranks: usize,
    checkpoints: &Path,
    model: &Path,
    stop: bool,
) -> Result<bool> {
    let done = run_threads(ranks, |comm| {
        let data = Data::open(comm, job)?;
        let checkpoints = Checkpoints::in_folder(comm, checkpoints, job, &data);
        comm.stop_flag().store(stop, Relaxed);
        let trained = train(comm, job, data, &mut Report::silent(), Some(checkpoints))?;
        if trained.done {
            save(comm, model, &trained.annotator)?;
        }
        Ok(trained.done)
    });
    Ok(done?.swap_remove(0))
}

/// The numbers of a class's mixture.
fn mixture(model: &Annotator, class: usize) -> Vec<f32> {
    let block = |layout: &&Layout| layout.classes.contains(&class);
    let layouts = &model.experts.layouts;
    let block = layouts.iter().position(|layout| block(&layout)).unwrap();
    let places = layouts[block].places_of(class - layouts[block].classes.start).0;
    places.into_iter().map(|place| model.experts.parameters[block][place]).collect()
}

/// Steps of length 0: what a run begins with is what it ends with.
const NOTHING_LEARNED: &str = "pretrain.epochs = 0
    experts.learning_rate = 0.0
    experts.l2 = 0.0
    shared.iterations = 0";

#[test]
fn a_run_begins_with_the_mixtures_of_classes_of_the_same_name() {
    let elsewhere = Elsewhere::new();
    let path = |name: &str| elsewhere.path(name);
    let initial = format!("model.initial = \"{}\"", path("model").display());
    let trained = |shard: &str, sets: &str, output: &str, ranks: usize| -> Annotator {
        let _ = fs::remove_dir_all(path(output));
        let (job, checkpoints) = (job(&path(shard), sets), path(&format!("{output}-{ranks}")));
        // Stopped once, and gone on with on other ranks.
        assert!(!train_until(&job, ranks, &checkpoints, &path(output), true).unwrap());
        assert!(train_until(&job, 4 - ranks, &checkpoints, &path(output), false).unwrap());
        load(&Comm::serial(), &path(output)).unwrap()
    };
    let own = load(&Comm::serial(), &path("model")).unwrap();
    let random = trained("other.h5", NOTHING_LEARNED, "random", 1);
    let warm = trained("other.h5", &format!("{NOTHING_LEARNED}\n{initial}"), "warm", 1);
    assert_eq!(warm.shared, own.shared);
    assert_ne!(random.shared, own.shared);
    let (places, list) = moved(CLASSES);
    for (class, place) in places.iter().enumerate() {
        assert_eq!(mixture(&warm, *place), mixture(&own, class), "class {class}");
        assert_ne!(mixture(&random, *place), mixture(&own, class), "class {class}");
    }
    let other = list.iter().position(|name| name == "unknown").unwrap();
    assert_eq!(mixture(&warm, other), mixture(&random, other), "a new class begins at random");
    // The same on any ranks, learning from there or not.
    assert_eq!(trained("other.h5", &format!("{NOTHING_LEARNED}\n{initial}"), "warm", 3), warm);
    let learned = |output: &str, ranks| {
        trained("other.h5", &format!("pretrain.epochs = 0\n{initial}"), output, ranks)
    };
    let (one, three) = (learned("one", 1), learned("three", 3));
    assert_eq!((&one.shared, &one.experts), (&three.shared, &three.experts));
    assert_ne!(one.experts, warm.experts);

    // Without names classes of the same number are the same, if there are as many.
    let plain: Vec<usize> = (0..CLASSES).collect();
    write(&path("silent.h5"), ROWS, &plain, None);
    let silent = trained("silent.h5", &format!("{NOTHING_LEARNED}\n{initial}"), "silent", 1);
    assert_eq!((&silent.shared, &silent.experts), (&own.shared, &own.experts));
    let numbered = trained("numbered.h5", &format!("{NOTHING_LEARNED}\n{initial}"), "numbered", 1);
    assert_eq!((&numbered.shared, &numbered.experts), (&own.shared, &random.experts));
    // Other numbers of experts are other mixtures.
    let fewer = format!("{NOTHING_LEARNED}\nexperts.count = 2");
    let without = trained("own.h5", &fewer, "without", 1);
    let with = trained("own.h5", &format!("{fewer}\n{initial}"), "with", 1);
    assert_eq!((&with.shared, &with.experts), (&own.shared, &without.experts));
    // Pretraining begins with them where it has as many experts.
    let pretrained = |sets: &str, output: &str| {
        let sets = format!("pretrain.learning_rate = 0.0\nrounds.count = 0\n{initial}\n{sets}");
        trained("own.h5", &sets, output, 1)
    };
    let three = pretrained("pretrain.experts = 3", "three-experts");
    assert_eq!((&three.shared, &three.experts), (&own.shared, &own.experts));
    let two = pretrained("pretrain.experts = 2", "two-experts");
    assert_eq!(two.shared, own.shared);
    assert_ne!(two.experts, own.experts);
}

#[test]
fn a_run_goes_on_with_the_model_that_it_began_with() {
    let elsewhere = Elsewhere::new();
    let path = |name: &str| elsewhere.path(name);
    let text = format!("[data]\ntrain = [\"{}\"]\n{JOB}", path("other.h5").display());
    fs::write(path("job.toml"), text).unwrap();
    let run = |initial: &str, output: &str| {
        let command = reelscale("train").path(&path("job.toml")).arg("--set");
        let command = command.arg("pretrain.epochs=0").arg("--set");
        let command = command.arg(format!("model.initial=\"{}\"", path(initial).display()));
        command.arg("--output").path(&path(output))
    };
    let told = run("model", "run").output();
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    let line =
        "model: shared layers, and the mixtures of 12 of 13 classes (12 are the same by name)";
    assert!(told.contains(line), "{told}");
    let record = json(&path("run/run.json"), "data");
    assert_eq!(record["initial"], json(&path("model/manifest.json"), "content_hash"));

    // The same model at another place is the same; another one isn't. A run is one, too.
    fs::rename(path("model"), path("moved")).unwrap();
    assert!(run("moved", "run").output().status.success(), "a finished run");
    let told = run("run", "run").fails_with(6);
    assert!(told.contains("model.initial: found the model"), "{told}");
    run("run", "second").stdout();
    let checkpoints = path("checkpoints-2");
    let set = |initial: &str| format!("model.initial = \"{}\"", path(initial).display());
    let stopped = |initial: &str, stop: bool| {
        let job = job(&path("other.h5"), &set(initial));
        train_until(&job, 1, &checkpoints, &path("third"), stop)
    };
    assert!(!stopped("moved", true).unwrap());
    let error = stopped("run", false).unwrap_err();
    assert_eq!(error.exit, Exit::RunDirectory, "{error}");
    assert!(error.text.contains("model.initial: found the model"), "{error}");
    assert!(stopped("moved", false).unwrap());

    // What can't be begun with.
    let refused = |initial: &str, sets: &str| {
        let job = job(&path("own.h5"), &format!("{}\n{sets}", set(initial)));
        train_until(&job, 2, &path("none"), &path("none"), false).unwrap_err()
    };
    let error = refused("nowhere", "");
    assert_eq!(error.exit, Exit::RunDirectory);
    assert!(error.text.contains("found no model; hint: a finished RUN"), "{error}");
    for (sets, expected) in [
        ("model.shared = [{ dense = 13, activation = \"relu\" }]", "model.shared: found [{"),
        ("data.normalize = \"none\"", "data.normalize: found \"l2\", expected \"none\""),
    ] {
        let error = refused("moved", sets);
        assert_eq!(error.exit, Exit::Usage, "{error}");
        assert!(error.text.contains(expected), "{error}");
    }
    write(&path("same.h5"), ROWS, &(0..CLASSES).collect::<Vec<_>>(), Some(&planted(CLASSES)));
    let experts = path("moved/experts-00000.h5");
    let mut bytes = fs::read(&experts).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&experts, bytes).unwrap();
    let error = refused("moved", "");
    assert_eq!(error.exit, Exit::RunDirectory, "{error}");
}
