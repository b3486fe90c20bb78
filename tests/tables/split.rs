//! `convert --split`: rows go to sides by their ids alone, and the set is whole or not there.

use std::collections::BTreeSet;
use std::fs;

use super::common::place::{Place, warnings};
use super::common::tfrecords::{entry, example, floats, integers, strings};
use super::common::{TestCommand, reelscale};
use super::hash;
use reelscale::internals::data::{Dataset, ShardInfo, find};

const SPLIT: &str = "--split train=0.8,test=0.2";

/// A csv of rows with the ids `v0`, `v1`, ..., a feature and a class.
fn csv(rows: std::ops::Range<usize>) -> String {
    let line = |row: usize| format!("v{row},{row},{}\n", row % 4);
    "id,x,y\n".to_string() + &rows.map(line).collect::<String>()
}

fn convert(place: &Place, options: &str, output: &str, files: &[&str]) -> TestCommand {
    let how = "convert --from csv --features x --labels y --classes 4 --ids id";
    place.convert_as(&format!("{how} {options} --output"), output, files)
}

/// The ids of a side's rows.
fn ids(place: &Place, side: &str) -> BTreeSet<Vec<u8>> {
    let paths = find(&[place.path(&format!("{side}/*.h5")).display().to_string()]).unwrap();
    let infos = paths.iter().map(|path| ShardInfo::read(path).unwrap()).collect();
    let dataset = Dataset::new(infos).unwrap();
    dataset.reader().ids(0..dataset.rows()).unwrap().into_iter().collect()
}

#[test]
fn rows_go_to_sides_by_their_ids_alone() {
    let place = Place::new();
    place.write("a.csv", csv(0..250).as_bytes());
    place.write("b.csv", csv(250..400).as_bytes());
    place.write("more.csv", csv(400..600).as_bytes());
    let printed =
        convert(&place, &format!("{SPLIT} --rows-per-shard 90"), "out", &["a.csv", "b.csv"]);
    let printed = printed.stdout();
    let (train, test) = (ids(&place, "out/train"), ids(&place, "out/test"));
    assert_eq!(train.len() + test.len(), 400);
    assert!(train.is_disjoint(&test) && (280..360).contains(&train.len()), "{}", train.len());
    for (side, rows, shards) in [("train", train.len(), 4), ("test", test.len(), 1)] {
        let line = format!("out/{side}: {rows} rows, {rows} labels, {shards} shard");
        assert!(printed.contains(&line), "{printed}");
    }
    // On other numbers of ranks the same shards.
    let options = format!("{SPLIT} --rows-per-shard 90 --comm threads=3");
    convert(&place, &options, "ranks", &["a.csv", "b.csv"]).stdout();
    for side in ["train", "test"] {
        let of = |output: &str| hash(&place, &format!("{output}/{side}"));
        assert_eq!(of("ranks"), of("out"), "{side}");
    }
    // With more rows, through another format, and in other files, each stays where it was.
    convert(&place, SPLIT, "more", &["a.csv", "b.csv", "more.csv"]).stdout();
    let all = ids(&place, "more/test");
    assert!(test.is_subset(&all) && train.is_disjoint(&all));
    let record = |row: usize| {
        let (id, label) = (format!("v{row}"), integers(&[row as i64 % 4]));
        let id = entry("id", &strings(&[id.as_bytes()]));
        example(&[id, entry("labels", &label), entry("x", &floats(&[row as f32]))])
    };
    place.write("in.tfrecord", &(0..400).rev().flat_map(record).collect::<Vec<u8>>());
    let how = "convert --from tfrecord --features x:1 --classes 4";
    place.convert_as(&format!("{how} {SPLIT} --output"), "records", &["in.tfrecord"]).stdout();
    assert_eq!(ids(&place, "records/test"), test);
    let other = format!("{SPLIT} --seed 1");
    convert(&place, &other, "other", &["a.csv", "b.csv"]).stdout();
    assert_ne!(ids(&place, "other/test"), test);
}

#[test]
fn rows_without_ids_are_split_too() {
    let place = Place::new();
    let record =
        |row: usize| example(&[entry("id", &strings(&[b""])), entry("x", &floats(&[row as f32]))]);
    place.write("in.tfrecord", &(0..100).flat_map(record).collect::<Vec<u8>>());
    let how = "convert --from tfrecord --features x:1 --classes 4";
    let command = place.convert_as(&format!("{how} {SPLIT} --output"), "out", &["in.tfrecord"]);
    assert!(warnings(&command).contains("100 records have an empty id"));
    // Such of csv are named by their place.
    place.write("a.csv", csv(0..100).as_bytes());
    let how = "convert --from csv --features x --classes 4";
    place.convert_as(&format!("{how} {SPLIT} --output"), "named", &["a.csv"]).stdout();
    for (output, side) in [("out", "train"), ("out", "test"), ("named", "train"), ("named", "test")]
    {
        let folder = place.path(output).join(side);
        assert!(fs::read_dir(&folder).unwrap().count() > 0, "{folder:?}");
    }
}

#[test]
fn a_split_set_is_whole_or_not_there() {
    let place = Place::new();
    place.write("a.csv", csv(0..50).as_bytes());
    convert(&place, SPLIT, "out", &["a.csv"]).stdout();
    assert!(!ids(&place, "out/train").is_empty());
    // As a command leaves it that is killed while shards get their names.
    fs::create_dir(place.path("out/reelscale-unfinished")).unwrap();
    std::os::unix::fs::symlink(place.path("out/train"), place.path("link")).unwrap();
    let expected = "out/reelscale-unfinished: found shards of a command that is under way";
    for folder in ["out/train", "link"] {
        let printed = reelscale("inspect").path(&place.path(folder)).fails_with(4);
        assert!(printed.contains(expected), "{printed}");
    }
    // A command that fails leaves no side.
    place.write("bad.csv", b"id,x,y\nv0,1,1\nv1,2,9\n");
    convert(&place, SPLIT, "failed", &["bad.csv"]).fails_with(4);
    assert!(!place.path("failed").exists());
    // A side without rows is told.
    place.write("one.csv", csv(0..1).as_bytes());
    let told = warnings(&convert(&place, SPLIT, "one", &["one.csv"]));
    assert!(told.contains("one/t") && told.contains("no row has come to this side"), "{told}");
}

#[test]
fn shares_that_make_no_whole_are_refused() {
    let place = Place::new();
    place.write("a.csv", csv(0..5).as_bytes());
    for (options, expected) in [
        ("--split train=0.9,test=0.2", "found shares whose sum is 1.1, expected 1"),
        ("--split a=0.5,A=0.5", "found the name \"A\" twice"),
        ("--split ../a=0.5,b=0.5", "expected a name of letters, digits, _ and -"),
        ("--split a=1.5,b=-0.5", "and a share between 0 and 1"),
        ("--seed 3", "--split"),
    ] {
        let output = convert(&place, options, "out", &["a.csv"]).output();
        let printed = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{options}: {printed}");
        assert!(printed.contains(expected), "{options}: {printed}");
        assert!(!place.path("out").exists());
    }
}
