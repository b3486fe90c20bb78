//! The inputs of fuzz/corpus/ through the functions that are fuzzed, as they are and changed.

#[path = "../fuzz/src/memory.rs"]
mod memory;
#[path = "../fuzz/src/targets.rs"]
mod targets;
#[path = "common/tfrecords.rs"]
#[allow(dead_code)]
mod tfrecords;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use reelscale::internals::rng::{Purpose, Stream};

/// Changes of each input.
const CHANGES: u64 = 200;
/// Bytes of all inputs.
const BYTES_MAX: u64 = 200_000;

/// The inputs of each target, in order.
fn corpora() -> Vec<(&'static str, Vec<PathBuf>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let inputs = |name: &str| {
        let entries = fs::read_dir(folder.join(name)).expect("every target has a corpus");
        let mut inputs: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        inputs.sort();
        assert!(inputs.len() >= 3, "{name}: {} inputs", inputs.len());
        inputs
    };
    targets::TARGETS.iter().map(|target| (target.0, inputs(target.0))).collect()
}

/// Runs a target; what it panics at is kept beside the test's name.
fn run(name: &str, bytes: &[u8], from: &Path) {
    if catch_unwind(AssertUnwindSafe(|| targets::run(name, bytes))).is_err() {
        let kept = std::env::temp_dir().join(format!("reelscale-fuzz-{name}"));
        let _ = fs::write(&kept, bytes);
        panic!("{name}: {} or a change of it, kept as {}", from.display(), kept.display());
    }
}

#[test]
fn every_input_and_changes_of_it_keep_the_promises() {
    let mut bytes_of_all = 0;
    for (name, inputs) in corpora() {
        for path in inputs {
            let bytes = fs::read(&path).unwrap();
            bytes_of_all += bytes.len() as u64;
            run(name, &bytes, &path);
            let mut stream = Stream::new(1, Purpose::PlantedRows, bytes.len() as u64);
            for _ in 0..CHANGES {
                run(name, &changed(&bytes, &mut stream), &path);
            }
        }
    }
    assert!(bytes_of_all <= BYTES_MAX, "{bytes_of_all} bytes");
}

/// The input with a few places changed, as files are damaged or made up.
fn changed(bytes: &[u8], stream: &mut Stream) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..1 + stream.below(3) {
        let length = bytes.len() as u64;
        let at = stream.below(length + 1) as usize;
        let end = (at + 1 + stream.below(8) as usize).min(bytes.len());
        match stream.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << stream.below(8),
            1 => bytes.truncate(at),
            2 => drop(bytes.drain(at.min(end)..end)),
            3 => {
                let twice = bytes[at.min(end)..end].to_vec();
                bytes.splice(at..at, twice);
            }
            4 => bytes.insert(at, b"\0\xff\x7f\x80\",\n 0"[stream.below(9) as usize]),
            _ => {
                let huge = [u64::MAX, 1 << 62, 1 << 40, 0][stream.below(4) as usize];
                let huge = huge.to_le_bytes();
                bytes.splice(at..end.max(at), huge);
            }
        }
    }
    bytes
}
