//! Annotations with names of classes, in each format, as one file and in parts, read back; segments
//! by class.

use std::collections::BTreeMap;
use std::fs;

use super::common::reelscale;
use super::common::shards::labels_csv;
use super::planted::{planted, write_unlabelled};
use super::{CLASSES, Elsewhere, ROWS};

#[test]
fn what_annotate_writes_evaluate_reads_with_its_names() {
    let elsewhere = Elsewhere::new();
    let path = |name: &str| elsewhere.path(name);
    let annotate = |data: &str, format: &str, output: &str| {
        let command = format!("annotate --threads 1 --top 12 --part-rows 150 --format {format}");
        let command = reelscale(&format!("{command} --model")).path(&path("model"));
        let command = command.arg("--data").path(&path(data)).arg("--output");
        let folder = output.ends_with('/');
        command.arg(format!("{}{}", path(output).display(), if folder { "/" } else { "" }))
    };
    fs::write(path("labels.csv"), labels_csv(&path("own.h5"))).unwrap();
    let evaluate = |output: &str| {
        let command = reelscale("evaluate --format json --predictions").path(&path(output));
        let command = command.arg("--labels").path(&path("labels.csv")).arg("--by-class");
        let figures = path(&format!("{}-by-class.csv", output.replace('/', "")));
        let metrics = command.path(&figures).stdout();
        (metrics, fs::read_to_string(figures).unwrap())
    };
    let mut expected = None;
    for (format, output) in [
        ("hdf5", "one.h5"),
        ("long", "one.csv"),
        ("jsonl", "one.jsonl"),
        ("parquet", "one.parquet"),
        ("hdf5", "h5/"),
        ("long", "long/"),
        ("jsonl", "jsonl/"),
        ("parquet", "parquet/"),
    ] {
        annotate("own.h5", format, output).stdout();
        let (metrics, figures) = evaluate(output);
        let (first, named) = expected.get_or_insert_with(|| (metrics.clone(), figures.clone()));
        assert_eq!((&metrics, &figures), (&*first, &*named), "{format} {output}");
        assert!(figures.contains("\n3,class 3,"), "{figures}");
    }
    let text = |name: &str| fs::read_to_string(path(name)).unwrap();
    assert!(text("one.csv").starts_with("VideoId,Class,Score,Name\n"), "{}", text("one.csv"));
    let line = text("one.csv").lines().nth(1).unwrap().to_string();
    let class = line.split(',').nth(1).unwrap();
    assert!(line.ends_with(&format!(",class {class}")), "{line}");
    assert!(text("one.jsonl").contains(&format!("\"names\":[\"class {class}\",")));

    // Submissions are of numbers alone; a list says their names.
    annotate("own.h5", "submission", "plain.csv").stdout();
    assert!(text("plain.csv").starts_with("VideoId,LabelConfidencePairs\n"));
    assert!(evaluate("plain.csv").1.contains("\n3,,"));
    fs::write(path("list.txt"), planted(CLASSES).join("\n") + "\n").unwrap();
    let command = reelscale("evaluate --predictions").path(&path("plain.csv")).arg("--labels");
    let command = command.path(&path("labels.csv")).arg("--names").path(&path("list.txt"));
    command.arg("--by-class").path(&path("listed.csv")).stdout();
    assert!(text("listed.csv").contains("\n3,class 3,"));

    // Rows without labels, of classes with other numbers: the same annotations.
    let places: Vec<usize> = (0..CLASSES).collect();
    write_unlabelled(&path("unlabelled.h5"), ROWS, &places);
    annotate("unlabelled.h5", "long", "unlabelled.csv").stdout();
    annotate("other.h5", "long", "other.csv").stdout();
    assert!(text("unlabelled.csv") == text("one.csv") && text("other.csv") == text("one.csv"));

    let told = annotate("own.h5", "hdf5", "long.csv").fails_with(2);
    assert!(told.contains("--format hdf5: found the file") && told.contains("FILE.h5"), "{told}");
    let told = annotate("own.h5", "segments", "parts/").fails_with(2);
    assert!(told.contains("--format segments: found the folder"), "{told}");
}

#[test]
fn segments_are_each_class_s_best() {
    let elsewhere = Elsewhere::new();
    let path = |name: &str| elsewhere.path(name);
    let annotate = |format: &str, output: &str| {
        let command = format!("annotate --threads 1 --top 4 --per-class 30 --format {format}");
        let command = reelscale(&format!("{command} --model")).path(&path("model"));
        command.arg("--data").path(&path("own.h5")).arg("--output").path(&path(output))
    };
    annotate("long", "long.csv").stdout();
    annotate("segments", "segments.csv").stdout();
    let text = |name: &str| fs::read_to_string(path(name)).unwrap();
    let mut classes: BTreeMap<u32, Vec<(f32, String)>> = BTreeMap::new();
    for line in text("long.csv").lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let pair = (cells[2].parse().unwrap(), cells[0].to_string());
        classes.entry(cells[1].parse().unwrap()).or_default().push(pair);
    }
    let mut expected = "Class,Segments\n".to_string();
    for (class, mut segments) in classes {
        segments.sort_by(|a, b| b.0.total_cmp(&a.0));
        let ids: Vec<String> = segments.into_iter().take(30).map(|pair| pair.1).collect();
        expected += &format!("{class},{}\n", ids.join(" "));
    }
    assert_eq!(text("segments.csv"), expected);
    assert!(expected.lines().any(|line| line.split(' ').count() == 30), "{expected}");

    fs::write(path("labels.csv"), labels_csv(&path("own.h5"))).unwrap();
    let command = reelscale("evaluate --predictions").path(&path("segments.csv"));
    let told = command.arg("--labels").path(&path("labels.csv")).fails_with(4);
    assert!(told.contains("segments.csv: line 1: found \"Class,Segments\", expected"), "{told}");
    assert!(told.contains("without the scores") && told.contains("--format long"), "{told}");
}
