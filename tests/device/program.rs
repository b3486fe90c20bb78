//! `reelscale train` on devices that its job names.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::common::{TestCommand, json, needs_mpi, reelscale, shards};
use super::gpu::missing;

/// A job of one round on shards, and what it is to come to: the model's hash on the host.
fn job(folder: &Path) -> String {
    shards(&folder.join("data"), 300, 60, 20);
    let text = format!(
        "[data]\ntrain = [\"{}/data/*.h5\"]\nvalidation_fraction = 0.1\n\
         [model]\nshared = [{{ gating = true }}]\n[pretrain]\nepochs = 1\n\
         [experts]\nepochs = 2\ndropout = 0.1\n[rounds]\ncount = 1\n",
        folder.display()
    );
    fs::write(folder.join("job.toml"), text).unwrap();
    train(folder, "host", "host", 1)
}

/// What trains into the folder `run`, on a device if one is named.
fn training(folder: &Path, device: Option<&str>, run: &str) -> TestCommand {
    let command = reelscale("train").path(&folder.join("job.toml"));
    let command = command.arg("--output").path(&folder.join(run));
    match device {
        Some(device) => command.arg("--set").arg(format!("run.device={device:?}")),
        None => command,
    }
}

/// The hash of what came of it.
fn hash(folder: &Path, run: &str) -> String {
    json(&folder.join(run).join("run.json"), "result_hash").as_str().unwrap().to_string()
}

/// Trains on so many ranks; gives the result's hash.
fn train(folder: &Path, device: &str, run: &str, ranks: usize) -> String {
    let command = training(folder, Some(device), run);
    let command = if ranks > 1 { command.ranks(ranks) } else { command };
    command.stdout();
    hash(folder, run)
}

