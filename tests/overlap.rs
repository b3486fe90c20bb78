//! Rows that train and validate, too, are an error, or told where the job allows that; ids that
//! stand twice are told.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{TestCommand, reelscale};
use reelscale::internals::data::{Kind, ShardHeader, ShardWriter};
use reelscale::internals::example::{Example, FeaturePart, Values};

/// A row of a shard: its id, and what its features and labels follow from.
type Row<'a> = (&'a str, usize);

fn write(path: &Path, rows: &[Row], kind: Kind) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let parts = vec![FeaturePart { name: "rgb".into(), size: 4 }];
    let header = ShardHeader { parts, class_count: 5, kind, source: "a test".into() };
    let mut writer = ShardWriter::create(path, &header).unwrap();
    for (id, of) in rows {
        let number = |at: usize| ((of * 7 + at * 3) % 23) as f32 - 11.0;
        let values = match kind {
            Kind::Video => Values::Video((0..4).map(number).collect()),
            Kind::Frames => Values::Frames((0..8).map(|at| (of * 5 + at) as u8).collect()),
        };
        let labels = vec![(of % 5) as u32];
        writer.push(&Example { id: id.as_bytes().to_vec(), labels, values }).unwrap();
    }
    writer.finish().unwrap();
}

/// Rows of names `a0`, `a1`, ... and their own content.
fn rows(letter: &str, numbers: std::ops::Range<usize>) -> Vec<(String, usize)> {
    let first = letter.bytes().next().unwrap() as usize * 1000;
    numbers.map(|number| (format!("{letter}{number}"), first + number)).collect()
}

struct Case {
    folder: tempfile::TempDir,
}

