//! `evaluate --by-class`: the figures of single classes beside plain float64 ones, of a model and
//! of what it annotates; predictions of other videos than the labels'; lists of all classes.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{TestCommand, reelscale};
use reelscale::internals::inference::class_table::figures_of_lists;
use reelscale::internals::inference::rankings::Ranked;
use reelscale::internals::labels::Labels;
use reelscale::internals::metrics::{ClassFigures, TopLists};
use reelscale::internals::rng::{Purpose, Stream};
use reelscale::{Comm, run_threads};

const THRESHOLD: f32 = 0.5;

/// The figures of one class by their definitions, from each row's score, if it has one, and whether
/// it has the label.
fn twin(rows: &[(Option<f32>, bool)]) -> ClassFigures {
    let (count, positives) = (rows.len() as f64, rows.iter().filter(|row| row.1).count() as f64);
    let of_positives = |value: f64| (positives > 0.0).then_some(value);
    let mut listed: Vec<(f32, usize, bool)> = Vec::new();
    for (row, (score, positive)) in rows.iter().enumerate() {
        listed.extend(score.map(|score| (score, row, *positive)));
    }
    listed.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
    let (mut hits, mut precisions) = (0.0, 0.0);
    for (index, pair) in listed.iter().enumerate().filter(|pair| pair.1.2) {
        hits += 1.0;
        precisions += hits / (index as f64 + 1.0);
        assert!(pair.2);
    }
    let at = |threshold: f32| {
        let predicted = listed.iter().filter(|pair| pair.0 >= threshold);
        let hits = predicted.clone().filter(|pair| pair.2).count() as f64;
        (predicted.count() as f64, hits)
    };
    let (mut best_f1, mut best_f1_threshold) = (0.0, None);
    for (threshold, ..) in &listed {
        let (predicted, hits) = at(*threshold);
        let (precision, recall) = (hits / predicted, hits / positives);
        let f1 = 2.0 * precision * recall / (precision + recall);
        if f1 > best_f1 + 1e-12 {
            (best_f1, best_f1_threshold) = (f1, Some(*threshold));
        }
    }
    let (predicted, hits) = at(THRESHOLD);
    let score = |row: &(Option<f32>, bool)| f64::from(row.0.unwrap_or(0.0));
    let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
    let error = |bin: usize| {
        let within = |row: &&(Option<f32>, bool)| ((score(row) * 10.0) as usize).min(9) == bin;
        let own: Vec<_> = rows.iter().filter(within).collect();
        let confidence = mean(own.iter().map(|row| score(row)).collect());
        let accuracy = mean(own.iter().map(|row| f64::from(u8::from(row.1))).collect());
        if own.is_empty() { 0.0 } else { own.len() as f64 / count * (confidence - accuracy).abs() }
    };
    let calibrated = listed.iter().all(|pair| (0.0..=1.0).contains(&pair.0));
    ClassFigures {
        positives: positives as u64,
        average_precision: of_positives(precisions / positives),
        precision: (predicted > 0.0).then(|| hits / predicted),
        recall: of_positives(hits / positives),
        best_f1: of_positives(best_f1),
        best_f1_threshold,
        mean_score: calibrated.then(|| mean(rows.iter().map(score).collect())),
        positive_rate: positives / count,
        calibration_error: calibrated.then(|| (0..10).map(error).sum()),
    }
}

fn near(found: &ClassFigures, expected: &ClassFigures) {
    let exact = |it: &ClassFigures| (it.positives, it.best_f1_threshold);
    assert_eq!(exact(found), exact(expected), "{found:?} {expected:?}");
    let numbers = |it: &ClassFigures| {
        [
            it.average_precision,
            it.precision,
            it.recall,
            it.best_f1,
            it.mean_score,
            Some(it.positive_rate),
            it.calibration_error,
        ]
    };
    for pair in numbers(found).into_iter().zip(numbers(expected)) {
        let close = match pair {
            (Some(a), Some(b)) => (a - b).abs() < 1e-12,
            (a, b) => a == b,
        };
        assert!(close, "{found:?} {expected:?}");
    }
}

/// Lists of the rows that are a rank's of `comm`, and what they come to.
fn measured(
    comm: &Comm,
    scores: &[Vec<Option<f32>>],
    labels: &Labels,
    classes: usize,
) -> Vec<ClassFigures> {
    let mine = comm.deal(scores.len()).own();
    let (mut top, mut own) = (TopLists::new(mine.len(), classes), Labels::new());
    for (at, row) in mine.clone().enumerate() {
        for (class, score) in scores[row].iter().enumerate() {
            score.iter().for_each(|score| assert!(top.offer(at, class, &[*score])));
        }
        own.push(labels.row(row));
    }
    let ranked = Ranked { first_row: mine.start as u64, top: &top, labels: &own };
    figures_of_lists(comm, &ranked, classes, THRESHOLD)
}

