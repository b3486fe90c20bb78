//! Bad input and bad launches: one clear line, the documented exit code, nothing overwritten, no
//! rank left. The numbers are those of the list of faults that the program is held to.

mod common;

use std::fs;
use std::path::Path;

use common::launcher::{is_of_mpich, mpirun};
use common::reelscale;
use reelscale::internals::formats::tfrecord::framed;

fn synthesize(output: &Path) {
    reelscale("synthesize --rows 200 --classes 9 --features 8 --output").path(output).stdout();
}

/// 1: several tasks, each alone in its world.
#[test]
fn tasks_that_are_alone_are_refused() {
    if common::without_mpi() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out");
    let command = reelscale("synthesize --rows 9 --classes 3 --features 8 --output").path(&output);
    let text = command.clone().env("SLURM_NTASKS", "4").within(5).fails_with(3);
    assert!(text.contains("SLURM_NTASKS=4") && text.contains("srun --mpi=pmix"), "{text}");
    assert!(!output.exists(), "nothing is written");
    // mpirun with one rank within an allocation for four is meant.
    command.env("SLURM_NTASKS", "4").ranks(1).stdout();
}

/// 6: a job file with faults; 8: an output path that isn't a run directory.
#[test]
fn bad_jobs_and_outputs_are_refused_and_nothing_is_touched() {
    if common::without_mpi() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    synthesize(&path("data"));
    let data = format!("[data]\ntrain = [\"{}/*.h5\"]\n", path("data").display());
    fs::write(path("bad.toml"), format!("{data}[expert]\n[run]\nsede = 3\n")).unwrap();
    let train = |job: &str, output: &str| {
        reelscale("train").path(&path(job)).arg("--output").path(&path(output))
    };
    let text = train("bad.toml", "run").ranks(3).fails_with(2);
    assert!(
        text.contains("bad.toml:3:2: expert: unknown section; hint: did you mean experts?"),
        "{text}"
    );
    assert!(
        text.contains("bad.toml:5:1: run.sede: unknown key; hint: did you mean run.seed?"),
        "{text}"
    );
    assert!(!path("run").exists());
    fs::write(path("good.toml"), data).unwrap();
    fs::create_dir(path("mine")).unwrap();
    fs::write(path("mine/thesis.tex"), "years").unwrap();
    let text = train("good.toml", "mine").ranks(2).fails_with(2);
    assert!(text.contains("exists and isn't a run directory"), "{text}");
    let text = train("good.toml", "good.toml").fails_with(2);
    assert!(text.contains("good.toml"), "{text}");
    assert_eq!(fs::read_to_string(path("mine/thesis.tex")).unwrap(), "years");
    assert_eq!(fs::read_dir(path("mine")).unwrap().count(), 1);
    let text =
        reelscale("synthesize --rows 2 --classes 3 --features 8 --output").path(&path("mine"));
    assert!(text.fails_with(2).contains("isn't empty"));
    train("good.toml", "done").arg("--set").arg("rounds.count=0").stdout();
    let text = train("good.toml", "done").fails_with(6);
    assert!(text.contains("rounds.count: found 2, the run has 0"), "{text}");
}

/// A budget that can't be kept, a scratch folder that isn't there, instructions that this processor
/// doesn't have: refused before anything is computed.
#[test]
fn what_the_machine_lacks_is_told_at_once() {
    if common::without_mpi() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let arguments = "synthesize --rows 3000 --classes 9 --features 128 --output";
    reelscale(arguments).path(&path("data")).stdout();
    let glob = format!("[data]\ntrain = [\"{}/*.h5\"]\n", path("data").display());
    fs::write(path("job.toml"), glob + "[pretrain]\nepochs = 0\n[experts]\nwindow = 100\n")
        .unwrap();
    let train = |run: &str, settings: &[&str]| {
        let command = reelscale("train").path(&path("job.toml")).arg("--output").path(&path(run));
        settings.iter().fold(command, |command, set| command.arg("--set").arg(*set)).ranks(2)
    };
    let text = train("a", &["run.memory_gib=0.0001"]).fails_with(9);
    assert!(text.contains("run.memory_gib: found 0.0001, a rank of this job needs"), "{text}");
    let lost = ["run.memory_gib=0.0017", "run.threads=1", "run.scratch=/no/such/folder"];
    let text = train("b", &lost).fails_with(5);
    assert!(text.contains("/no/such/folder") && text.contains("hint: run.scratch"), "{text}");
    let text = train("c", &["run.kernel=neon"]).fails_with(3);
    assert!(text.contains("run.kernel: found \"neon\", expected auto or"), "{text}");
}

