//! Rows that normalisation can't make numbers of are errors with file, row and value; they never
//! become zeros in silence.

mod common;

use std::fs;
use std::path::Path;

use common::reelscale;

/// A shard of 40 rows of 6 features, of which row 7 has `value` in column 2.
fn shard(folder: &Path, name: &str, value: &str) -> String {
    let row = |row: usize| {
        let x = |column: usize| match (row, column) {
            (7, 2) => value.to_string(),
            _ => format!("{}", ((row * 7 + column * 3) % 11) as f64 / 5.0 - 1.0),
        };
        let values: Vec<String> = (0..6).map(|column| format!("{column}:{}", x(column))).collect();
        format!("{} {}\n", row % 2, values.join(" "))
    };
    let text = folder.join(format!("{name}.txt"));
    let rows: String = (0..40).map(row).collect();
    fs::write(&text, format!("40 6 2\n{rows}")).unwrap();
    let output = folder.join(name);
    reelscale("convert --from svmlight --output").path(&output).path(&text).stdout();
    output.join("*.h5").to_str().unwrap().to_string()
}

fn job(folder: &Path, name: &str, shards: &str, normalize: &str) -> std::path::PathBuf {
    let text = format!(
        "[data]\ntrain = [\"{shards}\"]\nnormalize = \"{normalize}\"\n[pretrain]\nranks = 4096\n\
             epochs = 1\n\
         [experts]\nepochs = 1\n[rounds]\ncount = 1\n[run]\nthreads = 1\n"
    );
    let path = folder.join(format!("{name}.toml"));
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_row_whose_length_is_infinite_is_named_by_every_command() {
    if common::without_mpi() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (fill, fine) = (shard(folder, "fill", "9.96921e36"), shard(folder, "fine", "1e18"));
    let expected = "row 7, column 2: found 9.96921e36, which is too large";
    let refused = |text: String| {
        assert!(text.contains(expected) && text.contains("shard-00000-0000.h5"), "{text}");
    };
    for ranks in [1, 3] {
        let train = reelscale("train").path(&job(folder, "fill", &fill, "l2"));
        let train = train.arg("--output").path(&folder.join(format!("run-fill-{ranks}")));
        refused(train.ranks(ranks).fails_with(4));
    }
    let run = folder.join("run-fine");
    reelscale("train").path(&job(folder, "fine", &fine, "l2")).arg("--output").path(&run).stdout();
    let model = run.join("model");
    let evaluate = reelscale("evaluate --model").path(&model).arg("--data");
    refused(evaluate.clone().arg(&fill).fails_with(4));
    assert!(evaluate.arg(&fine).stdout().contains("GAP@20"));
    let csv = folder.join("scores.csv");
    let annotate = reelscale("annotate --model").path(&model).arg("--data").arg(&fill);
    refused(annotate.arg("--output").path(&csv).fails_with(4));
    assert!(!csv.exists());
}

#[test]
fn features_are_standardised_to_numbers_or_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // Sums of squares that f32 couldn't hold, and a deviation that it can hardly hold.
    for value in ["3e38", "-9.96921e36", "1e-42"] {
        let shards = shard(folder, value, value);
        let run = folder.join(format!("run{value}"));
        let train = reelscale("train").path(&job(folder, value, &shards, "standardise"));
        train.arg("--output").path(&run).stdout();
        let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        assert!(metrics.contains("\"loss\":") && !metrics.contains("null"), "{metrics}");
    }
    // What is far beyond what was trained on isn't scaled to infinity.
    let model = folder.join("run1e-42/model");
    let evaluate = reelscale("evaluate --model").path(&model).arg("--data");
    let text = evaluate.clone().path(&folder.join("3e38/*.h5")).fails_with(4);
    assert!(text.contains("row 7, column 2: found 3"), "{text}");
    evaluate.path(&folder.join("-9.96921e36/*.h5")).stdout();
}
