//! Public trouble as small inputs, each with the command that met it: `../shared/cases`, where that
//! is there. What each must give stands here, a line of what is printed after the other.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common;
use crate::common::shards::h5py;

/// What each case prints, in this order, among other things; `!` before what it must not.
const CASES: &[(&str, &[&str])] = &[
    (
        "01-labels-not-int64",
        &[
            "3 records have floats for labels, whole ones, taken as numbers",
            "3 rows, 6 labels",
            "3 records have texts for labels, digits, taken as numbers",
            "3 rows, 6 labels",
        ],
    ),
    (
        "02-labels-under-another-key",
        &["label (2 whole numbers)", "hint: --labels-key label", "rc=4", "a feature list", "rc=4"],
    ),
    ("03-many-values-in-one-frame", &["3 rows, 3 labels, 9 frames", "rc=0"]),
    (
        "05-segment-labels-2019",
        &[
            "4 records carry segment_labels, which aren't used; --segments makes a row of each",
            "4 rows, 8 labels",
            "no record has labels",
            "--labels-key",
        ],
    ),
    (
        "06-hdf5-chunks-never-written",
        &[
            "dataset \"features\": 2 of 3 chunks were never written; hint: its writer was stopped",
            "rc=4",
        ],
    ),
    (
        "08-annotate-ids-with-comma-or-newline",
        &["4 videos", "rc=0", "videos                    4", "rc=0"],
    ),
    ("09-inspect-claims-checksums", &["checksums  none"]),
    (
        "10-run-directory-without-locks",
        &[
            "out/run37: the file system gives no locks (No locks available); hint: mount it",
            "rc=5",
            "out/run38: the file system gives no locks",
            "rc=5",
            "out/run95: the file system gives no locks",
            "rc=5",
        ],
    ),
    (
        "11-l2-of-fill-values",
        &["row 0, column 0: found 9.96921e36, which is too large", "GAP@20               1.0000"],
    ),
    (
        "12-hdf5-user-block-matlab",
        &["an HDF5 file behind a user block of 512 bytes (MATLAB 7.3?)", "rc=4"],
    ),
    (
        "14-same-shards-train-and-validation",
        &["1 of its shards have the rows of shards of data.train"],
    ),
    (
        "15-class-count-attribute",
        &[
            "class_count: found -5, expected 1 to 16777216",
            "class_count: found 1099511627776, expected 1 to 16777216",
            "classes    5",
            "classes    5",
            "found float16 [30, 12], expected float32 or uint8",
        ],
    ),
    (
        "16-not-a-tfrecord",
        &[
            "20 rows, 20 labels",
            "20 rows, 20 labels",
            "a Git LFS pointer, expected TFRecord; hint: git lfs pull",
            "an HTML page",
            "found text that begins with",
            "a tf.train.Example or SequenceExample without the framing of TFRecord",
            "4096 zero bytes after record 19",
            "empty.tfrecord: found no record",
            "rc=4",
        ],
    ),
    (
        "17-frames-of-floats-mediapipe",
        &[
            "3 rows, 3 labels, 9 frames",
            "rgb: bytes of -0.9957879 to 0.98508686: error at most",
            "RGB/feature/floats (frames of 8 floats)",
            "hint: --features rgb:8",
            "!timestamp:0",
        ],
    ),
    (
        "18-features-as-raw-bytes",
        &["expected 8 floats; they may be 8 float32 numbers", "hint: --raw-floats", "rc=4"],
    ),
    (
        "19-csv-error-texts",
        &[
            "nan.csv: line 3: b2: class 1: found the score \"nan\", expected a number",
            "found the class \"Game\", expected 0 to 16777215",
            "found the class \"0:0.9\"",
            "found the class \"16777216\", expected 0 to 16777215",
            "latin.csv: line 3: found the byte 0xe9, expected UTF-8",
            "found the class \"0,2\", expected 0 to 16777215, with spaces between them",
            "!blank.csv",
            "!bom.csv",
            "!quoted.csv",
        ],
    ),
    (
        "21-text-format-as-others-write-it",
        &[
            "out/blank-at-end.txt: 1 files, 4 rows",
            "out/bom.txt: 1 files, 4 rows",
            "out/comments.txt: 1 files, 1 rows",
            "out/header-space.txt: 1 files, 4 rows",
            "out/header-tabs.txt: 1 files, 4 rows",
            "labels: found 20000000, expected 1 to 16777216",
            "the file is cut; hint: if its last line is whole, echo >> no-final-newline.txt",
            "no-header.txt: line 1",
            "this looks like LIBSVM's format, which has no header: --rows-from-lines",
            "out/nothing-at-all.txt: 1 files, 3 rows",
            "out/tabs.txt: 1 files, 2 rows",
            "out/gz.txt.gz: 1 files, 4 rows",
        ],
    ),
    (
        "22-doctor-and-process-vm-readv",
        &[
            "problem    ",
            "one rank may not read another's memory",
            "--cap-add=SYS_PTRACE",
            "rc=3",
            "0",
        ],
    ),
    (
        "23-convert-that-fails-half-way",
        &[
            "b.tfrecord: record 19 at byte 2574",
            "the file is cut",
            "rc=4",
            "20 rows, 20 labels",
            "rc=0",
        ],
    ),
    (
        "26-hint-that-does-not-work",
        &["hint: --features audio_embedding:128 --classes 527", "!start_time_seconds:1", "rc=4"],
    ),
];

fn folder() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/cases");
    if !path.is_dir() {
        println!("skipped: no cases in {}", path.display());
    }
    path.is_dir().then_some(path)
}

/// What the case's own script prints, with its inputs made anew.
fn printed(case: &Path, python: &str) -> String {
    let shell = format!("{python} make.py && bash run.sh 2>&1");
    let mut command = Command::new("bash");
    command.args(["-c", &shell]).current_dir(case).stdin(std::process::Stdio::null());
    command.env("REELSCALE", env!("CARGO_BIN_EXE_reelscale"));
    let output = command.output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn public_trouble_gets_an_answer() {
    let (Some(from), Some(python)) = (folder(), h5py()) else { return };
    common::needs_mpi!();
    let place = tempfile::tempdir().unwrap();
    fs::copy(from.join("common.py"), place.path().join("common.py")).unwrap();
    for (name, expected) in CASES {
        let case = place.path().join(name);
        fs::create_dir(&case).unwrap();
        for file in ["make.py", "run.sh"] {
            fs::copy(from.join(name).join(file), case.join(file)).unwrap();
        }
        let printed = printed(&case, python);
        let mut rest = &printed[..];
        for line in *expected {
            if let Some(never) = line.strip_prefix('!') {
                assert!(!printed.contains(never), "{name}: {never:?} is in\n{printed}");
                continue;
            }
            let at = rest.find(line);
            let at =
                at.unwrap_or_else(|| panic!("{name}: {line:?} isn't in\n{rest}\nof\n{printed}"));
            rest = &rest[at + line.len()..];
        }
    }
}