/// 9: shards that are missing or named twice, all of them told before any arithmetic.
#[test]
fn missing_shards_are_all_listed() {
    if common::without_mpi() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let text = format!("[data]\ntrain = [\"{0}/a.h5\", \"{0}/*.h5\"]\n", folder.path().display());
    fs::write(path("job.toml"), text).unwrap();
    let train = reelscale("train").path(&path("job.toml")).arg("--output").path(&path("run"));
    let text = train.ranks(2).fails_with(4);
    assert!(
        text.contains("a.h5: no such file") && text.contains("*.h5: matches no file"),
        "{text}"
    );
    assert!(!path("run").exists());
}

/// 11 and 13 on ranks (tests/shards.rs has every kind): a fault in one shard is told once.
#[test]
fn a_bad_shard_ends_all_ranks() {
    if common::without_mpi() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let arguments = "synthesize --rows 300 --classes 9 --features 8 --rows-per-shard 100 --output";
    reelscale(arguments).path(&path("data")).stdout();
    fs::write(path("data/zero.h5"), "").unwrap();
    fs::write(path("data/text.h5"), "not a shard").unwrap();
    let glob = format!("[data]\ntrain = [\"{}/*.h5\"]\n", path("data").display());
    fs::write(path("job.toml"), glob).unwrap();
    let train = reelscale("train").path(&path("job.toml")).arg("--output").path(&path("run"));
    let text = train.ranks(3).within(60).fails_with(4);
    assert!(text.contains("aren't an HDF5 file"), "{text}");
    assert!(!path("run").exists());
}

/// A varint, a field of bytes, a feature, a map entry: what tests need of the wire format.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let (mut out, mut length) = (vec![number << 3 | 2], bytes.len());
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend(bytes);
    out
}

fn entry(key: &str, feature: &[u8]) -> Vec<u8> {
    field(1, &[field(1, key.as_bytes()), field(2, feature)].concat())
}

fn video(id: &str, label: u8, rgb: &[f32]) -> Vec<u8> {
    let floats: Vec<u8> = rgb.iter().flat_map(|x| x.to_le_bytes()).collect();
    let map = [
        entry("mean_rgb", &field(2, &field(1, &floats))),
        entry("id", &field(1, &field(1, id.as_bytes()))),
        entry("labels", &field(3, &field(1, &[label]))),
    ];
    // The empty field 2 that real video-level records carry.
    [field(1, &map.concat()), vec![0x12, 0]].concat()
}

fn clip(id: &str, frames: usize) -> Vec<u8> {
    let context = [entry("id", &field(1, &field(1, id.as_bytes())))];
    let frame = field(1, &field(1, &field(1, &[7, 9])));
    let list = entry("rgb", &frame.repeat(frames));
    [field(1, &context.concat()), field(2, &list)].concat()
}

fn convert(folder: &Path, features: &str) -> common::TestCommand {
    reelscale("convert --from tfrecord --classes 10 --features")
        .arg(features)
        .arg("--output")
        .path(&folder.join("out"))
        .path(&folder.join("in.tfrecord"))
}

/// 13, 16, 17: TFRecords.
#[test]
fn bad_records_are_told_with_record_and_byte() {
    if common::without_mpi() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let good = framed(&video("a", 3, &[1.0, 2.0]));
    let with = |bytes: Vec<u8>| fs::write(folder.path().join("in.tfrecord"), bytes).unwrap();
    let refused = |bytes: Vec<u8>, expected: &str| {
        with([good.clone(), bytes].concat());
        let text = convert(folder.path(), "rgb:2").ranks(2).fails_with(4);
        assert!(text.contains("in.tfrecord: record 1") && text.contains(expected), "{text}");
        let left = fs::read_dir(folder.path().join("out")).map_or(0, |entries| entries.count());
        assert_eq!(left, 0, "nothing partial is left");
        let _ = fs::remove_dir(folder.path().join("out"));
    };
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    refused(flipped(8), &format!("at byte {}: length: found a wrong checksum", good.len()));
    refused(flipped(20), "data: found a wrong checksum");
    refused(good[..good.len() - 3].to_vec(), "the file is cut");
    refused(good[..5].to_vec(), "the file is cut");
    let mut huge = framed(b"");
    huge[..8].copy_from_slice(&(1u64 << 63).to_le_bytes());
    let head = (1u64 << 63).to_le_bytes();
    let crc = crc32c::crc32c(&head).rotate_right(15).wrapping_add(0xa282_ead8);
    huge[8..12].copy_from_slice(&crc.to_le_bytes());
    refused(huge, "found a length of 9223372036854775808");
    refused(framed(&video("b", 10, &[1.0, 2.0])), "labels: found 10, expected 0 to 9");
    refused(
        framed(&video("b", 1, &[1.0, f32::NAN])),
        "mean_rgb: found NaN at 1, expected a number",
    );
    refused(framed(&video("b", 1, &[1.0])), "mean_rgb: found 1 float, expected 2 floats");
    refused(framed(&[0x0a, 0x7f, 1]), "found a field of 127 bytes");
    with(good.clone());
    let text = convert(folder.path(), "audio:128").fails_with(4);
    assert!(
        text.contains("audio: not found; found the keys id (1 byte string of 1 byte), ")
            && text.contains("labels (1 whole number), mean_rgb (2 floats)"),
        "{text}"
    );
    assert!(text.contains("hint: --features rgb:2"), "{text}");
    let _ = fs::remove_dir(folder.path().join("out"));
    assert!(convert(folder.path(), "rgb:2").stdout().contains("1 rows, 1 labels"));
    // 14: frames beyond the 300 that count.
    let _ = fs::remove_dir_all(folder.path().join("out"));
    with([framed(&clip("c", 300)), framed(&clip("d", 301)), framed(&clip("e", 1))].concat());
    let output = convert(folder.path(), "rgb:2").output();
    assert!(String::from_utf8_lossy(&output.stdout).contains("3 rows, 0 labels, 602 frames"));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("1 videos have more than 300 frames: the first 300 are used"), "{text}");
}