#[test]
fn ranks_agree_with_plain_definitions_in_spite_of_ties() {
    // Rows, classes, levels of scores, one in how many has no score, what is added to scores.
    for (seed, rows, classes, levels, absent, shift) in [
        (1, 97, 30, 4, 0, 0.0),
        (2, 5, 7, 1, 0, 0.0),
        (3, 200, 25, 1 << 20, 0, 0.0),
        (4, 60, 9, 10, 3, 0.0),
        (5, 60, 9, 10, 2, -0.5),
        (6, 3, 40, 2, 0, 0.5),
    ] {
        let mut stream = Stream::new(seed, Purpose::PlantedRows, 0);
        let mut labels = Labels::new();
        let scores: Vec<Vec<Option<f32>>> = (0..rows)
            .map(|_| {
                // The last class is nobody's.
                let own: Vec<u32> = (0..classes - 1).filter(|_| stream.below(8) == 0).collect();
                labels.push(&own);
                let score = |stream: &mut Stream| {
                    let score = stream.below(levels + 1) as f32 / levels as f32 + shift;
                    (absent == 0 || stream.below(absent) > 0).then_some(score)
                };
                (0..classes).map(|_| score(&mut stream)).collect()
            })
            .collect();
        let of_class = |class: u32| {
            let row = |row: usize| (scores[row][class as usize], labels.row(row).contains(&class));
            twin(&(0..scores.len()).map(row).collect::<Vec<_>>())
        };
        let expected: Vec<ClassFigures> = (0..classes).map(of_class).collect();
        let mut first = None;
        for size in [1, 2, 3, 5] {
            let measure = |comm: &Comm| Ok(measured(comm, &scores, &labels, classes as usize));
            let all = run_threads(size, measure).unwrap();
            assert!(all.iter().all(|found| found == &all[0]), "all ranks know the same");
            all[0].iter().zip(&expected).for_each(|(found, expected)| near(found, expected));
            let found = first.get_or_insert_with(|| all[0].clone());
            assert_eq!(*found, all[0], "same bits on {size} ranks");
        }
    }
}

struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Scratch {
        Scratch(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// `evaluate` of predictions in a file or folder.
    fn evaluate(&self, predictions: &Path, labels: &Path) -> TestCommand {
        reelscale("evaluate --predictions").path(predictions).arg("--labels").path(labels)
    }
}

fn with_table(command: TestCommand, path: &Path) -> TestCommand {
    command.arg("--by-class").path(path)
}

/// A model's table is that of all the scores that it annotates with, to the byte, on any ranks.
#[test]
fn a_model_and_its_annotations_have_the_same_table() {
    let scratch = Scratch::new();
    let made = "synthesize --rows 700 --classes 24 --features 12 --seed 5 --rows-per-shard 300";
    reelscale(made).arg("--output").path(&scratch.path("data")).stdout();
    let data = scratch.path("data/*.h5");
    let job = format!(
        "[data]\ntrain = [{:?}]\n[pretrain]\nepochs = 1\n[experts]\nepochs = 2\n[rounds]\n\
         count = 0\n[run]\nthreads = 1\nrow_blocks = 6\nclass_blocks = 5\n",
        data.display().to_string()
    );
    let job = scratch.write("job.toml", &job);
    reelscale("train").path(&job).arg("--output").path(&scratch.path("run")).stdout();
    let with_model = |command: &str| {
        reelscale(command).arg("--model").path(&scratch.path("run/model")).arg("--data").path(&data)
    };
    let lists = scratch.path("all.h5");
    with_model("annotate --top 24").arg("--output").path(&lists).stdout();
    let labels = common::shards::labels_csv(&data);
    let labels = scratch.write("labels.csv", &labels);
    let table = |name: &str, command: TestCommand| {
        let path = scratch.path(name);
        with_table(command, &path).arg("--threshold").arg("0.25").stdout();
        fs::read_to_string(path).unwrap()
    };
    let expected = table("model.csv", with_model("evaluate"));
    for ranks in ["2", "3"] {
        let own = with_model("evaluate").arg("--comm").arg(format!("threads={ranks}"));
        assert_eq!(table(&format!("model{ranks}.csv"), own), expected, "{ranks} ranks");
        let own = scratch.evaluate(&lists, &labels).arg("--comm").arg(format!("threads={ranks}"));
        assert_eq!(table(&format!("lists{ranks}.csv"), own), expected, "{ranks} ranks");
    }
    let lines: Vec<&str> = expected.lines().collect();
    assert_eq!(lines.len(), 25);
    let head = "class,name,positives,average_precision,threshold,precision,recall,best_f1,\
                best_f1_threshold,mean_score,positive_rate,calibration_error";
    assert_eq!(lines[0], head);
    for (class, line) in lines[1..].iter().enumerate() {
        let fields: Vec<&str> = line.split(',').collect();
        assert_eq!((fields.len(), fields[0], fields[4]), (12, &*class.to_string(), "0.25"));
        let of_threads: f64 = fields[9].parse().unwrap();
        assert!(of_threads > 0.0 && of_threads < 1.0, "{line}");
    }
    // What is there stays.
    let again = with_table(with_model("evaluate"), &scratch.path("model.csv"));
    assert!(again.fails_with(2).contains("model.csv: exists already"));
    assert_eq!(fs::read_to_string(scratch.path("model.csv")).unwrap(), expected);
    let nowhere = with_table(with_model("evaluate"), &scratch.path("nowhere/model.csv"));
    nowhere.fails_with(5);
}

#[test]
fn a_table_says_what_its_lists_hold_and_leaves_the_rest_empty() {
    let scratch = Scratch::new();
    let labels = scratch.write("labels.csv", "VideoId,Labels\na,7\nb,7\nc,9\nd,\n");
    let predictions = "VideoId,LabelConfidencePairs\na,7 0.75 8 0.25\nb,8 0.5\nc,7 0.75 8 -1\nd,\n";
    let predictions = scratch.write("p.csv", predictions);
    let path = scratch.path("table.csv");
    let output = with_table(scratch.evaluate(&predictions, &labels), &path).output();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("1 of 3 classes have scores outside 0 to 1"), "{told}");
    // Class 7: the later of equal scores first, so c before a. All that is said of 0.75 is said of
    // both. Class 9 has no score.
    let expected = "7,,2,0.25,0.5,0.5,0.5,0.5,0.75,0.375,0.5,0.375\n\
                    8,,0,,0.5,0,,,,,0,\n\
                    9,,1,0,0.5,,0,0,,0,0.25,0.25\n";
    let found = fs::read_to_string(&path).unwrap();
    assert_eq!(found.split_once('\n').unwrap().1, expected);
    let evaluate = || scratch.evaluate(&predictions, &labels);
    for arguments in [&["--threshold", "0.5"][..], &["--by-class", "t.csv", "--threshold", "nan"]] {
        let command = arguments.iter().fold(evaluate(), |command, one| command.arg(*one));
        assert_eq!(command.output().status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn videos_of_one_file_only_are_told_with_an_example_of_each() {
    let scratch = Scratch::new();
    let labels = scratch.write("labels.csv", "VideoId,Labels\na,1\nlost,2\n");
    let predictions = "VideoId,LabelConfidencePairs\na,1 .5\nnew,1 .5\nnewer,2 .5\n";
    let predictions = scratch.write("p.csv", predictions);
    let output = scratch.evaluate(&predictions, &labels).output();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    for expected in [
        "1 of 4 labelled videos have no predictions and count as such, such as lost",
        "2 of 4 videos with predictions aren't among the labels and count as unlabelled, such as \
         new",
    ] {
        assert!(told.contains(expected), "{told}");
    }
    // None in both.
    for (text, expected) in [
        ("x,1 .5\ny,1 .5\n", "found 2 videos such as x, expected some of "),
        ("", "found no video, expected some of "),
    ] {
        let other = scratch.write("other.csv", &format!("VideoId,LabelConfidencePairs\n{text}"));
        let told = scratch.evaluate(&other, &labels).fails_with(4);
        assert!(told.contains("other.csv: ") && told.contains(expected), "{told}");
        assert!(told.contains("labels.csv, which has 2 videos such as a"), "{told}");
        assert!(told.contains("hint: ids must be the same"), "{told}");
    }
}

/// A million pairs in twenty lists: a second, which would be minutes if a list were looked through
/// for each of its pairs.
#[test]
fn lists_of_all_classes_are_read_in_a_moment() {
    let scratch = Scratch::new();
    let mut predictions = String::from("VideoId,LabelConfidencePairs\n");
    let mut labels = String::from("VideoId,Labels\n");
    for video in 0..20 {
        predictions += &format!("v{video},");
        for class in 0..50_000 {
            let score = f64::from((class * 7919 + video * 31) % 50_000) / 50_000.0;
            predictions += &format!("{class} {score} ");
        }
        predictions += "\n";
        labels += &format!("v{video},{} {}\n", video * 3, video + 40_000);
    }
    let predictions = scratch.write("p.csv", &predictions);
    let labels = scratch.write("labels.csv", &labels);
    let table = scratch.path("table.csv");
    let command = with_table(scratch.evaluate(&predictions, &labels), &table);
    let text = command.within(20).stdout();
    assert!(text.contains("videos                   20"), "{text}");
    assert_eq!(fs::read_to_string(table).unwrap().lines().count(), 50_001);
}
