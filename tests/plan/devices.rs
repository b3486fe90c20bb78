//! Plans of ranks that have a GPU each.

use std::path::Path;

use super::{job, plan, reelscale, step};

/// What an H200 beside 16 threads took of whole runs (docs/gpu-notes.md, "Whole runs"): experts a
/// class, rows, seconds of an epoch of the expert step and of an iteration of the shared step.
const FOUND: [(usize, usize, f64, f64); 4] = [
    (2, 131_072, 0.32, 0.77),
    (16, 131_072, 1.82, 2.27),
    (16, 65_536, 1.08, 1.16),
    (16, 32_768, 0.78, 0.67),
];

#[test]
fn whole_runs_of_an_h200_take_what_is_planned() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("job.toml");
    for (experts, rows, epoch, iteration) in FOUND {
        let text = format!(
            "[data]\ntrain = [\"nowhere/*.h5\"]\n[model]\nshared = [{{ gating = true }}]\n\
             [pretrain]\nexperts = 1\nbatch = 4096\n[experts]\ncount = {experts}\nbatch = 2048\n\
             [plan]\nrows = {rows}\nfeatures = 1024\nclasses = 3862\nlabels_per_row = 3\n"
        );
        std::fs::write(&path, text).unwrap();
        let found = plan(&path, "--threads 16 --device h200");
        for (name, measured) in [("experts", epoch), ("shared", iteration)] {
            let ratio = measured / step(&found, name)["seconds"].as_f64().unwrap();
            assert!((0.9..1.25).contains(&ratio), "{experts} x {rows}, {name}: {ratio}");
        }
        assert_eq!(found["device"]["class_blocks_come_and_go"], false);
    }
    // In less memory those of the last one do.
    let narrow = plan(&path, "--threads 16 --device 49.5TFLOP/s,0.6GiB");
    assert_eq!(narrow["device"]["class_blocks_come_and_go"], true);
    assert!(narrow["device"]["memory_bytes"].as_f64().unwrap() <= 0.6 * (1 << 30) as f64);
}

/// What is hidden behind a processor's arithmetic isn't behind that of a GPU: on four of them the
/// grid has one row where that of four processors has two.
#[test]
fn gpus_have_a_grid_of_their_own() {
    let on = |arguments: &str| {
        let line = format!("--ranks 4 --threads 16 {arguments}");
        plan(Path::new("jobs/youtube8m.toml"), &line)
    };
    assert_eq!(on("--device host")["grid"], "2x2");
    assert_eq!(on("")["device"], serde_json::Value::Null);
    let found = on("--device h200");
    assert_eq!(found["grid"], "1x4");
    let other = on("--device h200 --set run.grid=\"2x2\"");
    let seconds = |found| step(found, "experts")["seconds"].as_f64().unwrap();
    assert!(seconds(&found) < seconds(&other) / 5.0, "{} {}", seconds(&found), seconds(&other));
    // A job may name its device.
    assert_eq!(on("--set run.device=\"cuda\"")["device"]["name"], "h200");
}

/// What one GPU computes at once isn't worth a message to others, as long as it has the memory for
/// all of it.
#[test]
fn gpus_pretrain_on_ranks_of_their_own_number() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("job.toml");
    let text = "[data]\ntrain = [\"nowhere/*.h5\"]\n[model]\nshared = [{ dense = 256 }]\n\
                [pretrain]\nepochs = 1\nexperts = 2\nbatch = 256\n[rounds]\ncount = 0\n\
                [run]\nclass_blocks = 4\n[plan]\nrows = 520\nfeatures = 8\nclasses = 1000\n\
                labels_per_row = 3\n";
    std::fs::write(&path, text).unwrap();
    let on = |device: &str| {
        let found = plan(&path, &format!("--ranks 4 --threads 1 --device {device}"));
        found["pretraining_ranks"].as_u64().unwrap()
    };
    let found = ["host", "h200", "1TFLOP/s,0.01GiB", "1TFLOP/s,0.006GiB"].map(on);
    assert_eq!(found, [4, 1, 1, 4]);
}

#[test]
fn devices_are_asked_for_and_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = job(folder.path(), 3000, "");
    let line = |arguments: &str| reelscale(&format!("plan {} {arguments}", path.display()));
    let printed = line("--ranks 4 --device h100 --sbatch --ranks-per-node 2").stdout();
    assert!(printed.contains("\n#SBATCH --gpus-per-task=1\n"), "{printed}");
    assert!(printed.contains("memory of its device, h100\n  pretraining: "), "{printed}");
    assert!(!line("--sbatch").stdout().contains("gpus"));
    let refused = |arguments: &str, code: i32, text: &str| {
        let printed = line(arguments).fails_with(code);
        assert!(printed.contains(text), "{printed}");
    };
    refused("--device cuda", 2, "--device: found cuda, but rates of no such device");
    refused("--device h200 --rehearse", 2, "--rehearse: found ranks with a GPU each");
    refused("--device 1TFLOP/s,0.001GiB", 9, "this needs");
}