impl Case {
    /// Shards `train/*.h5` and `validation/*.h5`.
    fn new(train: &[&[(String, usize)]], validation: &[&[(String, usize)]], kind: Kind) -> Case {
        let case = Case { folder: tempfile::tempdir().unwrap() };
        for (list, shards) in [("train", train), ("validation", validation)] {
            for (index, rows) in shards.iter().enumerate() {
                let rows: Vec<Row> = rows.iter().map(|(id, of)| (id.as_str(), *of)).collect();
                write(&case.path(&format!("{list}/{index}.h5")), &rows, kind);
            }
        }
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn train(&self, more: &str) -> TestCommand {
        let job = format!(
            "[data]\ntrain = [\"train/*.h5\"]\n{more}\n[pretrain]\nranks = 4096\nepochs = 1\n\
             [rounds]\ncount = 0\n[run]\nthreads = 1\nrow_blocks = 5\n"
        );
        fs::write(self.path("job.toml"), job).unwrap();
        let _ = fs::remove_dir_all(self.path("run"));
        reelscale("train job.toml --output run").in_folder(self.folder.path()).within(60)
    }

    /// Errors without, and warnings with, `data.allow_overlap`, on one rank and three.
    fn overlaps(&self, expected: &[&str]) {
        let more = "validation = [\"validation/*.h5\"]";
        for ranks in ["serial", "threads=3"] {
            let text = self.train(more).arg("--comm").arg(ranks).fails_with(4);
            assert!(expected.iter().all(|part| text.contains(part)), "{text}\n{expected:?}");
            assert!(text.contains("data.allow_overlap = true"), "{text}");
            let allowed = format!("{more}\nallow_overlap = true");
            let printed = warnings(&self.train(&allowed).arg("--comm").arg(ranks));
            assert!(expected.iter().all(|part| printed.contains(part)), "{printed}\n{expected:?}");
        }
    }
}

/// The warnings of a command that succeeds.
fn warnings(command: &TestCommand) -> String {
    let output = command.output();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    text.lines().filter(|line| line.contains("WARN")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_shard_that_trains_doesnt_validate_by_another_name() {
    let (a, b) = (rows("a", 0..40), rows("b", 0..30));
    let case = Case::new(&[&a, &b], &[], Kind::Video);
    let other = case.path("validation/other.h5");
    fs::create_dir(case.path("validation")).unwrap();
    let expected = ["data.validation: 1 of its shards have the rows of shards of data.train: \
         validation/other.h5 those of train/1.h5"];
    let train = case.path("train/1.h5");
    fs::copy(&train, &other).unwrap();
    case.overlaps(&expected);
    for link in [fs::hard_link, |from: &Path, to: &Path| std::os::unix::fs::symlink(from, to)] {
        fs::remove_file(&other).unwrap();
        link(&train, &other).unwrap();
        case.overlaps(&expected);
    }
    // Twice in one list isn't more than told.
    fs::copy(case.path("train/0.h5"), case.path("train/2.h5")).unwrap();
    let printed = warnings(&case.train(""));
    let twice = "40 rows that train have the id of another one: video \"a0\", train/0.h5 row 0 and \
                 train/2.h5 row 0";
    assert!(printed.contains(twice) && printed.lines().count() == 1, "{printed}");
}

#[test]
fn a_video_that_trains_doesnt_validate_in_another_shard() {
    for kind in [Kind::Video, Kind::Frames] {
        let (a, mut b) = (rows("a", 0..40), rows("b", 0..30));
        b[17] = a[33].clone();
        b[20] = a[3].clone();
        // The same id alone.
        b[5].0 = "a7".into();
        b[6].0 = "a8".into();
        let case = Case::new(&[&a[..20], &a[20..]], &[&b], kind);
        case.overlaps(&[
            "data.validation: 2 rows are rows of data.train, too, with the same id, labels and \
             features: video \"a3\", train/0.h5 row 3 and validation/0.h5 row 20",
        ]);
    }
}

#[test]
fn the_same_id_alone_is_told_once() {
    let (a, mut b) = (rows("a", 0..40), rows("b", 0..30));
    b[5].0 = "a7".into();
    b[6].0 = "a38".into();
    // No id is nobody's.
    b[8].0 = String::new();
    b[9].0 = String::new();
    let case = Case::new(&[&a[..20], &a[20..]], &[&b], Kind::Video);
    for ranks in ["serial", "threads=3"] {
        let train = case.train("validation = [\"validation/*.h5\"]").arg("--comm").arg(ranks);
        let printed = warnings(&train);
        let expected = "2 rows that validate have the id of one that trains, with other labels or \
                        features: video \"a7\", train/0.h5 row 7 and validation/0.h5 row 5";
        let no_id = "2 rows have no id, so nothing tells whether they both train and validate: \
                     validation/0.h5 row 8";
        assert!(printed.contains(expected) && printed.contains(no_id), "{printed}");
        assert_eq!(printed.lines().count(), 2, "{printed}");
    }
    // Nothing to tell.
    let case = Case::new(&[&a], &[&rows("b", 0..30)], Kind::Video);
    assert_eq!(warnings(&case.train("validation = [\"validation/*.h5\"]")), "");
}

/// Copies of a video that fall on both sides of a fraction are told, since nobody chose them.
#[test]
fn copies_on_both_sides_of_a_fraction_are_told() {
    let a = rows("a", 0..40);
    let case = Case::new(&[&a, &a], &[], Kind::Video);
    let printed = warnings(&case.train("validation_fraction = 0.4"));
    assert!(printed.contains("are rows of data.train, too, with the same id"), "{printed}");
}

/// A copy of a shard beside it, or a video in two shards, counts twice: that is told.
#[test]
fn what_is_measured_twice_is_told() {
    let (a, mut b) = (rows("a", 0..40), rows("b", 0..30));
    let case = Case::new(&[&a, &b], &[], Kind::Video);
    case.train("").stdout();
    b[4] = a[7].clone();
    let shard: Vec<Row> = b.iter().map(|(id, of)| (id.as_str(), *of)).collect();
    write(&case.path("other/1.h5"), &shard, Kind::Video);
    fs::copy(case.path("train/0.h5"), case.path("other/2.h5")).unwrap();
    let evaluate = |data: &str, ranks: &str| {
        let command = reelscale("evaluate --model run/model --comm").arg(ranks).arg("--data");
        let files = data.split(' ').fold(command, |command, file| command.arg(file));
        files.in_folder(case.folder.path()).within(60)
    };
    for ranks in ["serial", "threads=3"] {
        let twice = "with the id of another one, counted all the same: video";
        let told = warnings(&evaluate("train/*.h5 other/2.h5", ranks));
        assert!(told.contains(&format!("40 rows {twice} \"a0\", train/0.h5 row 0 and")), "{told}");
        let told = warnings(&evaluate("train/0.h5 other/1.h5", ranks));
        assert!(told.contains(&format!("1 row {twice} \"a7\", train/0.h5 row 7 and")), "{told}");
        assert_eq!(warnings(&evaluate("train/*.h5", ranks)), "");
        let annotate = reelscale("annotate --model run/model --comm").arg(ranks);
        let annotate = annotate.arg("--output").arg(format!("{ranks}/")).arg("--data");
        let annotate = annotate.arg("train/0.h5").arg("other/1.h5").in_folder(case.folder.path());
        let inspect = reelscale("inspect train/0.h5 other/1.h5 --comm").arg(ranks);
        let refused = ": `evaluate` refuses such predictions";
        for (command, what) in [(annotate, refused), (inspect.in_folder(case.folder.path()), "")] {
            let told = warnings(&command);
            let twice = format!("1 row with the id of another one{what}: video \"a7\", train/0.h5");
            assert!(told.contains(&twice) && told.contains("other/1.h5 row 4"), "{told}");
        }
        // The same file by two patterns, or two names.
        let told = evaluate("train/*.h5 train/0.*", ranks).fails_with(4);
        assert!(told.ends_with("train/0.h5: named twice"), "{told}");
    }
}
