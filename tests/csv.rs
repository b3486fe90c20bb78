//! Csv of predictions and labels: what annotate writes, `evaluate`, and others, read back byte for
//! byte; what is malformed is told with its line.

mod common;

use std::path::Path;

use common::{TestCommand, reelscale, shards};
use proptest::prelude::*;
use reelscale::internals::data::{Kind, ShardHeader, ShardWriter};
use reelscale::internals::example::Example;
use reelscale::internals::formats::csv::{Records, field};
use reelscale::internals::formats::submission::{HEADER, Source, Video, read_both, write_line};
use reelscale::internals::synthetic::Planted;

const LABELS: &str = "VideoId,Labels\n";

/// All videos of these predictions and no labels.
fn read(predictions: &[u8]) -> Result<Vec<Video>, String> {
    let labels = Source::new("labels", LABELS.as_bytes());
    let both = read_both(Source::new("p.csv", predictions), labels);
    both.map(|both| both.videos).map_err(|error| error.text)
}

/// An id and its (score, class) pairs.
type Line<'a> = (&'a [u8], &'a [(f32, u32)]);

fn written(videos: &[Line]) -> Vec<u8> {
    let mut text = format!("{HEADER}\n").into_bytes();
    videos.iter().for_each(|(id, pairs)| write_line(&mut text, id, pairs).unwrap());
    text
}

#[test]
fn ordinary_ids_stand_there_as_they_are_and_others_in_quotes() {
    let table: [(&[u8], &[u8]); 17] = [
        (b"nXSc", b"nXSc"),
        (b"-0 a;b:c'd#e\\f", b"-0 a;b:c'd#e\\f"),
        ("Käse 日本".as_bytes(), "Käse 日本".as_bytes()),
        (b"", b"\"\""),
        (b"a,b", b"\"a,b\""),
        (b"say \"hi\"", b"\"say \"\"hi\"\"\""),
        (b"\"", b"\"\"\"\""),
        (b"two\nlines", b"\"two\nlines\""),
        (b"a\r", b"\"a\r\""),
        (b"a\r\nb", b"\"a\r\nb\""),
        (b" a", b"\" a\""),
        (b"a\t", b"\"a\t\""),
        (b"a ", b"\"a \""),
        ("\u{a0}a".as_bytes(), "\"\u{a0}a\"".as_bytes()),
        (b"a\0b", b"\"a\0b\""),
        (b"caf\xe9", b"\"caf\xe9\""),
        (b"\xef\xbb\xbfa", b"\xef\xbb\xbfa"),
    ];
    for (id, expected) in table {
        let text = written(&[(id, &[(0.977_451, 12), (1e-5, 0)]), (b"z", &[])]);
        let line = [expected, b",12 0.977451 0 1e-05\nz,\n"].concat();
        assert_eq!(text, [HEADER.as_bytes(), b"\n", &line].concat());
        let videos = read(&text).unwrap();
        assert_eq!(videos[0].id, id);
        assert_eq!(videos[0].scores, [(0.977_451, 12), (1e-5, 0)]);
        assert_eq!((&videos[1].id[..], videos.len()), (&b"z"[..], 2));
    }
}

#[test]
fn what_others_write_is_read() {
    let plain = "VideoId,LabelConfidencePairs\na,1 0.5 2 0.25\nb\"c,\n";
    let expected = read(plain.as_bytes()).unwrap();
    assert_eq!((expected.len(), &expected[1].id[..]), (2, &b"b\"c"[..]));
    let quoted = "\"VideoId\",\"LabelConfidencePairs\"\n\"a\",\"1 0.5 2 0.25\"\n\"b\"\"c\",\"\"\n";
    let spread = "VideoId,LabelConfidencePairs\na,\"1 0.5\n2 0.25\"\nb\"c,\n";
    let blank = "\nVideoId,LabelConfidencePairs\n\na,1 0.5 2 0.25\n\n\nb\"c,\n\n";
    for text in [
        plain.replace('\n', "\r\n"),
        plain.trim_end().into(),
        format!("\u{feff}{plain}"),
        quoted.into(),
        quoted.replace('\n', "\r\n"),
        spread.into(),
        blank.into(),
    ] {
        assert_eq!(read(text.as_bytes()).unwrap(), expected, "{text:?}");
    }
}

