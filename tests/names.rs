//! Names of classes: from a list into shards, models and results; classes that are matched by them;
//! a model to begin with.

mod common;
#[path = "names/initial_model.rs"]
mod initial_model;
#[path = "names/planted.rs"]
mod planted;
#[path = "names/results.rs"]
mod results;

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use common::place::{CONVERT, Place, warnings};
use common::shards::{change, python};
use common::{reelscale, tfrecords};
use planted::{named, planted, write};
use reelscale::internals::data::{Dataset, ShardInfo, find};
use reelscale::{Exit, load};
use serde_json::Value;

/// Rows of three classes by name, and the same by number.
fn three_classes(place: &Place) {
    place.write("names.txt", "cat\n\"big, \"\"bad\"\" dog\"\ncaf\u{e9}\n".as_bytes());
    place.write("named.csv", b"id,x,y,label\na,1,2,cat\nb,3,4,caf\xc3\xa9;cat\nc,5,6,\n");
    place.write("numbered.csv", b"id,x,y,label\na,1,2,0\nb,3,4,2;0\nc,5,6,\n");
}

fn names_in(pattern: &Path) -> Vec<String> {
    let paths = find(&[pattern.display().to_string()]).unwrap();
    let names = ShardInfo::read(&paths[0]).unwrap().class_names().unwrap().expect("it has names");
    (0..names.count()).map(|class| names.of(class).to_string()).collect()
}

#[test]
fn a_list_of_names_goes_with_shards_of_any_format() {
    let place = Place::new();
    three_classes(&place);
    let names = ["cat", "big, \"bad\" dog", "caf\u{e9}"];
    let csv = "convert --from csv --features x,y --labels label --ids id";
    let convert = |command: &str, output: &str, file: &str| {
        let command = place.convert_as(&format!("{command} --output"), output, &[file]);
        command.in_folder(&place.path("")).stdout()
    };
    convert(&format!("{csv} --names names.txt"), "named", "named.csv");
    convert(&format!("{csv} --classes 3"), "numbered", "numbered.csv");
    assert_eq!(names_in(&place.path("named/*.h5")), names);
    // They are no part of what rows are.
    let hash = |output: &str| reelscale("inspect --hash").path(&place.path(output)).stdout();
    assert_eq!(hash("named"), hash("numbered"));
    let told = reelscale("inspect").path(&place.path("named")).stdout();
    let line =
        "names      of 3 classes, such as \"cat\", \"big, \\\"bad\\\" dog\", \"caf\u{e9}\"\n";
    assert!(told.contains(line), "{told}");
    assert!(!reelscale("inspect").path(&place.path("numbered")).stdout().contains("names"));
    let shard = find(&[place.path("named/*.h5").display().to_string()]).unwrap().remove(0);
    let code =
        "assert list(f['class_names'].asstr()[:]) == ['cat', 'big, \"bad\" dog', 'caf\\xe9']";
    python("r", &[(shard, code.into())]);

    // Records and text say classes by number; the list says how many there are.
    place.write("a.tfrecord", &tfrecords::video(b"a", &[0, 2]));
    convert("convert --from tfrecord --features rgb:3 --names names.txt", "records", "a.tfrecord");
    assert_eq!(names_in(&place.path("records/*.h5")), names);
    place.write("a.txt", b"1 2 3\n0,2 0:1 1:2\n");
    convert("convert --from svmlight --names names.txt", "text", "a.txt");
    assert_eq!(names_in(&place.path("text/*.h5")), names);

    let refused = |command: &str, file: &str, code: i32| {
        let command = place.convert_as(command, "out", &[file]);
        command.in_folder(&place.path("")).fails_with(code)
    };
    let others = CONVERT.replace("--output", "--names names.txt --output");
    let told = refused(&others, "a.tfrecord", 2);
    assert!(told.contains("names.txt: found 3 names, expected --classes' 10"), "{told}");
    place.write("latin.txt", b"cat\ncaf\xe9\ndog\n");
    let told = refused(&format!("{csv} --names latin.txt --output"), "numbered.csv", 4);
    assert!(told.contains("latin.txt: line 2: ") || told.contains("isn't UTF-8"), "{told}");
}

