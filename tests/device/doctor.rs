//! What `reelscale doctor` says of devices, and what the choice refuses for the same reason.

use std::fs;

use super::common::{TestCommand, needs_mpi, reelscale, shards};
use super::gpu::missing;
use super::stand_in::with;

/// What a command that fails with 3 prints in all.
fn refused(command: TestCommand) -> String {
    let output = command.output();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_doctor_compares_devices_with_the_processor() {
    if missing() {
        return;
    }
    let told = reelscale("doctor --device opencl").stdout();
    let device = told.lines().find(|line| line.starts_with("device")).unwrap();
    assert!(device.contains("OpenCL: ") && device.contains("gives the processor's bits"), "{told}");
    assert!(device.contains("GiB") && device.contains("driver"), "{told}");
    // Nobody asks PoCL who isn't told to.
    let told = reelscale("doctor").stdout();
    assert!(
        told.contains("device     a run takes the processor: there is no GPU's driver here"),
        "{told}"
    );
    assert!(!reelscale("doctor --device host").stdout().contains("\ndevice"));
}

#[test]
fn the_doctor_says_that_a_device_is_missing() {
    let none = |device: &str| {
        let doctor = reelscale("doctor --device").arg(device);
        let doctor = doctor.env("OCL_ICD_VENDORS", "/nowhere").env("CUDA_VISIBLE_DEVICES", "-1");
        refused(doctor)
    };
    for device in ["opencl", "cuda"] {
        let told = none(device);
        assert!(told.contains(&format!("problem    rank 0: run.device = {device:?}: ")), "{told}");
    }
}

/// The doctor lists it with the reason, and neither it nor a run takes it or another one.
#[test]
fn a_device_that_lacks_something_is_refused_with_that_reason() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    shards(&folder.join("data"), 60, 8, 6);
    let job = format!("[data]\ntrain = [\"{}/data/*.h5\"]\n", folder.display());
    fs::write(folder.join("job.toml"), job).unwrap();
    for (variable, value, reason) in [
        ("CAPABILITY", "75", "the GPU has compute capability 7.5, the kernels need 8.0"),
        ("POOLS", "0", "the GPU has no memory pools"),
        (
            "VERSION",
            "12080",
            "the driver is for CUDA 12.8: the kernels need one for CUDA 13.0 (580) or later",
        ),
    ] {
        let with = |command: TestCommand| with(command, &[(variable, value)]);
        let reason = format!("CUDA: {reason}");
        let told = with(reelscale("doctor")).stdout();
        assert!(
            told.contains("device     CUDA: stand-in of plain C++, driver for CUDA "),
            "{told}"
        );
        assert!(told.contains(&format!(", 8.00 GiB: refused: {reason}\n")), "{told}");
        let takes = format!("device     a run takes the processor: GPUs by CUDA: {reason}; ");
        assert!(told.contains(&takes), "{told}");
        let told = refused(with(reelscale("doctor --device cuda")));
        assert!(told.contains(&format!("problem    rank 0: run.device = \"cuda\": {reason}")));
        let train = reelscale("train").path(&folder.join("job.toml")).arg("--set");
        let train = train.arg("run.device=\"cuda\"").arg("--output").path(&folder.join("run"));
        let told = with(train).fails_with(3);
        assert_eq!(told, format!("reelscale: run.device = \"cuda\": {reason}"));
    }
}

/// It is another process that the driver ends, or hangs in.
#[test]
fn a_driver_that_crashes_or_hangs_ends_no_doctor() {
    for (when, fault, reason) in [
        ("AT_START", "crash", "signal: 6"),
        ("AT_CONTEXT", "crash", "signal: 6"),
        ("AT_START", "hang", "drivers don't answer within 1 s"),
        ("AT_CONTEXT", "hang", "drivers don't answer within 1 s"),
    ] {
        let with = |command: TestCommand| {
            with(command, &[(when, fault)]).env("REELSCALE_DEVICE_SECONDS", "1")
        };
        let told = with(reelscale("doctor")).stdout();
        assert!(told.contains(reason) && told.contains("healthy"), "{when}, {fault}: {told}");
        let told = refused(with(reelscale("doctor --device cuda")));
        assert!(told.contains("problem    rank 0: ") && told.contains(reason), "{told}");
    }
}

/// Ranks that see the same GPUs have each compared once, though each may be one process's alone.
#[test]
fn the_doctor_lists_as_many_gpus_as_there_are() {
    let locks = tempfile::tempdir().unwrap();
    let locks = locks.path().to_str().unwrap();
    let doctor = |gpus: &str, ranks: usize| {
        let command = reelscale("doctor");
        let command = if ranks > 1 { command.ranks(ranks) } else { command };
        let told = with(command, &[("GPUS", gpus), ("EXCLUSIVE", locks)]).output();
        assert!([Some(0), Some(3)].contains(&told.status.code()), "{told:?}");
        String::from_utf8(told.stdout).unwrap()
    };
    let one = "CUDA: stand-in of plain C++, driver for CUDA 13.0, 8.00 GiB: gives the processor's \
               bits (225761 numbers compared)";
    let takes = "device     a run takes them: a GPU by cuda for each rank";
    let told = doctor("0", 1);
    let none = "a run takes the processor: GPUs by CUDA: none; GPUs by OpenCL: none";
    assert!(told.contains("device     cuda: no GPU found") && told.contains(none), "{told}");
    let told = doctor("1", 1);
    assert!(told.contains(&format!("device     {one}\n")) && told.contains(takes), "{told}");
    let told = doctor("4", 1);
    assert!(told.contains(&format!("device     4 of {one}\n")) && told.contains(takes), "{told}");
    needs_mpi!();
    let told = doctor("4", 3);
    assert!(told.contains(&format!("device     4 of {one}\n")) && told.contains(takes), "{told}");
    let told = doctor("2", 3);
    let few = "GPUs by CUDA: 2 for the 3 ranks of this node; GPUs by OpenCL: none";
    assert!(told.contains(&format!("device     2 of {one}\n")), "{told}");
    assert!(told.contains(&format!("device     a run takes the processor: {few}")), "{told}");
}
