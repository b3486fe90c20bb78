//! Conversions that fail or are killed half-way, and what the same command makes of what they left;
//! damage that is passed over.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::common::place::{Place, warnings};
use super::common::tfrecords::video;
use super::common::{copy, files, reelscale, signal, without_mpi};

/// A file of more than a group's 8 MiB.
fn large(first: u8) -> Vec<u8> {
    (0..2500_u32).flat_map(|row| video(&id(first, row), &[i64::from(row % 9)])).collect()
}

/// An id of 4,000 bytes.
fn id(first: u8, row: u32) -> Vec<u8> {
    let mut id = format!("{row:05}{first:03}").into_bytes();
    id.resize(4000, b'x');
    id
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

const FILES: [&str; 3] = ["a.tfrecord", "b.tfrecord", "c.tfrecord"];

/// Three groups, in the last of which an id of the first stands again, and their shards.
fn three(place: &Place) -> BTreeMap<String, Vec<u8>> {
    place.write(FILES[0], &large(0));
    place.write(FILES[1], &large(1));
    place.write(FILES[2], &[large(2), video(&id(0, 7), &[])].concat());
    let printed = warnings(&place.convert_as(super::CONVERT, "whole", &FILES));
    assert!(printed.contains("the same id twice"), "{printed}");
    files(&place.path("whole"))
}

#[test]
fn the_same_command_goes_on_with_what_one_that_failed_has_done() {
    if without_mpi() {
        return;
    }
    let place = Place::new();
    let whole = three(&place);
    let (good, unfinished) = (large(1), place.path("out/reelscale-unfinished"));
    for ranks in [1, 2, 3] {
        place.write(FILES[1], &good[..good.len() - 7]);
        let printed = place.convert(&FILES).ranks(ranks).fails_with(4);
        assert!(printed.contains("b.tfrecord: record 2499"), "{printed}");
        // What is whole waits, under names that nobody takes for shards.
        assert_eq!(names(&place.path("out")), ["reelscale-unfinished"]);
        let kept = names(&unfinished);
        let groups = kept.iter().filter(|name| name.starts_with("group-")).count();
        let told = format!("{groups} shards done so far: the same command goes on");
        let told = told.replace("1 shards", "1 shard");
        assert!(printed.contains(&told), "{printed}");
        assert!(groups >= 1 && !kept.iter().any(|name| name.ends_with(".h5")), "{kept:?}");
        // Mended, on other ranks.
        place.write(FILES[1], &good);
        let printed = warnings(&place.convert(&FILES).ranks(4 - ranks));
        let left = 3 - groups;
        assert!(printed.contains(&format!("goes on with {left} of 3 groups")), "{printed}");
        assert!(printed.contains("the same id twice"), "{printed}");
        assert!(files(&place.path("out")) == whole, "{ranks} ranks");
        fs::remove_dir_all(place.path("out")).unwrap();
    }
}

#[test]
fn the_same_command_goes_on_after_a_kill_and_takes_nothing_that_changed() {
    let place = Place::new();
    let whole = three(&place);
    let (out, unfinished) = (place.path("out"), place.path("out/reelscale-unfinished"));
    let started = place.convert(&FILES).spawn();
    while !unfinished.join("group-00000").exists() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    // While it is at it no other is let in.
    signal("STOP", started.launcher());
    let printed = place.convert(&FILES).fails_with(2);
    assert!(printed.contains("wait for it") && printed.contains("another process"), "{printed}");
    signal("KILL", started.launcher());
    started.finish();
    let printed = place
        .convert_as("convert --from tfrecord --features rgb:3 --classes 11 --output", "out", &FILES)
        .fails_with(2);
    let told = "found shards of another command, which was stopped: it had --classes = 10, this \
                one has --classes = 11";
    assert!(printed.contains(told), "{printed}");
    // Its first shard may have its name already; nothing else may have come.
    fs::hard_link(unfinished.join("shard-00000-0000.h5.part"), out.join("shard-00000-0000.h5"))
        .unwrap();
    place.write("out/notes", b"mine");
    let printed = place.convert(&FILES).fails_with(2);
    assert!(printed.contains("notes: isn't of the command that was stopped"), "{printed}");
    fs::remove_file(out.join("notes")).unwrap();
    let saved = Place::new();
    copy(&unfinished, &saved.path("unfinished"));
    let as_killed = || {
        fs::remove_dir_all(&out).unwrap();
        copy(&saved.path("unfinished"), &unfinished);
    };
    // A byte that turned in what is kept: that group is converted anew.
    for name in ["group-00000", "shard-00000-0000.h5.part", ""] {
        as_killed();
        if !name.is_empty() {
            let mut bytes = fs::read(unfinished.join(name)).unwrap();
            let last = bytes.len() - 30;
            bytes[last] ^= 4;
            fs::write(unfinished.join(name), bytes).unwrap();
        }
        let printed = warnings(&place.convert(&FILES));
        let all = printed.contains("goes on with 3 of 3 groups");
        assert_eq!(all, !name.is_empty(), "{name}: {printed}");
        assert!(files(&out) == whole, "{name}");
    }
    // A file that is another one by now.
    as_killed();
    place.write(FILES[0], &large(9));
    let printed = warnings(&place.convert(&FILES));
    assert!(printed.contains("goes on with 3 of 3 groups"), "{printed}");
    assert!(files(&out)["shard-00000-0000.h5"] != whole["shard-00000-0000.h5"]);
    let others = |files: &BTreeMap<String, Vec<u8>>| files.clone().into_iter().skip(1).collect();
    let (found, expected): (Vec<_>, Vec<_>) = (others(&files(&out)), others(&whole));
    assert!(found == expected);
}

/// What a set has in it: ids.
fn ids(folder: &Path) -> Vec<String> {
    let paths = reelscale::internals::data::find(&[format!("{}/*.h5", folder.display())]).unwrap();
    let infos = paths.iter().map(|path| super::ShardInfo::read(path).unwrap()).collect();
    let dataset = super::Dataset::new(infos).unwrap();
    let ids = dataset.reader().ids(0..dataset.rows()).unwrap();
    ids.into_iter().map(|id| String::from_utf8(id).unwrap()).collect()
}

#[test]
fn damage_is_passed_over_where_that_is_asked_for() {
    let place = Place::new();
    let record = |id: &str, labels: &[i64]| video(id.as_bytes(), labels);
    // A record whose data are damaged, one that makes no sense, a file that is cut, one of zeros.
    let mut flipped = record("b", &[1]);
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    place.write("1.tfrecord", &[record("a", &[1]), flipped, record("c", &[2])].concat());
    place.write("2.tfrecord", &[record("d", &[77]), record("e", &[3])].concat());
    let cut = [record("f", &[1]), record("g", &[1])].concat();
    place.write("3.tfrecord", &cut[..cut.len() - 5]);
    place.write("4.tfrecord", &[0; 100]);
    let all = ["1.tfrecord", "2.tfrecord", "3.tfrecord", "4.tfrecord"];
    place.convert(&all).fails_with(4);
    let command = format!("{} --output", super::CONVERT.replace("--output", "--skip-damaged"));
    for ranks in if without_mpi() { 1..2 } else { 1..4 } {
        let printed = warnings(&place.convert_as(&command, "skipped", &all).ranks(ranks));
        assert!(printed.contains("4 damaged records and files are left out"), "{printed}");
        assert_eq!(ids(&place.path("skipped")), ["a", "c", "e", "f"]);
        let told = fs::read_to_string(place.path("skipped/damaged.txt")).unwrap();
        let lines: Vec<_> = told.lines().collect();
        for (line, expected) in lines.iter().zip([
            "1.tfrecord: record 1 at byte",
            "2.tfrecord: record 0: labels",
            "3.tfrecord: record 1 at byte",
            "4.tfrecord: record 0 at byte 0: found 100 zero bytes",
        ]) {
            assert!(line.contains(expected), "{line}, expected {expected}");
        }
        assert_eq!(lines.len(), 4, "{told}");
        fs::remove_dir_all(place.path("skipped")).unwrap();
    }
    let few = command.replace("--skip-damaged", "--skip-damaged --max-damaged 3");
    let printed = place.convert_as(&few, "few", &all).fails_with(4);
    assert!(printed.contains("found 4 damaged records and files, expected at most 3"), "{printed}");
    let printed = place.convert_as(&command, "none", &["4.tfrecord"]).fails_with(4);
    assert!(printed.contains("found no record"), "{printed}");
}

#[test]
fn damaged_lines_of_text_are_passed_over() {
    let place = Place::new();
    place.write("t.csv", b"id,x,y,l\na,1,2,0\nb,1\nc,one,2,0\nd,3,4,1\n");
    place.write("t.txt", b"4 2 9\n1 0:1\n1 5:1\n 1:2\n2 0:x\n");
    let csv = "convert --from csv --features x,y --ids id --classes 3 --labels l --skip-damaged \
               --output";
    let printed = warnings(&place.convert_as(csv, "csv", &["t.csv"]));
    assert!(printed.contains("line 3: found 2 cells") && printed.contains("\"one\""), "{printed}");
    let text = "convert --from svmlight --skip-damaged --output";
    let printed = warnings(&place.convert_as(text, "text", &["t.txt"]));
    assert!(printed.contains("2 damaged records and files are left out"), "{printed}");
    // Ids are those of the lines.
    assert_eq!(ids(&place.path("text")), ["t-0000000", "t-0000002"]);
}

#[test]
fn going_on_with_damage_passed_over_is_going_on() {
    let place = Place::new();
    place.write("a.tfrecord", &large(0));
    let good = large(1);
    place.write("b.tfrecord", &good[..good.len() - 7]);
    let files = ["a.tfrecord", "b.tfrecord"];
    let skipping = super::CONVERT.replace("--output", "--skip-damaged --output");
    place.convert(&files).fails_with(4);
    let printed = warnings(&place.convert_as(&skipping, "out", &files));
    assert!(printed.contains("goes on with 1 of 2 groups"), "{printed}");
    assert!(printed.contains("1 damaged records and files are left out"), "{printed}");
    assert_eq!(ids(&place.path("out")).len(), 4999);
    // What was passed over counts as done only where it may be passed over.
    let few = skipping.replace("--skip-damaged", "--skip-damaged --max-damaged 0");
    let printed = place.convert_as(&few, "few", &files).fails_with(4);
    assert!(printed.contains("expected at most 0"), "{printed}");
    let printed = warnings(&place.convert_as(&skipping, "few", &files));
    assert!(printed.contains("goes on with"), "{printed}");
    let hint = reelscale("convert --help").stdout();
    assert!(hint.contains("--max-damaged"));
}

#[test]
fn a_set_that_is_split_goes_on_too() {
    let place = Place::new();
    let (good, both) = (large(1), ["a.tfrecord", "b.tfrecord"]);
    place.write("a.tfrecord", &large(0));
    place.write("b.tfrecord", &good[..good.len() - 7]);
    let command = super::CONVERT.replace("--output", "--split train=0.7,test=0.3 --output");
    place.convert_as(&command, "out", &both).fails_with(4);
    let (out, unfinished) = (place.path("out"), place.path("out/reelscale-unfinished"));
    assert_eq!(names(&out), ["reelscale-unfinished"]);
    // As a kill leaves it while shards get their names.
    let name = "shard-00000-0000.h5";
    fs::create_dir(out.join("train")).unwrap();
    let part = unfinished.join(format!("train.{name}.part"));
    fs::hard_link(&part, out.join("train").join(name)).unwrap();
    place.write("b.tfrecord", &good);
    place.write("out/train/notes", b"mine");
    let printed = place.convert_as(&command, "out", &both).fails_with(2);
    assert!(printed.contains("train/notes: isn't of the command"), "{printed}");
    fs::remove_file(out.join("train/notes")).unwrap();
    let again = place.convert_as(&command, "out", &both).output();
    let told = String::from_utf8_lossy(&again.stderr);
    assert!(told.contains("goes on with 1 of 2 groups"), "{told}");
    let whole = place.convert_as(&command, "whole", &both).stdout();
    assert_eq!(names(&out), ["test", "train"]);
    for side in names(&out) {
        assert!(files(&out.join(&side)) == files(&place.path("whole").join(&side)), "{side}");
    }
    // Rows, labels and shards of each side, whoever has converted them.
    let sides = |text: &str| -> Vec<String> {
        let lines = text.lines().skip(1).map(|line| line.split(": ").nth(1).unwrap().into());
        lines.collect()
    };
    assert_eq!(sides(&String::from_utf8(again.stdout).unwrap()), sides(&whole));
    assert_eq!(sides(&whole).len(), 2, "{whole}");
}
