//! TFRecords as others write them: compressed, no TFRecords at all, with other types and keys, with
//! labels of segments.

#[path = "odd_records/cases.rs"]
mod cases;
mod common;
#[path = "odd_records/float_frames.rs"]
mod float_frames;

use std::io::Write;
use std::path::Path;

use common::place::{CONVERT, Place, warnings};
use common::reelscale;
use common::tfrecords::{entry, example, field, floats, integers, lists, sequence, strings, video};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use reelscale::internals::data::{Dataset, ShardInfo, find};
use reelscale::internals::formats::tfrecord::framed;
use reelscale::internals::labels::Labels;

fn dataset(folder: &Path) -> Dataset {
    let paths = find(&[format!("{}/*.h5", folder.display())]).unwrap();
    Dataset::new(paths.iter().map(|path| ShardInfo::read(path).unwrap()).collect()).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut to = GzEncoder::new(Vec::new(), Compression::default());
    to.write_all(bytes).unwrap();
    to.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut to = ZlibEncoder::new(Vec::new(), Compression::default());
    to.write_all(bytes).unwrap();
    to.finish().unwrap()
}

fn twenty() -> Vec<u8> {
    (0..20).flat_map(|row| video(format!("v{row}").as_bytes(), &[row % 10])).collect()
}

#[test]
fn compressed_files_give_the_rows_of_plain_ones() {
    let place = Place::new();
    let (plain, cut) = (twenty(), 777);
    place.write("plain.tfrecord", &plain);
    place.convert_as(CONVERT, "plain", &["plain.tfrecord"]).stdout();
    let expected = reelscale("inspect --hash").path(&place.path("plain")).stdout();
    // A header with a name, a comment, further fields and a checksum.
    let mut named = gzip(&plain);
    named[3] = 0x1e;
    named.splice(10..10, b"\x03\0abcname\0comment\0\x12\x34".iter().copied());
    for (name, bytes) in [
        ("gzip", gzip(&plain)),
        ("members", [gzip(&plain[..cut]), gzip(b""), gzip(&plain[cut..])].concat()),
        ("named", named),
        ("zlib", zlib(&plain)),
    ] {
        place.write("in.tfrecord", &bytes);
        let text = place.convert_as(CONVERT, name, &["in.tfrecord"]).stdout();
        assert!(text.contains("20 rows, 20 labels"), "{text}");
        let found = reelscale("inspect --hash").path(&place.path(name)).stdout();
        assert_eq!(found.replace(name, "plain"), expected, "{name}");
    }
    // Empty within: a warning, as for an empty file.
    place.write("none.tfrecord", &gzip(b""));
    let printed = warnings(&place.convert_as(CONVERT, "out", &["none.tfrecord", "plain.tfrecord"]));
    assert!(printed.contains("none.tfrecord: found no record"), "{printed}");
}

#[test]
fn damaged_streams_are_told_with_their_place() {
    let place = Place::new();
    let plain = twenty();
    let refused = |bytes: &[u8], expected: &str| {
        place.write("in.tfrecord", bytes);
        let printed = place.convert(&["in.tfrecord"]).fails_with(4);
        let (found, all) = (printed.contains(expected), &printed);
        assert!(found && all.contains("in.tfrecord: record "), "{printed}\n{expected}");
        assert!(!place.path("out").exists());
    };
    let (gzip, zlib) = (gzip(&plain), zlib(&plain));
    for (packed, name, tail) in [(&gzip, "gzip", 8), (&zlib, "zlib", 4)] {
        let length = packed.len();
        for cut in [1, tail, tail + 1, length / 2] {
            let text = format!("{name}: byte {} of the file: found its end", length - cut);
            refused(&packed[..length - cut], &text);
        }
        let mut changed = packed.clone();
        changed[length - 1] ^= 1;
        refused(&changed, &format!("of what its {name} stream holds"));
        refused(&[packed, &b"more"[..]].concat(), "found bytes after the end of its stream");
    }
    refused(&[&gzip[..], &[0; 512]].concat(), &format!("gzip: byte {} of", gzip.len()));
    refused(&super_long(), "found a length of 1099511627776, expected at most 268435456 in a");
    refused(&crate::gzip(&plain[..plain.len() - 3]), "found 1 bytes, expected 4: the file is cut");
    refused(&crate::gzip(b"id,f0,f1\nv1,0.1,0.2\n"), "found text that begins with \"id,f0,f1\"");
}

