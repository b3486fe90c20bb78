//! Annotating part by part: the same files on any number of ranks, after kills and stops and within
//! any memory; what reads them, and what refuses to.

mod common;
#[path = "annotate/parquet.rs"]
mod parquet;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{TestCommand, needs_mpi, reelscale, shards, signal};
use reelscale::internals::data::{Dataset, ShardInfo};
use reelscale::internals::labels::Labels;
use serde_json::Value;

const JOB: &str = "
[data]
train = [\"TRAIN\"]
[pretrain]
epochs = 1
experts = 4
batch = 512
[rounds]
count = 0
";

struct Scratch(tempfile::TempDir);

impl Scratch {
    /// Two shards of `rows` rows and one of 700, and a model of so many classes.
    fn new(rows: usize, classes: usize) -> Scratch {
        let scratch = Scratch(tempfile::tempdir().unwrap());
        shards(&scratch.path("data"), rows, classes, 48);
        fs::copy(scratch.path("data/a.h5"), scratch.path("data/c.h5")).unwrap();
        shards(&scratch.path("small"), 700, classes, 48);
        fs::rename(scratch.path("small/a.h5"), scratch.path("data/b.h5")).unwrap();
        let job = JOB.replace("TRAIN", scratch.path("data/b.h5").to_str().unwrap());
        fs::write(scratch.path("job.toml"), job).unwrap();
        let train = reelscale("train").path(&scratch.path("job.toml"));
        train.arg("--output").path(&scratch.path("run")).stdout();
        scratch
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn annotate(&self, output: &str) -> TestCommand {
        let command = reelscale("annotate --top 7 --part-rows 512 --threads 1 --model");
        let command = command.path(&self.path("run/model")).arg("--data");
        let command = command.arg(format!("{}/*.h5", self.path("data").display()));
        command.arg("--output").arg(format!("{}/", self.path(output).display()))
    }

    fn evaluate(&self, predictions: &str) -> TestCommand {
        let command =
            reelscale("evaluate --format json --predictions").path(&self.path(predictions));
        command.arg("--labels").path(&self.path("labels.csv"))
    }
}

/// What a folder holds, but for who was at it.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = common::files(folder);
    files.remove("lock");
    files
}

fn parts(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_part = |name: &str| name.ends_with(".csv") || name.ends_with(".parquet");
    entries.filter(|entry| entry.file_name().to_str().is_some_and(is_part)).count()
}

/// The true labels of the shards' rows, whose ids repeat between `a` and `c`.
fn write_labels(shard: &Path, to: &Path) {
    let info = ShardInfo::read(shard).unwrap();
    let dataset = Dataset::new(vec![info]).unwrap();
    let (mut reader, rows) = (dataset.reader(), 0..dataset.rows());
    let mut labels = Labels::new();
    reader.labels(rows.clone(), &mut labels).unwrap();
    let mut text = "VideoId,Labels\n".to_string();
    for (row, id) in reader.ids(rows).unwrap().iter().enumerate() {
        let classes: Vec<String> = labels.row(row).iter().map(u32::to_string).collect();
        text += &format!("{},{}\n", String::from_utf8_lossy(id), classes.join(" "));
    }
    fs::write(to, text).unwrap();
}

#[test]
fn a_killed_rank_loses_a_part_at_most_and_others_go_on() {
    needs_mpi!();
    let scratch = Scratch::new(20_000, 1_500);
    scratch.annotate("alone").stdout();
    let expected = files(&scratch.path("alone"));
    // 40 parts of each large shard, of 32 rows the last, and 2 of the small one.
    assert_eq!(expected.len(), 82 + 2, "parts, annotate.json and manifest.json");
    assert_eq!(expected.keys().next().unwrap(), "000000-0000000000.csv");
    assert_eq!(expected["000001-0000000512.csv"].split(|byte| *byte == b'\n').count(), 188 + 2);

    for (killed, ranks) in [(0, 3), (1, 1)] {
        let name = format!("killed-{killed}");
        let folder = scratch.path(&name);
        let running = scratch.annotate(&name).ranks(2).spawn();
        let (began, mut rank) = (Instant::now(), None);
        while parts(&folder) < 30 || rank.is_none() {
            assert!(began.elapsed() < Duration::from_secs(60), "no parts");
            let is_it = |process: &u32| common::rank_of(*process) == Some(killed);
            rank = rank.or_else(|| running.processes().into_iter().find(is_it));
            std::thread::sleep(Duration::from_millis(1));
        }
        signal("KILL", rank.unwrap());
        let ended = running.finish();
        assert!(!ended.status.success());
        let left = files(&folder);
        assert!(left.len() < expected.len() && !left.contains_key("manifest.json"), "{killed}");
        let whole = |(name, bytes): (&String, &Vec<u8>)| expected.get(name) == Some(bytes);
        assert!(left.iter().filter(|file| file.0.ends_with(".csv")).all(whole), "whole parts");
        // What was done isn't done again, but for a part of each rank.
        let there = parts(&folder);
        let command = scratch.annotate(&name);
        let again = if ranks > 1 { command.ranks(ranks) } else { command }.output();
        assert!(again.status.success(), "{again:?}");
        let log = String::from_utf8_lossy(&again.stderr);
        let words = log.split_once(" of 82 parts are there").expect("some are there").0;
        let known: usize = words.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(known + 2 >= there, "{known} of {there} parts");
        assert!(files(&folder) == expected, "rank {killed} killed");
    }
}

#[test]
fn a_stop_is_soon_and_the_same_command_goes_on() {
    needs_mpi!();
    let scratch = Scratch::new(20_000, 500);
    scratch.annotate("alone").stdout();
    for (told, ranks) in [(1, 2), (0, 1)] {
        let name = format!("stopped-{told}");
        let command = scratch.annotate(&name);
        let command = if ranks > 1 { command.ranks(ranks) } else { command };
        let running = command.spawn();
        while parts(&scratch.path(&name)) < 5 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let processes = running.processes();
        let of_rank = |process: &&u32| common::rank_of(**process).unwrap_or(0) == told;
        let (process, sent) = (processes.iter().find(of_rank).unwrap(), Instant::now());
        signal("TERM", *process);
        let ended = running.finish();
        assert_eq!(ended.status.code(), Some(75), "{ended:?}");
        assert!(sent.elapsed() < Duration::from_secs(10), "{:?}", sent.elapsed());
        assert!(parts(&scratch.path(&name)) < 82);
        // A part that was taken for whole, were it looked at by its name alone, and what is left
        // of one.
        fs::write(scratch.path(&name).join("000002-0000019968.csv"), "VideoId,").unwrap();
        fs::write(scratch.path(&name).join("000002-0000019456.csv.1-7.tmp"), "Vid").unwrap();
        scratch.annotate(&name).ranks(3).stdout();
        assert!(files(&scratch.path(&name)) == files(&scratch.path("alone")));
    }
}

#[test]
fn within_any_memory_on_any_ranks_parts_are_the_same() {
    needs_mpi!();
    let scratch = Scratch::new(2_000, 130);
    scratch.annotate("alone").stdout();
    let expected = files(&scratch.path("alone"));
    let told = scratch.annotate("none").arg("--memory-gib").arg("0.000001").fails_with(9);
    assert!(!scratch.path("none").exists(), "nothing is left of what can't begin");
    let least: f64 =
        told.split("needs ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    // A file of activations, waves of a part and of more, all class blocks on each rank.
    let mut ways = Vec::new();
    for (index, factor) in [1.001, 1.06, 1.3, 3.0].into_iter().enumerate() {
        for ranks in [1, 3] {
            let name = format!("{index}-{ranks}");
            let command = scratch.annotate(&name).arg("--memory-gib");
            let command = command.arg(format!("{:.9}", least * factor));
            let command = if ranks > 1 { command.ranks(ranks) } else { command };
            let output = command.output();
            assert!(output.status.success(), "{output:?}");
            let log = String::from_utf8_lossy(&output.stderr).into_owned();
            ways.push(log.contains("rows in parts 10 of 10"));
            assert!(files(&scratch.path(&name)) == expected, "{name}");
        }
    }
    assert!(ways[0] && ways[1] && !ways[6] && !ways[7], "{ways:?}");
    let threads = scratch.annotate("threads").arg("--comm").arg("threads=3");
    threads.stdout();
    assert!(files(&scratch.path("threads")) == expected, "threads");
}

#[test]
fn every_format_is_read_back() {
    let scratch = Scratch::new(1_500, 60);
    fs::remove_file(scratch.path("data/c.h5")).unwrap();
    fs::remove_file(scratch.path("data/b.h5")).unwrap();
    write_labels(&scratch.path("data/a.h5"), &scratch.path("labels.csv"));
    let metrics = |predictions: &str| -> Value {
        serde_json::from_str(&scratch.evaluate(predictions).stdout()).unwrap()
    };
    for format in ["submission", "long", "hdf5", "jsonl", "parquet"] {
        scratch.annotate(format).arg("--format").arg(format).stdout();
    }
    let expected = metrics("hdf5");
    assert_eq!(expected["videos"], 1_500);
    assert!(expected["gap_at_20"].as_f64().unwrap() > 0.0);
    for format in ["long", "jsonl", "parquet"] {
        assert!(metrics(format) == expected, "{format}");
    }
    // Files of the same model, which have the same six figures.
    for name in ["one.csv", "one.h5"] {
        let command = reelscale("annotate --top 7 --model").path(&scratch.path("run/model"));
        let command = command.arg("--data").path(&scratch.path("data/a.h5"));
        command.arg("--output").path(&scratch.path(name)).stdout();
    }
    assert_eq!(metrics("one.csv"), metrics("submission"));
    assert_eq!(metrics("one.h5"), expected);
    let text = |name: &str| fs::read_to_string(scratch.path(name)).unwrap();
    let header = "VideoId,LabelConfidencePairs\n";
    let joined: String = ["0000000000", "0000000512", "0000001024"]
        .iter()
        .map(|first| text(&format!("submission/000000-{first}.csv")).replace(header, ""))
        .collect();
    assert_eq!(header.to_string() + &joined, text("one.csv"));

    // What isn't whole isn't read.
    let part = scratch.path("jsonl/000000-0000000512.jsonl");
    let mut bytes = fs::read(&part).unwrap();
    bytes[100] ^= 1;
    fs::write(&part, bytes).unwrap();
    let told = scratch.evaluate("jsonl").fails_with(4);
    assert!(told.contains("000000-0000000512.jsonl: found the SHA-256"), "{told}");
    fs::remove_file(&part).unwrap();
    let told = scratch.evaluate("jsonl").fails_with(4);
    assert!(told.contains("000000-0000000512.jsonl: No such file"), "{told}");
    // The same command makes it again.
    scratch.annotate("jsonl").arg("--format").arg("jsonl").stdout();
    assert_eq!(metrics("jsonl"), expected);
    fs::remove_file(scratch.path("jsonl/manifest.json")).unwrap();
    let told = scratch.evaluate("jsonl").fails_with(4);
    assert!(told.contains("found no manifest.json") && told.contains("goes on"), "{told}");
}

#[test]
fn a_folder_belongs_to_one_command() {
    let scratch = Scratch::new(600, 40);
    let command = |top: usize, model: &str, data: &str| {
        let command = reelscale(&format!("annotate --part-rows 512 --top {top} --model"));
        let command = command.path(&scratch.path(model)).arg("--data").path(&scratch.path(data));
        command.arg("--output").arg(format!("{}/", scratch.path("parts").display()))
    };
    let own = command(5, "run/model", "data/a.h5");
    own.stdout();
    let before = files(&scratch.path("parts"));
    own.stdout();
    let job = scratch.path("job.toml");
    let other = reelscale("train").path(&job).arg("--set").arg("run.seed=5");
    other.arg("--output").path(&scratch.path("other")).stdout();
    for (command, line) in [
        (command(6, "run/model", "data/a.h5"), "found \"top\": 5, this command has \"top\": 6"),
        (command(5, "other/model", "data/a.h5"), "found \"model\": "),
        (command(5, "run/model", "data/b.h5"), "found \""),
        (own.clone().arg("--format").arg("long"), "this command has \"written_as\": \"long\""),
    ] {
        let told = command.fails_with(6);
        assert!(told.contains("annotate.json") && told.contains(line), "{told}");
    }
    assert!(files(&scratch.path("parts")) == before, "untouched");
    // The same shards at another place are the same.
    fs::rename(scratch.path("data/a.h5"), scratch.path("data/z.h5")).unwrap();
    command(5, "run/model", "data/z.h5").stdout();

    fs::create_dir(scratch.path("foreign")).unwrap();
    fs::write(scratch.path("foreign/thesis.tex"), "x").unwrap();
    let foreign = scratch.annotate("foreign").fails_with(2);
    assert!(foreign.contains("isn't a folder of annotations"), "{foreign}");
    let file = scratch.annotate("job.toml").fails_with(2);
    assert!(file.contains("found a file, expected a folder"), "{file}");
    let named = reelscale("annotate --format hdf5 --output a.csv --model m --data d").fails_with(2);
    assert!(named.contains("--format hdf5: found the file a.csv"), "{named}");
}

#[test]
fn of_two_at_once_the_second_is_refused() {
    let scratch = Scratch::new(20_000, 500);
    let first = scratch.annotate("parts").spawn();
    while parts(&scratch.path("parts")) < 2 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let told = scratch.annotate("parts").fails_with(6);
    assert!(told.contains("another process runs in it"), "{told}");
    assert!(first.finish().status.success());
}

/// The most memory that a command has had, in KiB.
fn peak_of(command: &TestCommand) -> usize {
    let running = command.spawn();
    let (mut peak, process) = (0, running.launcher());
    while let Ok(text) = fs::read_to_string(format!("/proc/{process}/status")) {
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let Some(found) = line.and_then(|line| line.trim().split(' ').next()?.parse().ok()) else {
            break;
        };
        peak = found;
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(running.finish().status.success());
    peak
}

#[test]
fn ten_times_the_rows_take_no_more_memory() {
    // More shards than a reader keeps open.
    let scratch = Scratch::new(1_000, 40);
    let peak = |name: &str, shards: usize, way: &[&str]| {
        let shard = |number: usize| scratch.path(&format!("data/{number:03}.h5"));
        (0..shards).for_each(|number| {
            fs::hard_link(scratch.path("data/a.h5"), shard(number)).unwrap();
        });
        let output = format!("{name}-{shards}");
        let command =
            way.iter().fold(scratch.annotate(&output), |command, word| command.arg(*word));
        let peak = peak_of(&command);
        (0..shards).for_each(|number| fs::remove_file(shard(number)).unwrap());
        peak
    };
    for (name, way) in [("whole", &[][..]), ("waves", &["--memory-gib", "0.0025"])] {
        let (few, many) = (peak(name, 20, way), peak(name, 200, way));
        assert!(few > 4_000 && many < few + few / 10, "{name}: {few} and {many} KiB");
        println!("{name}: {few} and {many} KiB");
    }
}
