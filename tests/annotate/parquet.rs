//! Annotations as Parquet: the same files on any ranks and after a stop, the same metrics as from
//! lines, and damage that is found.

use std::fs;
use std::time::Duration;

use super::common::{TestCommand, rank_of, reelscale, signal, without_mpi};
use super::{Scratch, files, parts, write_labels};

#[test]
fn parts_are_the_same_on_any_ranks_and_after_a_stop() {
    if without_mpi() {
        return;
    }
    let scratch = Scratch::new(8_000, 300);
    let annotate = |name: &str| scratch.annotate(name).arg("--format").arg("parquet");
    annotate("alone").stdout();
    let expected = files(&scratch.path("alone"));
    assert_eq!(expected.len(), 34 + 2);
    assert!(expected.contains_key("000001-0000000512.parquet"));
    annotate("threads").arg("--comm").arg("threads=3").stdout();
    assert!(files(&scratch.path("threads")) == expected, "threads");

    let running = annotate("stopped").ranks(2).spawn();
    while parts(&scratch.path("stopped")) < 5 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let is_second = |process: &u32| rank_of(*process) == Some(1);
    signal("KILL", running.processes().into_iter().find(is_second).unwrap());
    assert!(!running.finish().status.success());
    assert!(parts(&scratch.path("stopped")) < 34);
    // A part that looks whole by its name alone.
    fs::write(scratch.path("stopped/000002-0000007680.parquet"), "PAR1").unwrap();
    annotate("stopped").stdout();
    assert!(files(&scratch.path("stopped")) == expected, "stopped");
}

/// A model's annotations of 300 videos as one file of lines and one of Parquet.
fn two_files() -> Scratch {
    let scratch = Scratch::new(300, 60);
    write_labels(&scratch.path("data/a.h5"), &scratch.path("labels.csv"));
    one_file(&scratch, "long.csv").arg("--format").arg("long").stdout();
    one_file(&scratch, "one.parquet").stdout();
    scratch
}

fn one_file(scratch: &Scratch, name: &str) -> TestCommand {
    let command =
        reelscale("annotate --top 7 --threads 1 --model").path(&scratch.path("run/model"));
    let command = command.arg("--data").path(&scratch.path("data/a.h5"));
    command.arg("--output").path(&scratch.path(name))
}

#[test]
fn a_file_is_the_same_on_two_ranks_and_measures_as_lines_do() {
    let scratch = two_files();
    let metrics = scratch.evaluate("long.csv").stdout();
    assert_eq!(scratch.evaluate("one.parquet").stdout(), metrics);
    let named = one_file(&scratch, "two.parquet").arg("--format").arg("parquet");
    named.arg("--comm").arg("threads=2").stdout();
    let [one, two] =
        ["one", "two"].map(|name| fs::read(scratch.path(&format!("{name}.parquet"))).unwrap());
    assert!(one == two);
    let told = one_file(&scratch, "a.csv").arg("--format").arg("parquet").fails_with(2);
    assert!(told.contains("--format parquet: found the file") && told.contains("FILE.parquet"));
    // A part that has been changed.
    scratch.annotate("parts").arg("--format").arg("parquet").stdout();
    let part = scratch.path("parts/000000-0000000000.parquet");
    let mut bytes = fs::read(&part).unwrap();
    bytes[100] ^= 1;
    fs::write(&part, bytes).unwrap();
    let told = scratch.evaluate("parts").fails_with(4);
    assert!(told.contains("000000-0000000000.parquet: found the SHA-256"), "{told}");
}

/// No checksum of pages is there, but one of all rows.
#[test]
fn damage_of_a_file_is_found_or_harmless() {
    let scratch = two_files();
    let (expected, whole) =
        (scratch.evaluate("one.parquet").stdout(), fs::read(scratch.path("one.parquet")).unwrap());
    let told = |bytes: &[u8]| {
        fs::write(scratch.path("damaged.parquet"), bytes).unwrap();
        let output = scratch.evaluate("damaged.parquet").output();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.code() {
            Some(0) => assert_eq!(String::from_utf8_lossy(&output.stdout), expected),
            code => assert!(code == Some(4) && told.contains("damaged.parquet: "), "{told}"),
        }
        told
    };
    for length in [0, 3, 11, whole.len() / 2, whole.len() - 5] {
        assert!(told(&whole[..length]).contains("found no"), "{length}");
    }
    let (bits, mut found) = (8 * whole.len(), 0);
    let flips: Vec<usize> = (0..bits).step_by(bits / 60 + 1).collect();
    for flip in &flips {
        let mut bytes = whole.clone();
        bytes[flip / 8] ^= 1 << (flip % 8);
        found += usize::from(!told(&bytes).is_empty());
    }
    assert!(found * 2 > flips.len(), "{found} of {}", flips.len());
}