/// A compressed record that promises a terabyte.
fn super_long() -> Vec<u8> {
    let length = (1u64 << 40).to_le_bytes();
    let crc = crc32c::crc32c(&length).rotate_right(15).wrapping_add(0xa282_ead8);
    gzip(&[&length[..], &crc.to_le_bytes(), &[0; 1 << 20]].concat())
}

#[test]
fn what_is_no_tfrecord_is_named() {
    let place = Place::new();
    let good = twenty();
    let bare = [
        field(1, &entry("clip", &strings(&[b"v.mp4"]))),
        field(2, &lists(&[("rgb", vec![strings(&[b"abc"])])])),
    ];
    let zeros = |count: usize| [&good[..], &vec![0; count]].concat();
    let padded = format!("record 20 at byte {}: found 4096 zero bytes after record 19", good.len());
    let truncate = format!("hint: if no record is lost, truncate -s {} ", good.len());
    let table: &[(&str, Vec<u8>, &[&str])] = &[
        (
            "a pointer",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 150\n".to_vec(),
            &["record 0 at byte 0: found a Git LFS pointer, expected TFRecord; hint: git lfs pull"],
        ),
        (
            "a page",
            b"<!DOCTYPE html><html><body>403 Forbidden</body></html>\n".to_vec(),
            &["found an HTML page, expected TFRecord; hint: a server has answered with a page"],
        ),
        ("text", b"id,f0\nv1,0.1\n".to_vec(), &["found text that begins with \"id,f0\""]),
        ("our text", b"4 5 3\n0 0:1\n".to_vec(), &["\"4 5 3\"", "--from svmlight"]),
        ("a zip", b"PK\x03\x04\x14\0\0\0\x08\0\0\0\0\0".to_vec(), &["found a zip archive"]),
        ("hdf5", b"\x89HDF\r\n\x1a\n\0\0\0\0\0".to_vec(), &["found an HDF5 file"]),
        ("npy", b"\x93NUMPY\x01\0v\0{'descr'".to_vec(), &["found a NumPy array (npy)"]),
        (
            "a bare record",
            bare.concat(),
            &["SequenceExample without the framing of TFRecord", "tf.io.TFRecordWriter"],
        ),
        ("zeros behind", zeros(4096), &[&padded, &truncate]),
        ("a few zeros behind", zeros(5), &["record 20", "found 5 zero bytes after record 19"]),
        ("zeros and more", [zeros(20), vec![1]].concat(), &["found zero bytes, and others"]),
        ("zeros alone", vec![0; 100_000], &["found 100000 zero bytes and nothing else"]),
        ("damage", [vec![1], good[1..].to_vec()].concat(), &["length: found a wrong checksum"]),
        ("pictures", framed(b"\xff\xd8\xff\xe0\0\x10JFIF"), &["record 0: found a JPEG picture"]),
        ("lines", framed(b"{\"id\": 3}\n"), &["record 0: found text that begins with \"{\\\"id"]),
        (
            "packed records",
            framed(&gzip(b"abc")),
            &["record 0: found a gzip stream, expected a tf"],
        ),
    ];
    for (name, bytes, expected) in table {
        place.write("in.tfrecord", bytes);
        let printed = place.convert(&["in.tfrecord"]).fails_with(4);
        for expected in *expected {
            assert!(printed.contains(expected), "{name}: {printed}\n{expected}");
        }
        assert!(printed.contains("in.tfrecord: record "), "{printed}");
    }
    // A record's length that looks like a stream of zlib.
    let long = video(&[b'x'; 40_000], &[1]);
    let mut bytes = video(&vec![b'x'; 40_000 + 0x9c78 - (long.len() - 16)], &[1]);
    assert_eq!(bytes[..2], [0x78, 0x9c]);
    place.write("in.tfrecord", &bytes);
    let text = place.convert_as(CONVERT, "long", &["in.tfrecord"]).stdout();
    assert!(text.contains("1 rows"), "{text}");
    bytes[9] ^= 1;
    place.write("in.tfrecord", &bytes);
    let printed = place.convert(&["in.tfrecord"]).fails_with(4);
    assert!(printed.contains("record 0 at byte 0: length: found a wrong checksum"), "{printed}");
}

