//! What convert and synthesize refuse, what they warn of, and what they leave behind.

mod common;
#[path = "records/going_on.rs"]
mod going_on;

use std::path::{Path, PathBuf};

use common::place::{CONVERT, Place, warnings};
use common::tfrecords::{entry, example, floats, integers, sequence, strings, video};
use common::{reelscale, signal};
use reelscale::internals::data::{Dataset, ShardInfo};

fn with(id: &[u8], entries: &[Vec<u8>]) -> Vec<u8> {
    example(&[&[entry("id", &strings(&[id]))], entries].concat())
}

fn rgb() -> Vec<u8> {
    entry("mean_rgb", &floats(&[1.0, 2.0, 3.0]))
}

#[test]
fn a_field_of_another_type_or_size_is_told_with_its_record() {
    let place = Place::new();
    let frame = |bytes: &[u8]| strings(&[bytes]);
    let clip = |lists: &[(&str, Vec<Vec<u8>>)]| sequence(&[entry("id", &strings(&[b"a"]))], lists);
    let table: Vec<(&str, Vec<u8>, &str)> = vec![
        (
            "labels as words",
            with(b"a", &[entry("labels", &strings(&[b"1", b"Game"])), rgb()]),
            "labels: found the text \"Game\" at 1 of byte strings, expected whole numbers",
        ),
        (
            "labels as a number in bytes",
            with(b"a", &[entry("labels", &strings(&[b"\x01\0"])), rgb()]),
            "labels: found the text \"\\u{1}\\0\" at 0 of byte strings, expected whole numbers",
        ),
        (
            "labels as floats that aren't whole",
            with(b"a", &[entry("labels", &floats(&[1.0, 2.5])), rgb()]),
            "labels: found 2.5 at 1 of floats, expected whole numbers",
        ),
        (
            "labels as floats that were other numbers",
            with(b"a", &[entry("labels", &floats(&[16_777_216.0])), rgb()]),
            "labels: found 16777216 at 0 of floats, expected whole numbers",
        ),
        (
            "labels of two kinds",
            with(b"a", &[entry("labels", &[floats(&[1.0]), integers(&[2])].concat()), rgb()]),
            "labels: found 1 float and 1 whole number, expected whole numbers",
        ),
        (
            "labels as a vector",
            with(b"a", &[entry("labels", &integers(&[0, 1, 0, 0, 1, 0, 0, 0, 0, 0])), rgb()]),
            "labels: found 10 values, all 0 or 1, expected class numbers",
        ),
        (
            "labels beyond the classes",
            with(b"a", &[entry("labels", &integers(&[10])), rgb()]),
            "labels: found 10, expected 0 to 9",
        ),
        (
            "labels below 0",
            with(b"a", &[entry("labels", &integers(&[-1])), rgb()]),
            "labels: found -1, expected 0 to 9",
        ),
        (
            "labels under another key",
            with(b"a", &[entry("label", &integers(&[1])), rgb()]),
            "labels: not found; found the keys id (1 byte string of 1 byte), \
             label (1 whole number), mean_rgb (3 floats); hint: --labels-key label, or \
             --labels-key labels",
        ),
        (
            "labels among the frames",
            clip(&[("rgb", vec![frame(b"abc")]), ("labels", vec![integers(&[1])])]),
            "labels: found a feature list, expected whole numbers in the context",
        ),
        (
            "features under another key",
            with(b"a", &[entry("inception", &floats(&[1.0; 5]))]),
            "rgb: not found; found the keys id (1 byte string of 1 byte), inception (5 floats); \
             hint: --features inception:5",
        ),
        (
            "features as bytes",
            with(b"a", &[entry("mean_rgb", &strings(&[&[0; 12]]))]),
            "mean_rgb: found 1 byte string of 12 bytes, expected 3 floats; they may be 3 \
             float32 numbers; hint: --raw-floats",
        ),
        (
            "features as bytes of float64",
            with(b"a", &[entry("mean_rgb", &strings(&[&[0; 24]]))]),
            "mean_rgb: found 1 byte string of 24 bytes, expected 3 floats; they may be 3 \
             float64 numbers; hint: write such bytes as float32",
        ),
        (
            "features as whole numbers",
            with(b"a", &[entry("rgb", &integers(&[1, 2, 3]))]),
            "rgb: found 3 whole numbers, expected 3 floats",
        ),
        (
            "too many features",
            with(b"a", &[entry("rgb", &floats(&[0.0; 4]))]),
            "rgb: found 4 floats, expected 3 floats",
        ),
        (
            "a feature that is no number",
            with(b"a", &[entry("rgb", &floats(&[0.0, f32::NAN, 0.0]))]),
            "rgb: found NaN at 1, expected a number",
        ),
        (
            "frames of too many floats",
            clip(&[("rgb", vec![floats(&[1.0; 4])])]),
            "rgb: frame 0: found 4 floats, expected 3 bytes or 3 floats",
        ),
        (
            "a frame that may be several",
            clip(&[("rgb", vec![floats(&[1.0; 6])])]),
            "rgb: frame 0: found 6 floats, expected 3 bytes or 3 floats; they may be 2 frames end \
             to end; hint: --flat-frames",
        ),
        (
            "frames of floats in bytes",
            clip(&[("rgb", vec![frame(&[0; 12])])]),
            "rgb: frame 0: found 12 bytes, expected 3 bytes or 3 floats; they may be 3 float32 \
             numbers; hint: --raw-floats",
        ),
        (
            "a frame that is no number",
            clip(&[("rgb", vec![floats(&[1.0; 3]), floats(&[1.0, f32::INFINITY, 1.0])])]),
            "rgb: frame 1: found inf at 1, expected a number",
        ),
        (
            "frames of two kinds",
            clip(&[("rgb", vec![floats(&[1.0; 3]), frame(b"abc")])]),
            "rgb: frame 1: found 3 bytes, expected 3 floats as in the frames before",
        ),
        (
            "several values in a frame, of other sizes",
            clip(&[("rgb", vec![frame(b"abc"), strings(&[b"abc", b"de"])])]),
            "rgb: frame 1: found 2 byte strings of 5 bytes in all, expected 3 bytes as in the \
             frames before",
        ),
        (
            "a frame of nothing",
            clip(&[("rgb", vec![Vec::new()])]),
            "rgb: frame 0: found nothing, expected 3 bytes or 3 floats",
        ),
        (
            "frames of another size",
            clip(&[("rgb", vec![frame(b"abcd")])]),
            "rgb: frame 0: found 4 bytes, expected 3 bytes",
        ),
        (
            "frames under another key",
            clip(&[("audio", vec![frame(b"abcd")]), ("time", vec![floats(&[1.0])])]),
            "rgb: not found; found the keys audio (frames of 4 bytes), \
             id (1 byte string of 1 byte), time (frames of 1 float); hint: --features audio:4",
        ),
        (
            "an id that is a float",
            example(&[entry("id", &floats(&[7.0])), rgb()]),
            "id: found 1 float, expected 1 byte string or 1 whole number",
        ),
        (
            "two ids as numbers",
            example(&[entry("id", &integers(&[7, 8])), rgb()]),
            "id: found 2 whole numbers, expected 1 byte string or 1 whole number",
        ),
        (
            "two ids",
            example(&[entry("id", &strings(&[b"a", b"b"])), rgb()]),
            "id: found 2 byte strings of 2 bytes in all, expected 1 byte string or 1 whole number",
        ),
        (
            "no id",
            example(&[rgb()]),
            "id: found neither id nor video_id; found the keys mean_rgb (3 floats)",
        ),
        (
            "everything is elsewhere",
            sequence(
                &[
                    entry("clip/path", &strings(&[b"clips/a.mp4"])),
                    entry("clip/label", &integers(&[1])),
                ],
                &[("RGB/floats", vec![floats(&[1.0; 8])]), ("RGB/bytes", vec![frame(b"abc")])],
            ),
            "id: found neither id nor video_id; labels: not found; rgb: not found; found the keys \
             RGB/bytes (frames of 3 bytes), RGB/floats (frames of 8 floats), clip/label (1 whole \
             number), clip/path (1 byte string of 11 bytes); hint: --id-key clip/path \
             --features RGB/bytes:3 --labels-key clip/label",
        ),
        (
            "an id that is too long",
            video(&[b'z'; 65537], &[1]),
            "id: found 65537 bytes, expected at most 65536",
        ),
        ("an id that ends with NUL", video(b"a\0", &[1]), "id: found NUL at its end"),
    ];
    for (name, record, expected) in table {
        place.write("a.tfrecord", &[video(b"good", &[1]), record].concat());
        let printed = place.convert(&["a.tfrecord"]).fails_with(4);
        let expected = format!("a.tfrecord: record 1: {expected}");
        assert!(printed.contains(&expected), "{name}:\n{printed}\n{expected}");
        assert!(!place.path("out").exists(), "{name}: something is left");
    }
}

