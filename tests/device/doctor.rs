//! What `reelscale doctor` says of devices, and what the choice refuses for the same reason.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::common::{TestCommand, reelscale, shards};
use super::gpu::missing;

/// Says that it is a driver of CUDA with one GPU, of this compute capability.
const DRIVER: &str = r#"
#include <stdlib.h>
#include <string.h>
int cuInit(unsigned flags) { if (CAPABILITY < 0) abort(); return 0; }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuDeviceGetName(char *name, int length, int device) {
    strncpy(name, "an old GPU", length); return 0;
}
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = 8ul << 30; return 0; }
int cuDeviceGetAttribute(int *value, int which, int device) {
    *value = which == 75 ? CAPABILITY / 10 : which == 76 ? CAPABILITY % 10 : POOLS; return 0;
}
"#;

/// A folder that has such a driver.
fn driver(folder: &Path, capability: i32, pools: i32) -> PathBuf {
    let to = folder.join(format!("driver-{capability}-{pools}"));
    fs::create_dir(&to).unwrap();
    fs::write(to.join("driver.c"), DRIVER).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o", "libcuda.so", "driver.c"]).current_dir(&to);
    compiler.arg(format!("-DCAPABILITY={capability}")).arg(format!("-DPOOLS={pools}"));
    assert!(compiler.status().unwrap().success());
    to
}

fn with_driver(command: TestCommand, driver: &Path) -> TestCommand {
    command.env("LD_LIBRARY_PATH", driver.to_str().unwrap())
}

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
    assert!(told.contains("device     opencl: no GPU found"), "{told}");
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
    for (capability, pools, reason) in [
        (75, 1, "CUDA: the GPU has compute capability 7.5, the kernels need 8.0"),
        (90, 0, "CUDA: the GPU has no memory pools"),
    ] {
        let driver = driver(folder, capability, pools);
        let told = with_driver(reelscale("doctor"), &driver).stdout();
        let line = "device     CUDA: an old GPU, driver for CUDA 13.0, 8.00 GiB: refused: ";
        assert!(told.contains(&format!("{line}{reason}\n")), "{told}");
        let told = refused(with_driver(reelscale("doctor --device cuda"), &driver));
        assert!(told.contains(&format!("problem    rank 0: run.device = \"cuda\": {reason}")));
        let train = reelscale("train").path(&folder.join("job.toml")).arg("--set");
        let train = train.arg("run.device=\"cuda\"").arg("--output").path(&folder.join("run"));
        let told = with_driver(train, &driver).fails_with(3);
        assert_eq!(told, format!("reelscale: run.device = \"cuda\": {reason}"));
    }
}

/// It is another process that the driver ends.
#[test]
fn a_driver_that_crashes_ends_no_doctor() {
    let folder = tempfile::tempdir().unwrap();
    let driver = driver(folder.path(), -1, 1);
    let told = with_driver(reelscale("doctor"), &driver).stdout();
    assert!(told.contains("signal: 6") && told.contains("healthy"), "{told}");
    let told = refused(with_driver(reelscale("doctor --device cuda"), &driver));
    assert!(told.contains("problem    rank 0: devices: looking for them ends with"), "{told}");
}