/// Labels of every row of a conversion, and its ids.
fn labels_and_ids(folder: &Path) -> (Vec<Vec<u32>>, Vec<String>) {
    let dataset = dataset(folder);
    let (mut reader, mut labels) = (dataset.reader(), Labels::new());
    reader.labels(0..dataset.rows(), &mut labels).unwrap();
    let ids = reader.ids(0..dataset.rows()).unwrap();
    let text = |id: &Vec<u8>| String::from_utf8(id.clone()).unwrap();
    let rows = (0..dataset.rows()).map(|row| labels.row(row).to_vec()).collect();
    (rows, ids.iter().map(text).collect())
}

#[test]
fn labels_and_ids_of_other_types_are_taken() {
    let place = Place::new();
    let rgb = || entry("mean_rgb", &floats(&[1.0, 2.0, 3.0]));
    let labels =
        [floats(&[3.0, 1.0]), strings(&[b"3", b"1"]), integers(&[1, 3]), floats(&[1.0, 3.0, 1.0])];
    let record = |(at, labels): (usize, &Vec<u8>)| {
        let id = [integers(&[at as i64 - 1]), strings(&[b"text"])];
        example(&[entry("video", &id[usize::from(at == 3)]), entry("labels", labels), rgb()])
    };
    let records: Vec<u8> = labels.iter().enumerate().flat_map(record).collect();
    place.write("in.tfrecord", &records);
    let command = CONVERT.replace("--output", "--id-key video --output");
    let printed = warnings(&place.convert_as(&command, "out", &["in.tfrecord"]));
    assert!(printed.contains("2 records have floats for labels"), "{printed}");
    assert!(printed.contains("1 records have texts for labels"), "{printed}");
    let (labels, ids) = labels_and_ids(&place.path("out"));
    assert_eq!(labels, vec![vec![1, 3]; 4]);
    assert_eq!(ids, ["-1", "0", "1", "text"]);
    let printed = place.convert_as(CONVERT, "more", &["in.tfrecord"]).fails_with(4);
    assert!(printed.contains("found the keys labels (2 floats), mean_rgb (3 floats)"), "{printed}");
    assert!(printed.ends_with("hint: --features rgb:3"), "{printed}");
}

#[test]
fn byte_strings_are_taken_for_floats_where_that_is_asked_for() {
    let place = Place::new();
    let raw = |values: &[f32]| -> Vec<u8> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        example(&[entry("id", &strings(&[b"a"])), entry("rgb", &strings(&[&bytes]))])
    };
    let numbers = [0.5, -3.25, 1e-3];
    place.write("in.tfrecord", &raw(&numbers));
    let command = CONVERT.replace("--output", "--raw-floats --output");
    place.convert_as(&command, "out", &["in.tfrecord"]).stdout();
    let dataset = dataset(&place.path("out"));
    let mut features = [0.0; 3];
    dataset.reader().read(0..1, &mut features, &mut Labels::new()).unwrap();
    assert_eq!(features, numbers);
    for (values, expected) in [
        (&[0.5, f32::NAN, 1.0][..], "rgb: found NaN at 1, expected a number"),
        (
            &[0.5, 1.0][..],
            "found 1 byte string of 8 bytes, expected 3 floats, or 1 byte string of 12",
        ),
    ] {
        place.write("in.tfrecord", &raw(values));
        let printed = place.convert_as(&command, "bad", &["in.tfrecord"]).fails_with(4);
        assert!(printed.contains(expected), "{printed}");
    }
    let text = place.write("in.svm", b"1 1 1\n0 0:1\n");
    let command = reelscale("convert --from svmlight --raw-floats --output");
    let printed = command.path(&place.path("text")).path(&text).fails_with(2);
    assert!(printed.contains("--raw-floats: expected --from tfrecord"), "{printed}");
}