#[test]
fn malformed_files_are_told_with_their_line() {
    let long = format!("x,{}", "1 0.5 ".repeat(30_000));
    let table: [(&[u8], &str); 20] = [
        (b"", "line 1: found nothing, expected \"VideoId,LabelConfidencePairs\""),
        (b"x,1 0.5\n", "line 1: found \"x,1 0.5\", expected \"VideoId,"),
        (b"H\nx\n", "line 2: found \"x\", 1 fields, expected 2, VideoId and LabelConfidencePairs"),
        (b"H\nx,1 0.5,2\n", "line 2: found \"x,1 0.5,2\", 3 fields, expected 2"),
        (b"H\n\"x\ny\",1 0.5\n\"z,1 0.5\nw\n", "line 4: found a quote that is never closed"),
        (b"H\n\"x\"y,1 0.5\n", "line 2: found text after a closing quote"),
        (b"H\nx\ry,1 0.5\n", "line 2: found a CR within a line"),
        (
            b"H\na,1 0.5\n\nb,nan 0.5\n",
            "line 4: b: found the class \"nan\", expected 0 to 16777215",
        ),
        (b"H\nb,16777216 0.5\n", "line 2: b: found the class \"16777216\", expected 0 to 16777215"),
        (b"H\nb,-1 0.5\n", "line 2: b: found the class \"-1\""),
        (b"H\nb,99999999999999999999 0.5\n", "found the class \"99999999999999999999\""),
        (b"H\nb,1 nan\n", "line 2: b: class 1: found the score \"nan\", expected a number"),
        (b"H\nb,1 -inf\n", "line 2: b: class 1: found the score \"-inf\", expected a number"),
        (b"H\nb,1 1e400\n", "line 2: b: class 1: found the score \"1e400\""),
        (b"H\nb,\"1 \xff\"\n", "line 2: b: class 1: found the score \"\\xff\""),
        (b"H\nb,1 \xff\n", "line 2: found the byte 0xff, expected UTF-8, or quotes around it"),
        (b"H\na,1 1\nd\xe94,1 1\n", "line 3: found the byte 0xe9, expected UTF-8, or quotes"),
        (b"H\nb,1 0.5\n\"a\n\",\nb,\n", "line 5: b: found a second time"),
        (b"H\n\"a,b\",1 0.5 1 0.5\n", "line 2: \"a,b\": found class 1 twice"),
        (&[b"H\n", long.as_bytes()].concat(), "line 2: x: found class 1 twice"),
    ];
    for (text, expected) in table {
        let text = match text.strip_prefix(b"H") {
            Some(rest) => [HEADER.as_bytes(), rest].concat(),
            None => text.to_vec(),
        };
        let printed = read(&text).unwrap_err();
        let expected = format!("p.csv: {expected}").replace("p.csv: found", "found");
        assert!(
            printed.starts_with("p.csv: line ") && printed.contains(&expected),
            "{printed}\n{expected}"
        );
    }
    let labels = |text: &str| {
        let predictions = Source::new("p.csv", &b"VideoId,LabelConfidencePairs\n"[..]);
        read_both(predictions, Source::new("l.csv", text.as_bytes())).err().unwrap().text
    };
    let printed = labels("VideoId,Labels\na,0 2\nb,0,2\n");
    assert!(printed.contains("l.csv: line 3: found \"b,0,2\", 3 fields"), "{printed}");
    let printed = labels("VideoId,Labels\na,0 Game\n");
    assert!(printed.contains("l.csv: line 2: a: found the class \"Game\""), "{printed}");
}

proptest! {
    #[test]
    fn fields_of_any_bytes_come_back_here_and_in_the_crate_csv(
        rows in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(any_byte(), 0..6), 1..4), 1..5)
    ) {
        let mut text = Vec::new();
        for row in &rows {
            let fields: Vec<_> = row.iter().map(|bytes| field(bytes)).collect();
            text.extend(fields.join(&b','));
            text.extend(b"\n");
        }
        // The mark of UTF-8 before the first record isn't part of it, for any reader.
        prop_assume!(!text.starts_with(b"\xef\xbb\xbf"));
        let mut records = Records::new(&text[..]);
        let mut found = Vec::new();
        while let Some(record) = records.next().unwrap() {
            found.push(record.fields);
        }
        prop_assert_eq!(&found, &rows);
        let mut twin = csv::ReaderBuilder::new();
        let mut twin = twin.has_headers(false).flexible(true).from_reader(&text[..]);
        let twin: Vec<Vec<Vec<u8>>> = twin
            .byte_records()
            .map(|record| record.unwrap().iter().map(<[u8]>::to_vec).collect())
            .collect();
        prop_assert_eq!(&twin, &rows);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any_byte(), 0..40)) {
        let text = [HEADER.as_bytes(), b"\n", &bytes].concat();
        if let Ok(videos) = read(&text) {
            let again = |videos: &[Video]| {
                let mut lines: Vec<Line> = Vec::new();
                for video in videos {
                    lines.push((&video.id, &video.scores));
                }
                read(&written(&lines)).unwrap()
            };
            // Scores are rounded to six figures when they are written: once is as often as twice.
            let once = again(&videos);
            prop_assert_eq!(again(&once), once);
        }
    }
}

