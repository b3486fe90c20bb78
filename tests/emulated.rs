//! Processors that this machine isn't, emulated by QEMU: the program finds the kernels that they
//! have, and a whole training run has the same bits as here.
//!
//! `tests/arm64.sh` builds for 64-bit ARM and adds it; `make test` runs the x86 ones.

mod common;

use std::path::Path;
use std::process::Command;

use common::{json, reelscale};

const JOB: &str = "
[data]
train = [\"TRAIN\"]
validation_fraction = 0.1
[model]
shared = [{ dense = 40 }, { gating = true }]
[pretrain]
epochs = 1
batch = 256
[experts]
count = 3
epochs = 2
dropout = 0.2
averaging = 0.9
[shared]
iterations = 3
[rounds]
count = 1
[run]
threads = 2
";

/// How to start the program as on another processor, and the kernels that it has.
fn processors() -> Vec<(String, &'static str)> {
    let program = env!("CARGO_BIN_EXE_reelscale");
    let mut processors = Vec::new();
    let qemu = "qemu-x86_64-static";
    if cfg!(target_arch = "x86_64") && Command::new(qemu).arg("-version").output().is_ok() {
        processors.push((format!("{qemu} -cpu Haswell {program}"), "plain avx2"));
        processors.push((format!("{qemu} -cpu Nehalem {program}"), "plain"));
    } else {
        println!("skipped: no {qemu} to emulate other x86 processors");
    }
    if let Ok(command) = std::env::var("REELSCALE_ARM64") {
        processors.push((command, "plain neon"));
    }
    processors
}

#[test]
fn other_processors_give_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let (job, data) = (folder.path().join("job.toml"), folder.path().join("data"));
    reelscale("synthesize --rows 400 --classes 150 --features 50 --output").path(&data).stdout();
    std::fs::write(&job, JOB.replace("TRAIN", &format!("{}/*.h5", data.display()))).unwrap();
    let here = folder.path().join("here");
    reelscale("train").path(&job).arg("--output").path(&here).stdout();
    let result = |output: &Path| json(&output.join("run.json"), "result_hash").to_string();
    for (index, (command, kernels)) in processors().into_iter().enumerate() {
        let there = folder.path().join(index.to_string());
        let mut words = command.split_whitespace();
        let program = words.next().expect("a command").into();
        let emulated =
            words.fold(reelscale("").program(program), |emulated, word| emulated.arg(word));
        let report = emulated.clone().arg("doctor").output();
        let report = String::from_utf8_lossy(&report.stdout).into_owned();
        assert!(report.contains(&format!("kernels    {kernels} (")), "{command}: {report}");
        emulated.arg("train").path(&job).arg("--output").path(&there).stdout();
        assert_eq!(result(&there), result(&here), "{command}");
        println!("{command}: {}", result(&there));
    }
}