/// A video of so many frames, which hold their number, with segments (label, start, end, score).
fn segmented(id: &str, frames: u8, segments: &[(i64, i64, i64, f32)]) -> Vec<u8> {
    let times = |which: fn(&(i64, i64, i64, f32)) -> i64| -> Vec<i64> {
        segments.iter().map(which).collect()
    };
    let scores: Vec<f32> = segments.iter().map(|segment| segment.3).collect();
    let mut context = vec![
        entry("id", &strings(&[id.as_bytes()])),
        entry("labels", &integers(&[0])),
        entry("segment_labels", &integers(&times(|segment| segment.0))),
        entry("segment_start_times", &integers(&times(|segment| segment.1))),
        entry("segment_end_times", &integers(&times(|segment| segment.2))),
        entry("segment_scores", &floats(&scores)),
    ];
    if segments.is_empty() {
        context.truncate(2);
    }
    let frame = |number: u8| strings(&[&[number, 0, number]]);
    sequence(&context, &[("rgb", (0..frames).map(frame).collect())])
}

#[test]
fn segments_become_rows_where_that_is_asked_for() {
    let place = Place::new();
    let records = [
        segmented("v", 60, &[(4, 45, 50, 1.0), (3, 5, 10, 1.0), (3, 20, 25, 0.0), (7, 5, 10, 1.0)]),
        segmented("w", 12, &[(9, 10, 15, 1.0), (2, 20, 25, 1.0)]),
        segmented("x", 2, &[]),
    ];
    place.write("in.tfrecord", &records.concat());
    let command = CONVERT.replace("--output", "--segments --output");
    let printed = warnings(&place.convert_as(&command, "out", &["in.tfrecord"]));
    for expected in [
        "1 records carry no segment_labels and make no row",
        "1 segments end after their video's last frame and are cut there",
        "1 segments begin after their video's last frame and make no row",
    ] {
        assert!(printed.contains(expected), "{printed}");
    }
    let (labels, ids) = labels_and_ids(&place.path("out"));
    assert_eq!(ids, ["v:5", "v:20", "v:45", "w:10"]);
    assert_eq!(labels, [vec![3, 7], vec![], vec![4], vec![9]]);
    let frames = dataset(&place.path("out")).reader().frames(0..4).unwrap();
    let numbers = |range: std::ops::Range<u8>| -> Vec<u8> {
        range.flat_map(|number| [number, 0, number]).collect()
    };
    assert_eq!(frames, [numbers(5..10), numbers(20..25), numbers(45..50), numbers(10..12)]);

    // Without the option they are counted.
    let printed = warnings(&place.convert_as(CONVERT, "videos", &["in.tfrecord"]));
    assert!(printed.contains("2 records carry segment_labels, which aren't used"), "{printed}");
    assert_eq!(labels_and_ids(&place.path("videos")).0, vec![vec![0]; 3]);
}

#[test]
fn segments_that_make_no_sense_are_refused() {
    let place = Place::new();
    let command = CONVERT.replace("--output", "--segments --output");
    let without = |key: &str| {
        let text = segmented("v", 9, &[(4, 0, 5, 1.0)]);
        // Another key of the same length.
        let at = text.windows(key.len()).position(|window| window == key.as_bytes()).unwrap();
        let mut data = text[12..text.len() - 4].to_vec();
        data[at - 12] = b'X';
        framed(&data)
    };
    let table = [
        (segmented("v", 9, &[(4, 0, 5, 0.5)]), "segment_scores: found 0.5, expected 0 or 1"),
        (segmented("v", 9, &[(10, 0, 5, 1.0)]), "segment_labels: found 10, expected 0 to 9"),
        (segmented("v", 9, &[(4, 5, 5, 1.0)]), "found a segment from 5 to 5 s at 0"),
        (segmented("v", 9, &[(4, -1, 5, 1.0)]), "found a segment from -1 to 5 s at 0"),
        (
            segmented("v", 9, &[(4, 0, 5, 1.0), (3, 0, 6, 1.0)]),
            "segment_end_times: found 5 and 6 for the segment at 0 s",
        ),
        (without("segment_scores"), "segment_scores: not found beside segment_labels; found the"),
        (without("segment_end_times"), "segment_end_times: not found beside segment_labels"),
        (video(b"v", &[1]), "found video-level features, expected frames"),
        (segmented("v", 9, &[]), "record 0: no record makes a row; found the keys id"),
    ];
    for (record, expected) in table {
        place.write("in.tfrecord", &record);
        let printed = place.convert_as(&command, "out", &["in.tfrecord"]).fails_with(4);
        assert!(printed.contains(expected), "{printed}\n{expected}");
        assert!(!place.path("out").exists());
    }
}