#[test]
fn a_job_names_its_device_and_a_rank_may_have_another() {
    needs_mpi!();
    if missing() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let expected = job(folder);
    assert_eq!(train(folder, "auto", "auto", 1), expected);
    let versions = json(&folder.join("auto/run.json"), "versions");
    assert!(versions["device"].as_str().unwrap().starts_with("host ("), "{versions}");
    assert_eq!(train(folder, "opencl", "opencl", 2), expected);
    let versions = json(&folder.join("opencl/run.json"), "versions");
    assert!(versions["device"].as_str().unwrap().starts_with("OpenCL: "), "{versions}");

    let script = folder.join("mixed.sh");
    let text = format!(
        "#!/bin/sh\n[ \"$OMPI_COMM_WORLD_RANK\" = 1 ] && export REELSCALE_DEVICE=opencl\n\
         exec {} \"$@\"\n",
        env!("CARGO_BIN_EXE_reelscale")
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let told = training(folder, Some("host"), "mixed").program(script).ranks(3).output();
    assert!(told.status.success(), "{told:?}");
    assert_eq!(hash(folder, "mixed"), expected);
    let versions = json(&folder.join("mixed/run.json"), "versions");
    let devices = versions["device"].as_str().unwrap();
    assert!(devices.contains("on 1 of 3 ranks") && devices.contains("on 2 of 3"), "{devices}");
}

/// PoCL's buffers have a quarter of its memory at most: a run plans with that.
#[test]
fn a_run_keeps_to_the_largest_buffer() {
    if missing() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let expected = job(folder);
    let train = |gib: &str| {
        let command = training(folder, Some("opencl"), gib).env("POCL_MEMORY_LIMIT", gib);
        let told = command.output();
        assert!(told.status.success(), "{told:?}");
        assert_eq!(hash(folder, gib), expected);
        String::from_utf8(told.stderr).unwrap()
    };
    for (gib, used, all) in [("1", "256.00 MiB", "1.00 GiB"), ("2", "512.00 MiB", "2.00 GiB")] {
        let told = train(gib);
        assert!(told.contains(&format!("device memory: {used} of {all} are used")), "{told}");
        let planned = told.lines().find(|line| line.contains("device memory planned")).unwrap();
        assert!(planned.contains(&format!("of {used}")), "{planned}");
        // `plan` says the same of a device of so much memory.
        let gib = gib.parse::<f64>().unwrap() / 4.0;
        let plan = reelscale(&format!("plan --format json --device 1TFLOP/s,{gib}GiB"));
        let plan = plan.path(&folder.join("job.toml")).stdout();
        let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
        let bytes = plan["device"]["memory_bytes"].as_f64().unwrap();
        let expected = format!("device memory planned {:.2} MiB of", bytes / (1 << 20) as f64);
        assert!(planned.contains(&expected), "{expected}: {planned}");
    }
}

/// Ranks that all have a GPU choose their grid by what a GPU does; the bits are the same.
#[test]
fn gpus_choose_their_grid() {
    if missing() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    shards(&folder.join("data"), 520, 1000, 200);
    let text = format!(
        "[data]\ntrain = [\"{}/data/*.h5\"]\n[pretrain]\nepochs = 0\n[experts]\nepochs = 1\n\
         batch = 512\nrow_slices = 2\n[rounds]\ncount = 1\n[run]\nclass_blocks = 2\n",
        folder.display()
    );
    fs::write(folder.join("job.toml"), text).unwrap();
    let train = |device: &str| {
        let line = format!("--comm threads=4 train --set run.device=\"{device}\" --output");
        let told = reelscale(&line).path(&folder.join(device)).path(&folder.join("job.toml"));
        let told = told.output();
        assert!(told.status.success(), "{told:?}");
        (String::from_utf8(told.stderr).unwrap(), hash(folder, device))
    };
    let ((host, expected), (gpu, found)) = (train("host"), train("opencl"));
    assert!(host.contains("on a grid of 2 x 2 of 4 ranks"), "{host}");
    assert!(gpu.contains("on a grid of 1 x 4, as ranks have GPUs"), "{gpu}");
    assert_eq!(found, expected);
}

/// So do they with the ranks that pretrain, which `plan` foretells: what a GPU computes at once
/// isn't worth a message.
#[test]
fn gpus_choose_who_pretrains() {
    if missing() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    shards(&folder.join("data"), 520, 1000, 8);
    let text = format!(
        "[data]\ntrain = [\"{}/data/*.h5\"]\n[model]\nshared = [{{ dense = 256 }}]\n[pretrain]\n\
         epochs = 1\nexperts = 2\nbatch = 256\n[rounds]\ncount = 0\n[run]\nthreads = 1\n\
         class_blocks = 4\n",
        folder.display()
    );
    let job = folder.join("job.toml");
    fs::write(&job, text).unwrap();
    let train = |device: &str| {
        let line = format!("--comm threads=4 train --set run.device=\"{device}\" --output");
        let told = reelscale(&line).path(&folder.join(device)).path(&job).output();
        assert!(told.status.success(), "{told:?}");
        let record = fs::read_to_string(folder.join(device).join("run.json")).unwrap();
        let record: serde_json::Value = serde_json::from_str(&record).unwrap();
        let learners = record["sessions"][0]["pretraining_ranks"].as_u64().unwrap_or(4);
        (String::from_utf8(told.stderr).unwrap(), learners, hash(folder, device))
    };
    let planned = |device: &str| {
        let line = format!("plan --format json --ranks 4 --threads 1 --device {device}");
        let plan = reelscale(&line).path(&job).stdout();
        serde_json::from_str::<serde_json::Value>(&plan).unwrap()["pretraining_ranks"].as_u64()
    };
    let ((host, all, expected), (gpu, one, found)) = (train("host"), train("opencl"));
    assert_eq!([Some(all), Some(one)], [planned("host"), planned("1TFLOP/s,8GiB")]);
    assert_eq!([all, one], [4, 1], "{host}{gpu}");
    assert!(gpu.contains("pretraining on 1 of 4 ranks, as ranks have GPUs"), "{gpu}");
    assert!(!host.contains("pretraining on"), "{host}");
    assert_eq!(found, expected);
}

/// Nothing else is taken in silence.
#[test]
fn a_device_that_is_missing_ends_the_run() {
    let folder = tempfile::tempdir().unwrap();
    job(folder.path());
    let on = |device| training(folder.path(), device, "run");
    let refused = on(Some("opencl")).env("OCL_ICD_VENDORS", "/nowhere").fails_with(3);
    assert!(refused.contains("run.device") && refused.contains("opencl"), "{refused}");
    let refused = on(None).env("REELSCALE_DEVICE", "abacus").fails_with(3);
    assert!(refused.contains("expected one of auto, host, opencl, cuda"), "{refused}");
    let refused = on(Some("abacus")).fails_with(2);
    assert!(refused.contains("expected one of auto, host, opencl, cuda"), "{refused}");
    assert!(!folder.path().join("run").exists());
}

/// The model of a run, scored on the device and on the processor, gives the same files.
#[test]
fn evaluate_and_annotate_name_their_device() {
    if missing() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    job(folder);
    let on = |command: &str, device: &str| {
        let command = reelscale(command).arg("--model").path(&folder.join("host/model"));
        let data = format!("{}/data/*.h5", folder.display());
        command.arg("--data").arg(data).arg("--device").arg(device)
    };
    let found = ["host", "opencl"].map(|device| {
        let evaluated = on("evaluate --format json", device).output();
        assert!(evaluated.status.success(), "{evaluated:?}");
        let log = String::from_utf8_lossy(&evaluated.stderr).into_owned();
        assert!(
            log.contains("device: ") && log.contains("OpenCL") == (device == "opencl"),
            "{log}"
        );
        let to = folder.join(format!("{device}.csv"));
        on("annotate", device).arg("--output").path(&to).stdout();
        // In parts, by whole models and in waves.
        let part = |way: &str, gib: f64| {
            let to = folder.join(format!("{device}-{way}/"));
            let command = on("annotate --part-rows 100 --threads 1 --format long", device);
            let command = command.arg("--memory-gib").arg(format!("{gib}")).arg("--output");
            (command.path(&to), to)
        };
        let least = part("none", 0.000_001).0.fails_with(9);
        let least = least.split("needs ").nth(1).unwrap().split(' ').next().unwrap();
        let least: f64 = least.parse().unwrap();
        let parts =
            [("whole", 0.0, false), ("waves", 1.001 * least, true)].map(|(way, gib, waves)| {
                let (command, to) = part(way, gib);
                let output = command.output();
                let log = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success() && log.contains("rows in parts") == waves, "{log}");
                fs::read_to_string(to.join("manifest.json")).unwrap()
            });
        assert!(parts[0] == parts[1] && parts[0].contains("000000-0000000100.csv"));
        let text = fs::read_to_string(to).unwrap();
        (String::from_utf8(evaluated.stdout).unwrap(), text, parts)
    });
    assert!(found[0].0.contains("gap_at_20") && found[0].1.lines().count() > 300);
    assert_eq!(found[0], found[1]);
    let tight = on("evaluate", "opencl").arg("--device-memory-gib").arg("0.000001");
    let told = tight.fails_with(9);
    assert!(
        told.starts_with("reelscale: --device-memory-gib: found 0.000001, this needs"),
        "{told}"
    );
    let nowhere = |command| on(command, "opencl").env("OCL_ICD_VENDORS", "/nowhere");
    let output = folder.join("none.csv");
    for command in [nowhere("evaluate"), nowhere("annotate").arg("--output").path(&output)] {
        let told = command.fails_with(3);
        assert!(told.starts_with("reelscale: --device = \"opencl\": OpenCL: "), "{told}");
    }
    assert!(!output.exists());
}