#[test]
fn shards_must_agree_in_names() {
    let place = Place::new();
    let path = |name: &str| place.path(name);
    let (plain, list) = ((0..4).collect::<Vec<usize>>(), named(&["cat", "", "dog", "owl"]));
    write(&path("a.h5"), 0..20, &plain, Some(&list));
    write(&path("b.h5"), 20..40, &plain, Some(&named(&["cat", "", "Dog", "owl"])));
    write(&path("c.h5"), 40..60, &plain, None);
    let told = reelscale("inspect").path(&path("a.h5")).path(&path("b.h5")).fails_with(4);
    let expected = "b.h5: class_names: class 2: found \"Dog\", expected \"dog\" as in ";
    assert!(told.contains(expected) && told.contains("a.h5"), "{told}");
    let told = reelscale("inspect").path(&path("a.h5")).path(&path("c.h5")).stdout();
    assert!(told.contains("such as \"cat\", \"dog\", \"owl\"; in 1 shards\n"), "{told}");

    // A flipped byte of a name is damage.
    let mut bytes = fs::read(path("a.h5")).unwrap();
    let at = bytes.windows(3).position(|bytes| bytes == b"owl").unwrap();
    bytes[at] ^= 1;
    fs::write(path("d.h5"), bytes).unwrap();
    let told = reelscale("inspect").path(&path("d.h5")).fails_with(4);
    assert!(told.contains("d.h5: found a wrong digest"), "{told}");

    // Without a proof they are read all the same, and kept where one is made.
    let copied = |to: &str| fs::copy(path("a.h5"), path(to)).map(|_| path(to)).unwrap();
    let wrong = |code: &str| format!("del f['class_names']\n{code}");
    let short = wrong("f['class_names'] = np.array([b'cat'])");
    let long = wrong("f['class_names'] = np.array([b'x' * 1025] * 4)");
    let texts = wrong("f['class_names'] = ['a', 'b', 'c', 'd']");
    let odd = wrong("f['class_names'] = np.array([b'\\xff'] * 4)");
    let files = [
        (copied("e.h5"), ""),
        (copied("short.h5"), &short),
        (copied("long.h5"), &long),
        (copied("texts.h5"), &texts),
        (copied("odd.h5"), &odd),
    ];
    if !change(&files) {
        return;
    }
    reelscale("inspect --seal").path(&path("e.h5")).stdout();
    assert_eq!(names_in(&path("e.h5")), ["cat", "", "dog", "owl"]);
    for (name, expected) in [
        ("short.h5", "found fixed-length bytes (3) [1], expected fixed-length texts"),
        ("long.h5", "found fixed-length bytes (1025) [4], expected fixed-length texts"),
        ("texts.h5", "found a variable-length text [4]"),
        ("odd.h5", "class 0: found a name that isn't UTF-8"),
    ] {
        let told = reelscale("inspect").path(&path(name)).fails_with(4);
        assert!(told.contains(&format!("{name}: dataset \"class_names\": {expected}")), "{told}");
    }
}

#[test]
fn a_model_has_the_names_of_its_classes_also_after_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (plain, list) = ((0..12).collect::<Vec<usize>>(), planted(12));
    write(&path("named.h5"), 0..400, &plain, Some(&list));
    write(&path("unnamed.h5"), 0..400, &plain, None);
    let job = |shard: &str| initial_model::job(&path(shard), "");
    let saved = |shard: &str, output: &str, ranks: usize| {
        let (job, checkpoints) = (job(shard), path(&format!("{output}-checkpoints")));
        let stopped = initial_model::train_until(&job, ranks, &checkpoints, &path(output), true);
        assert!(!stopped.unwrap(), "told to stop");
        let ended = initial_model::train_until(&job, 3 - ranks, &checkpoints, &path(output), false);
        assert!(ended.unwrap());
        load(&reelscale::Comm::serial(), &path(output)).unwrap()
    };
    let (with, without) = (saved("named.h5", "with", 1), saved("unnamed.h5", "without", 2));
    let names = with.names.clone().expect("names");
    assert_eq!((0..12).map(|class| names.of(class)).collect::<Vec<_>>(), list);
    assert!(without.names.is_none());
    // They are no part of what is computed, and models without names are as before.
    assert_eq!((&with.shared, &with.experts), (&without.shared, &without.experts));
    let hash = |model: &str| common::json(&path(model).join("manifest.json"), "content_hash");
    assert_eq!(hash("with"), hash("without"));
    let told = reelscale("inspect").path(&path("with")).stdout();
    assert!(told.contains("names      of 12 classes, such as \"class 0\""), "{told}");
    let code = "assert f['class_names'].asstr()[3] == 'class 3' and 'shared' not in f";
    python("r", &[(path("with/experts-00000.h5"), code.into())]);
    // What is exported has them, of a checkpoint too.
    let newest = |output: &str| {
        let all = fs::read_dir(path(&format!("{output}-checkpoints"))).unwrap();
        all.map(|one| one.unwrap().path()).max().unwrap()
    };
    let exported = |model: &Path| {
        let command = reelscale("export --to safetensors --model").path(model).arg("--output");
        command.path(&path("exported")).stdout();
        let bytes = fs::read(path("exported")).unwrap();
        fs::remove_file(path("exported")).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
        header["__metadata__"]["class_names"].as_str().map(String::from)
    };
    let listed = Some(serde_json::to_string(&list).unwrap());
    assert_eq!(exported(&path("with")), listed);
    assert_eq!(exported(&newest("with")), listed);
    assert_eq!(exported(&path("without")), None);
    assert_eq!(exported(&newest("without")), None);
}