/// Hints are options that work.
#[test]
fn who_follows_a_hint_gets_rows() {
    let place = Place::new();
    let record = sequence(
        &[
            entry("video_id", &strings(&[b"v"])),
            entry("start_time_seconds", &floats(&[0.0])),
            entry("labels", &integers(&[500])),
        ],
        &[
            ("audio_embedding", vec![strings(&[&[7; 128]]); 3]),
            ("times", vec![integers(&[1]); 3]),
            ("floats", vec![floats(&[1.0; 4]); 3]),
        ],
    );
    place.write("in.tfrecord", &record);
    let printed = place.convert_as(&CONVERT.replace("10", "3862"), "out", &["in.tfrecord"]);
    let printed = printed.fails_with(4);
    let hint = printed.split_once("; hint: ").unwrap().1;
    assert_eq!(hint, "--features audio_embedding:128 --classes 527");
    let command = format!("convert --from tfrecord {hint} --output");
    let text = place.convert_as(&command, "out", &["in.tfrecord"]).stdout();
    assert!(text.contains("1 rows, 1 labels, 3 frames"), "{text}");

    let record = example(&[
        entry("name", &strings(&[b"v"])),
        entry("mean_inception", &floats(&[1.0; 5])),
        entry("mean_vggish", &floats(&[1.0; 2])),
        entry("duration", &floats(&[10.0])),
        entry("class_numbers", &floats(&[4.0, 2.0])),
    ]);
    place.write("in.tfrecord", &record);
    let printed = place.convert_as(CONVERT, "more", &["in.tfrecord"]).fails_with(4);
    let hint = printed.split_once("; hint: ").unwrap().1;
    let hint = hint.split_once(", or ").unwrap().0;
    let expected = "--id-key name --features vggish:2,inception:5 --labels-key class_numbers";
    assert_eq!(hint, expected);
    let command = format!("convert --from tfrecord --classes 10 {hint} --output");
    let text = place.convert_as(&command, "more", &["in.tfrecord"]).stdout();
    assert!(text.contains("1 rows, 2 labels"), "{text}");
}

#[test]
fn rows_without_any_label_are_told_where_they_train() {
    let place = Place::new();
    place.write(
        "in.tfrecord",
        &(0..9u8).flat_map(|row| video(&[b'a' + row], &[])).collect::<Vec<_>>(),
    );
    let printed = warnings(&place.convert(&["in.tfrecord"]));
    assert!(printed.contains("no record has labels; in the first record: found the"), "{printed}");
    assert!(printed.contains("(3 floats); hint: --labels-key names theirs"), "{printed}");
    let job = "[data]\ntrain = [\"out/*.h5\"]\n[pretrain]\nepochs = 1\n[rounds]\ncount = 0\n";
    place.write("job.toml", job.as_bytes());
    let command = reelscale("train job.toml --output run").in_folder(&place.path(""));
    let expected = "data.train: none of 9 rows has a label";
    let printed = warnings(&command);
    assert_eq!(printed.matches(expected).count(), 1, "{printed}");
    let command =
        reelscale("evaluate --model run/model --data out/*.h5").in_folder(&place.path(""));
    let printed = warnings(&command);
    assert!(printed.contains("--data: none of 9 rows has a label: every metric is 0"), "{printed}");
}