/// A line of JSON for each figure, which says on what it was measured.
#[test]
fn bench_measures_the_device_that_is_named() {
    if missing() {
        return;
    }
    let rows = |arguments: &str, device: &str| -> Vec<serde_json::Value> {
        let command = format!("bench {arguments} --repeat 1 --format json --device {device}");
        let text = reelscale(&command).stdout();
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let mixture = "mixture --classes 40 --experts 3 --rows 50 --activations 24";
    let train = "train --rows 300 --classes 20 --features 16 --batch 64";
    let annotate = "annotate --rows 300 --classes 40 --experts 3 --activations 24";
    for part in ["gemm --rows 30 --depth 20 --columns 40", mixture, train, annotate] {
        for row in rows(part, "opencl") {
            assert!(row["device"].as_str().unwrap().starts_with("OpenCL: "), "{row}");
            assert!(row["gflops"].as_f64().unwrap() > 0.0, "{row}");
        }
    }
    let loss = |stage, device: &str| {
        let row = &rows(&format!("{mixture} --stage {stage}"), device)[0];
        assert_eq!(row["device"] == "host", device == "host", "{row}");
        row["loss"].as_f64().unwrap().to_bits()
    };
    let losses = [(1, "host"), (1, "opencl"), (2, "host"), (2, "opencl")];
    let losses = losses.map(|(stage, device)| loss(stage, device));
    assert!(losses.iter().all(|loss| *loss == losses[0]), "{losses:?}");
    let refused = reelscale("bench sum --leaves 9 --device opencl").fails_with(2);
    assert!(refused.contains("--device: found \"opencl\", this benchmark has none"), "{refused}");
}