/// Bytes among which those that matter are frequent.
fn any_byte() -> impl Strategy<Value = u8> {
    prop_oneof![prop::sample::select(b",\"\r\n 1.a".to_vec()), any::<u8>()]
}

#[test]
fn annotate_writes_what_evaluate_reads() {
    if common::without_mpi() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let ids: [&[u8]; 8] = [
        b"evil,9 0.999\nvictim,3 0.9",
        b"v,1",
        b"caf\xe9",
        b"\"q\"",
        b"",
        b" s ",
        b"a\r",
        b"plain",
    ];
    let planted = Planted::new(1, 6, 5, 2);
    let (parts, source) = (planted.parts(), "test".to_string());
    let header = ShardHeader { parts, class_count: 5, kind: Kind::Video, source };
    std::fs::create_dir(path("data")).unwrap();
    let mut writer = ShardWriter::create(&path("data/a.h5"), &header).unwrap();
    let examples: Vec<Example> = (0..ids.len() as u64)
        .map(|row| Example { id: ids[row as usize].to_vec(), ..planted.example(row) })
        .collect();
    examples.iter().for_each(|example| writer.push(example).unwrap());
    writer.finish().unwrap();
    train(folder.path());
    let annotate = |name: &str, ranks| {
        annotate(folder.path(), name).ranks(ranks).stdout();
        std::fs::read(path(name)).unwrap()
    };
    let text = annotate("one.csv", 1);
    assert_eq!(annotate("three.csv", 3), text);
    let found: Vec<_> = read(&text).unwrap().into_iter().map(|video| video.id).collect();
    assert_eq!(found, ids);
    // Parquet's texts are UTF-8.
    for name in ["a.parquet", "parts/"] {
        let command = self::annotate(folder.path(), name).arg("--format").arg("parquet");
        let told = command.fails_with(4);
        assert!(told.contains("a.h5 row 2: found the id \"caf"), "{told}");
        assert!(told.contains("hint: --format hdf5 or jsonl"), "{told}");
        assert!(!path(name).exists());
    }
    // Labels under the same ids: every video is found, on any number of ranks.
    let mut labels = LABELS.as_bytes().to_vec();
    for example in &examples {
        let classes: Vec<String> = example.labels.iter().map(u32::to_string).collect();
        labels
            .extend([&field(&example.id)[..], b",", classes.join(" ").as_bytes(), b"\n"].concat());
    }
    std::fs::write(path("labels.csv"), labels).unwrap();
    let model = reelscale("evaluate --format json --model").path(&path("run/model"));
    let model = model.arg("--data").path(&path("data/a.h5")).stdout();
    let model: serde_json::Value = serde_json::from_str(&model).unwrap();
    for ranks in [1, 3] {
        let files = reelscale("evaluate --format json --predictions").path(&path("one.csv"));
        let files = files.arg("--labels").path(&path("labels.csv")).ranks(ranks).stdout();
        let files: serde_json::Value = serde_json::from_str(&files).unwrap();
        assert_eq!(
            (&files["videos"], &files["positives"]),
            (&model["videos"], &model["positives"])
        );
        assert_eq!(files["hit_at_1"], model["hit_at_1"]);
    }
}

/// A model of the shards in `data`, trained in a moment.
fn train(folder: &Path) {
    let job = "[pretrain]\nepochs = 1\n[rounds]\ncount = 0\n";
    let data = folder.join("data/*.h5");
    let job = format!("[data]\ntrain = [{:?}]\n{job}", data.to_str().unwrap());
    std::fs::write(folder.join("job.toml"), job).unwrap();
    let command = reelscale("train").path(&folder.join("job.toml"));
    command.arg("--output").path(&folder.join("run")).stdout();
}