/// 18: the text format.
#[test]
fn bad_text_is_told_with_line_and_column() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let convert =
        || reelscale("convert --from svmlight --output").path(&path("out")).path(&path("in.svm"));
    let table: [(&[u8], &str); 14] = [
        (b"", "line 1: column 1: found nothing"),
        (b"2 x 4\n", "line 1: column 1: found \"2 x 4\""),
        (b"1 3 4\n0 0:1 junk\n", "line 2: column 7: found \"junk\", expected index:value"),
        (b"1 3 4\n0 0:nan\n", "line 2: column 3: value: found NaN"),
        (b"1 3 4\n0 -1:1\n", "line 2: column 3: index: found -1, expected 0 to 2"),
        (b"1 3 4\n0 3:1\n", "line 2: column 3: index: found 3, expected 0 to 2"),
        (b"1 3 4\n0 1:1 0:1\n", "line 2: column 7: index: found 0 after 1, expected ascending"),
        (b"1 3 4\n0 \xff:1\n", "line 2: column 3: found the byte 0xff"),
        (b"1 3 4\n4 0:1\n", "line 2: column 1: label: found \"4\", expected 0 to 3"),
        (b"1 3 4\n0,,1 0:1\n", "line 2: column 3: label: found \"\""),
        (b"2 3 4\n0 0:1\n\n", "line 3: column 1: found an empty line"),
        (b"1 3 4\n0 0:1 1:", "found the end of the file within a line: the file is cut"),
        (b"2 3 4\n0 0:1\n", "found 1 rows, expected 2"),
        (b"1 3 4\n0 0:1\n1 0:1\n", "found a row after the 1"),
    ];
    for (bytes, expected) in table {
        fs::write(path("in.svm"), bytes).unwrap();
        let text = convert().fails_with(4);
        assert!(text.contains("in.svm: ") && text.contains(expected), "{text}");
        let _ = fs::remove_dir(path("out"));
    }
    fs::write(path("in.svm"), "3 3 4\n0,3,3 0:1 2:5\n 1:2\n2 \n").unwrap();
    let text = convert().stdout();
    assert!(text.contains("3 rows, 3 labels") && text.contains("1 rows without labels"), "{text}");
}

/// 22: a panic on one rank ends all, with one message and exit 70; so does an error of one rank.
#[test]
fn ranks_fail_together() {
    if common::without_mpi() {
        return;
    }
    let program = Path::new(env!("CARGO_BIN_EXE_reelscale"));
    let example = program.with_file_name("examples").join("fail");
    let run = |how: &str| reelscale(how).program(example.clone()).ranks(3).within(20);
    let output = run("panic").output();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(70), "{stderr}");
    assert_eq!(stderr.matches("rank 1 panics").count(), 1, "{stderr}");
    assert!(run("error").fails_with(5).contains("rank 1: a file: no space"));
    assert!(run("agreed").fails_with(4).contains("a file: no"));
    // Launchers tell a signal as shells do, or as its number.
    let signal = if is_of_mpich(&mpirun()) == Some(true) { 11 } else { 139 };
    assert_eq!(run("segfault").output().status.code(), Some(signal));
}