/// The files of a test on data of the same classes under other names and numbers.
struct Elsewhere {
    folder: tempfile::TempDir,
}

/// Number of classes of the model there.
const CLASSES: usize = 12;

impl Elsewhere {
    /// `own.h5` and a model of its classes; in `other.h5` the same rows, whose classes have other
    /// numbers, and another class that rows have.
    fn new() -> Elsewhere {
        let elsewhere = Elsewhere { folder: tempfile::tempdir().unwrap() };
        let path = |name: &str| elsewhere.path(name);
        let plain: Vec<usize> = (0..CLASSES).collect();
        write(&path("own.h5"), ROWS, &plain, Some(&planted(CLASSES)));
        let (places, list) = moved(CLASSES);
        write(&path("other.h5"), ROWS, &places, Some(&list));
        write(&path("numbered.h5"), ROWS, &places, None);
        let job = initial_model::job(&path("own.h5"), "");
        initial_model::train_until(&job, 1, &path("checkpoints"), &path("model"), false).unwrap();
        elsewhere
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

const ROWS: Range<u64> = 0..400;

/// Other places of `classes` classes, and all names there: those of the planted classes, and one
/// that isn't planted, which every fifth row has.
fn moved(classes: usize) -> (Vec<usize>, Vec<String>) {
    let places: Vec<usize> = (0..classes).map(|class| (5 * class + 3) % (classes + 1)).collect();
    let mut list = vec!["unknown".to_string(); classes + 1];
    for (class, place) in places.iter().enumerate() {
        list[*place] = planted(classes)[class].clone();
    }
    (places, list)
}

#[test]
fn evaluation_finds_classes_by_name() {
    let elsewhere = Elsewhere::new();
    let path = |name: &str| elsewhere.path(name);
    let evaluate = |data: &str, figures: &str| {
        let command = reelscale("evaluate --format json --threads 1 --model").path(&path("model"));
        let command = command.arg("--data").path(&path(data));
        command.arg("--by-class").path(&path(figures))
    };
    let expected = evaluate("own.h5", "own.csv").stdout();
    assert_eq!(evaluate("other.h5", "other.csv").stdout(), expected);
    let figures = |name: &str| fs::read_to_string(path(name)).unwrap();
    assert_eq!(figures("own.csv"), figures("other.csv"));
    assert!(figures("own.csv").contains("\n3,class 3,"), "{}", figures("own.csv"));
    let told = warnings(&evaluate("other.h5", "again.csv"));
    let line = "matched by name and go by the model's numbers: 12 of 13 are among the model's 12";
    assert!(told.contains(line) && told.contains("\"unknown\" for instance isn't"), "{told}");
    assert!(!warnings(&evaluate("own.h5", "third.csv")).contains("by name"));

    // By number there are other classes.
    let told = evaluate("numbered.h5", "none.csv").fails_with(4);
    assert!(told.contains("and 13 classes, expected"), "{told}");
    let plain: Vec<usize> = (0..CLASSES).collect();
    write(&path("foreign.h5"), ROWS, &plain, Some(&vec!["?".to_string(); CLASSES]));
    let told = evaluate("foreign.h5", "none.csv").fails_with(4);
    assert!(told.contains("--data: found the classes \"?\""), "{told}");
    // Shards without names are taken to have those of the others, and that is said.
    write(&path("silent.h5"), 400..420, &plain, None);
    let both = evaluate("own.h5", "both.csv").arg("--data").path(&path("silent.h5"));
    let told = warnings(&both);
    assert!(told.contains("--data: 1 of 2 shards have no names of classes, such as"), "{told}");
    // And the library says what the program does.
    let error = Dataset::new(vec![
        ShardInfo::read(&path("own.h5")).unwrap(),
        ShardInfo::read(&path("foreign.h5")).unwrap(),
    ]);
    assert_eq!(error.unwrap_err().exit, Exit::Input);
}