#[test]
fn what_is_unusual_but_kept_is_warned_of() {
    let place = Place::new();
    place.write("empty.tfrecord", b"");
    place.write("good.tfrecord", &[video(&[b'z'; 65536], &[1]), video(b"", &[2])].concat());
    let command = place.convert(&["empty.tfrecord", "good.tfrecord"]);
    let printed = warnings(&command);
    assert!(printed.contains("empty.tfrecord: found no record"), "{printed}");
    assert!(printed.contains("1 records have an empty id"), "{printed}");
    let shown = reelscale("inspect").path(&place.path("out")).stdout();
    assert!(shown.contains("rows       2"), "{shown}");

    // No labels at all, and those of segments only.
    let segments = entry("segment_labels", &integers(&[3]));
    place.write("b.tfrecord", &with(b"a", &[rgb(), segments]));
    let output = place.path("unlabelled");
    let command = reelscale(CONVERT).path(&output).path(&place.path("b.tfrecord"));
    let printed = warnings(&command);
    let expected = "no record has labels; in the first record: found the keys id (1 byte string of \
                    1 byte), mean_rgb (3 floats), segment_labels (1 whole number)";
    assert!(printed.contains(expected), "{printed}");
    assert!(printed.contains("1 records carry segment_labels, which aren't used"), "{printed}");

    // Another key, as its error says, both ways.
    place.write("c.tfrecord", &with(b"a", &[rgb(), entry("label", &integers(&[3, 4]))]));
    for (key, expected) in [("label", "2 labels"), ("labels", "0 labels")] {
        let command = reelscale(CONVERT).path(&place.path(key)).arg("--labels-key").arg(key);
        let text = command.path(&place.path("c.tfrecord")).stdout();
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_conversion_without_a_record_or_of_two_kinds_fails() {
    if common::without_mpi() {
        return;
    }
    let place = Place::new();
    place.write("a.tfrecord", b"");
    place.write("b.tfrecord", b"");
    let printed = place.convert(&["a.tfrecord", "b.tfrecord"]).ranks(2).fails_with(4);
    assert!(printed.contains("a.tfrecord: found no record nor in the files after it"), "{printed}");
    // More than a group of 8 MiB each, so that two ranks have one each.
    let clip = sequence(
        &[entry("id", &strings(&[b"a"])), entry("labels", &integers(&[1]))],
        &[("rgb", vec![strings(&[b"abc"]); 300])],
    );
    place.write("a.tfrecord", &video(b"a", &[1]).repeat(120_000));
    place.write("b.tfrecord", &clip.repeat(4000));
    for ranks in [1, 2] {
        let printed = place.convert(&["a.tfrecord", "b.tfrecord"]).ranks(ranks).fails_with(4);
        assert!(printed.contains("b.tfrecord: record 0: found frame-level features"), "{printed}");
        assert!(printed.contains("as in") && printed.contains("a.tfrecord: record 0"), "{printed}");
        // Each by itself is whole, and waits; together they are refused again.
        let again = place.convert(&["a.tfrecord", "b.tfrecord"]).fails_with(4);
        assert!(again.contains("b.tfrecord: record 0: found frame-level features"), "{again}");
        let left: Vec<_> = std::fs::read_dir(place.path("out")).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        std::fs::remove_dir_all(place.path("out")).unwrap();
    }
}

#[test]
fn nothing_is_left_of_a_conversion_that_has_done_no_group() {
    if common::without_mpi() {
        return;
    }
    let place = Place::new();
    let good = video(&[b'x'; 4000], &[1]).repeat(2500);
    for name in ["a.tfrecord", "b.tfrecord"] {
        place.write(name, &good[..good.len() - 7]);
    }
    // A folder that was there stays, one that was made goes.
    for ranks in [1, 2, 3] {
        std::fs::create_dir(place.path("out")).unwrap();
        let printed = place.convert(&["a.tfrecord", "b.tfrecord"]).ranks(ranks).fails_with(4);
        assert!(printed.contains("a.tfrecord: record 2499"), "{printed}");
        assert_eq!(std::fs::read_dir(place.path("out")).unwrap().count(), 0);
        std::fs::remove_dir(place.path("out")).unwrap();
        place.convert(&["a.tfrecord", "b.tfrecord"]).ranks(ranks).fails_with(4);
        assert!(!place.path("out").exists());
    }
}

#[test]
fn what_a_killed_command_leaves_is_taken_by_nobody() {
    let place = Place::new();
    let output = place.path("out");
    let command = "synthesize --rows 10000000 --classes 20 --features 64 --rows-per-shard 1000";
    let running = reelscale(command).arg("--output").path(&output).spawn();
    let parts = output.join("reelscale-unfinished");
    let shards = || std::fs::read_dir(&parts).map_or(0, |entries| entries.count());
    while shards() < 3 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    signal("KILL", running.launcher());
    running.finish();
    let printed = reelscale("inspect").path(&output).fails_with(4);
    assert!(printed.contains("matches no file"), "{printed}");
    let find = |pattern: PathBuf| {
        reelscale::internals::data::find(&[pattern.to_str().unwrap().to_string()])
    };
    assert!(find(place.path("**/*.h5")).is_err());
    // Even one that has its name already, and one that is named outright.
    let part = std::fs::read_dir(&parts).unwrap().next().unwrap().unwrap().path();
    std::fs::copy(&part, output.join("synthetic-00000.h5")).unwrap();
    for path in [output.join("*.h5"), output.join("synthetic-00000.h5"), part] {
        let printed = find(path).unwrap_err().text;
        assert!(printed.contains("found shards of a command that is under way"), "{printed}");
    }
    let printed = reelscale(command).arg("--output").path(&output).fails_with(2);
    assert!(printed.contains("reelscale-unfinished: found shards of a command"), "{printed}");
}

#[test]
fn what_is_no_file_is_refused() {
    let place = Place::new();
    let pipe = place.path("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::fs::create_dir(place.path("folder.tfrecord")).unwrap();
    std::os::unix::fs::symlink("nowhere", place.path("link.tfrecord")).unwrap();
    let paths = [
        (pipe.clone(), "found a pipe, device or socket"),
        (PathBuf::from("/dev/zero"), "found a pipe, device or socket"),
        (PathBuf::from("/dev/null"), "found a pipe, device or socket"),
        (place.path("folder.tfrecord"), "is a folder"),
        (place.path("folder*"), "found a folder"),
        (place.path("link*"), "No such file"),
    ];
    for (path, expected) in &paths {
        for from in ["tfrecord", "svmlight"] {
            let command = CONVERT.replace("tfrecord", from);
            let command = reelscale(&command).path(&place.path("out")).path(path).within(20);
            let printed = command.fails_with(4);
            assert!(printed.contains(expected), "{printed}");
        }
        let command = reelscale("inspect").path(path).within(20);
        assert_ne!(command.output().status.code(), Some(0), "{path:?}");
    }
    let printed = reelscale("evaluate --predictions /dev/zero --labels").path(&pipe).within(20);
    assert!(printed.fails_with(4).contains("found a device or socket"), "");
}

#[test]
fn sizes_that_no_command_would_read_are_refused() {
    let place = Place::new();
    place.write("a.tfrecord", &video(b"a", &[1]));
    let wide: Vec<String> = (0..17).map(|part| format!("p{part}:1048575")).collect();
    let printed = reelscale("convert --from tfrecord --classes 10 --features")
        .arg(wide.join(","))
        .arg("--output")
        .path(&place.path("out"))
        .path(&place.path("a.tfrecord"))
        .fails_with(2);
    assert!(
        printed.contains("--features: part \"p16\": found 1048575 features, expected at least 1"),
        "{printed}"
    );
    let table = [
        ("1 16777216 5\n0 0:1\n", "features: found 16777216, expected 1 to 16777215"),
        ("1 5 16777217\n0 0:1\n", "labels: found 16777217, expected 1 to 16777216"),
        ("1 0 5\n0 0:1\n", "features: found 0, expected 1 to 16777215"),
        ("0 5 5\n", "found no record"),
    ];
    for (text, expected) in table {
        let input = place.write("a.svm", text.as_bytes());
        let command = reelscale("convert --from svmlight --output").path(&place.path("out"));
        let printed = command.path(&input).fails_with(4);
        assert!(printed.contains(expected), "{printed}");
        assert!(!place.path("out").exists());
    }
    // The largest that are accepted are read by other commands.
    let input = place.write("a.svm", b"1 16777215 16777216\n16777215 0:1\n");
    let command = reelscale("convert --from svmlight --output").path(&place.path("out"));
    command.path(&input).stdout();
    let shown = reelscale("inspect").path(Path::new(&place.path("out"))).stdout();
    assert!(shown.contains("classes    16777216"), "{shown}");
}