fn annotate(folder: &Path, name: &str) -> TestCommand {
    let command = reelscale("annotate --top 3 --model").path(&folder.join("run/model"));
    let command = command.arg("--data").path(&folder.join("data/a.h5"));
    command.arg("--output").path(&folder.join(name))
}

#[test]
fn an_output_that_cant_be_written_is_told_before_anything_is_computed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir(path("folder.csv")).unwrap();
    std::fs::write(path("there.h5"), "a file").unwrap();
    std::os::unix::fs::symlink("nowhere", path("link.csv")).unwrap();
    // There is no model yet: that would be exit 6.
    for (name, code, expected) in [
        ("no/such/a.csv", 5, "No such file"),
        ("no/such/a.h5", 5, "No such file"),
        ("there.h5/a.csv", 5, "Not a directory"),
        ("folder.csv", 2, "exists already"),
        ("there.h5", 2, "exists already"),
        ("link.csv", 2, "exists already"),
        ("a.txt", 2, "expected a name that ends in .csv, .jsonl, .h5 or .parquet"),
    ] {
        let printed = annotate(folder.path(), name).fails_with(code);
        assert!(printed.contains(name) && printed.contains(expected), "{printed}");
    }
    annotate(folder.path(), "a.csv").fails_with(6);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "nothing was made");
    // The same id twice: `evaluate` would refuse the file.
    shards(&path("data"), 8, 5, 6);
    train(folder.path());
    let twice = annotate(folder.path(), "a.csv").output();
    assert!(twice.status.success() && !String::from_utf8_lossy(&twice.stderr).contains("WARN"));
    std::fs::copy(path("data/a.h5"), path("data/b.h5")).unwrap();
    let command = reelscale("annotate --top 3 --model").path(&path("run/model"));
    let command = command.arg("--data").path(&path("data/a.h5")).path(&path("data/b.h5"));
    let twice = command.arg("--output").path(&path("b.csv")).output();
    let printed = String::from_utf8_lossy(&twice.stderr);
    let expected = "8 rows with the id of another one: `evaluate` refuses such predictions: video";
    assert!(printed.contains(expected), "{printed}");
}

#[test]
fn hostile_files_cost_what_their_size_explains() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    // One row of a million classes, ascending, a million rows of one, and the largest class.
    let mut text = format!("{HEADER}\nwide,");
    (0..1_000_000).for_each(|class| text.push_str(&format!("{class} 0.{class:06} ")));
    text.push('\n');
    (0..300_000).for_each(|row| text.push_str(&format!("{row},16777215 0.5\n")));
    std::fs::write(path("p.csv"), text).unwrap();
    let classes: Vec<String> = (0..1_000_000u32).map(|class| class.to_string()).collect();
    let labels = format!("{LABELS}wide,{}\n7,16777215\n", classes.join(" "));
    std::fs::write(path("l.csv"), labels).unwrap();
    let command = reelscale("evaluate --format json --predictions").path(&path("p.csv"));
    let text = command.arg("--labels").path(&path("l.csv")).within(60).stdout();
    let found: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(found["positives"], 1_000_001);
    assert_eq!(found["map_classes"], 1_000_001);
}

/// Files that were cut, and videos that stand in one of them only, are told of: metrics would be of
/// something else in silence.
#[test]
fn what_stands_in_one_file_only_is_told() {
    if common::without_mpi() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("l.csv"), format!("{LABELS}a,1\nb,2\nc,\n")).unwrap();
    let evaluate = |predictions: &str| {
        std::fs::write(path("p.csv"), format!("{HEADER}\n{predictions}")).unwrap();
        let command = reelscale("evaluate --predictions").path(&path("p.csv"));
        let output = command.arg("--labels").path(&path("l.csv")).ranks(2).output();
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let warnings = |text: &str| text.lines().filter(|line| line.starts_with("WARN")).count();
    assert_eq!(warnings(&evaluate("a,1 0.5\nb,2 0.5\nc,2 0.5\n")), 0);
    let text = evaluate("a,1 0.5\nd,2 0.5\nb,2 0.");
    assert_eq!(warnings(&text), 3, "{text}");
    assert!(text.contains("p.csv: its last line has no end"), "{text}");
    assert!(text.contains("1 of 4 labelled videos have no predictions"), "{text}");
    assert!(text.contains("1 of 4 videos with predictions aren't among the labels"), "{text}");
}
