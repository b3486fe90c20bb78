//! What `make gpu-bundle` puts together for machines with a GPU, on PoCL: that it runs from its
//! folder alone, and what its exit codes and its gpu.json say.

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use reelscale::internals::device::gpu::opencl::{Kinds, devices};
use serde_json::Value;

/// What stands in for compute-sanitizer, which has no say without a CUDA driver: it notes what it
/// was told, runs the program and finds so many errors.
const SANITIZER: &str = "#!/bin/sh
echo \"$@\" >> \"$(dirname \"$0\")/told\"
while [ \"${1#/}\" = \"$1\" ]; do shift; done
\"$@\" || exit
echo '========= ERROR SUMMARY: FOUND errors'
[ FOUND = 0 ] || exit 99
";

/// A bundle of the programs that this test has, moved to where nobody has built it.
fn bundle(folder: &Path) -> PathBuf {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--release", "--quiet"]).current_dir(project.join("gpu-check"));
    assert!(build.status().unwrap().success(), "gpu-check doesn't build");
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| project.join("gpu-check/target"));
    let program = Path::new(env!("CARGO_BIN_EXE_reelscale"));
    let release = folder.join("release");
    fs::create_dir_all(release.join("examples")).unwrap();
    let example = program.with_file_name("examples").join("pinned_jobs");
    symlink(target.join("release/gpu-check"), release.join("gpu-check")).unwrap();
    symlink(program, release.join("reelscale")).unwrap();
    symlink(example, release.join("examples/pinned_jobs")).unwrap();
    let mut command = Command::new(project.join("gpu-check/bundle.sh"));
    command.arg(folder.join("bundle")).arg(&release).arg("--any-libraries");
    let told = command.output().unwrap();
    assert!(told.status.success(), "{told:?}");
    let elsewhere = folder.join("elsewhere");
    fs::rename(folder.join("bundle"), &elsewhere).unwrap();
    elsewhere
}

fn script(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs a bundle from another folder, with tools of a folder before all others.
fn run(bundle: &Path, tools: &Path, out: &Path, options: &[&str]) -> Output {
    command(bundle, tools, out, options).output().unwrap()
}

fn command(bundle: &Path, tools: &Path, out: &Path, options: &[&str]) -> Command {
    let path = std::env::var("PATH").unwrap();
    let mut command = Command::new(bundle.join("run.sh"));
    command.arg(out).args(options).current_dir(tools);
    command.env("PATH", format!("{}:{path}", tools.display()));
    command
}

fn found(out: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(out.join("gpu.json")).unwrap()).unwrap()
}

/// Names of what has equal hashes, and of what hasn't.
fn hashes(found: &Value) -> [Vec<&str>; 2] {
    let hashes = found["hashes"].as_object().unwrap().iter();
    let (equal, odd): (Vec<_>, Vec<_>) = hashes.partition(|(_, of)| of["host"] == of["device"]);
    [equal, odd].map(|some| some.into_iter().map(|(name, _)| name.as_str()).collect())
}

#[test]
fn a_bundle_runs_from_its_folder_alone() {
    if devices(Kinds::Any).map_or(true, |devices| devices.is_empty()) {
        println!("skipped: no OpenCL device here (PoCL's package is pocl-opencl-icd)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (bundle, tools) = (bundle(folder), folder.join("tools"));
    fs::create_dir(&tools).unwrap();
    script(&tools.join("compute-sanitizer"), &SANITIZER.replace("FOUND", "0"));
    let small = ["--device", "opencl", "--small"];

    let told = run(&bundle, &tools, &folder.join("out"), &small);
    assert_eq!(told.status.code(), Some(0), "{told:?}");
    let all = found(&folder.join("out"));
    let [equal, odd] = hashes(&all);
    assert!(odd.is_empty() && all["failed"].as_array().unwrap().is_empty(), "{all}");
    assert!(all["device"].as_str().unwrap().starts_with("OpenCL: "), "{all}");
    for name in ["kernel product Turned", "kernel learned, Adam", "kernel scores"] {
        assert!(equal.contains(&name), "{name}: {all}");
    }
    let jobs = |ends: &str| equal.iter().filter(|name| name.ends_with(ends)).count();
    assert_eq!((jobs(", 1 rank"), jobs(", 2 thread ranks")), (3, 3), "{all}");
    assert!(equal.contains(&"run of 40 x 2"), "{all}");
    let rates = all["rates"].as_array().unwrap();
    for name in
        ["gemm 64 x 1024 x 80, Turned", "mixture stage 2, 40 x 3", "shared step of a run, 40 x 2"]
    {
        let rate = rates.iter().find(|rate| rate["name"].as_str().unwrap().starts_with(name));
        let rate = rate.unwrap_or_else(|| panic!("{name}: {all}"));
        for key in ["rows", "tflops", "seconds"] {
            assert!(rate[key].as_f64().is_some_and(|figure| figure > 0.0), "{key}: {all}");
        }
    }
    assert_eq!(all["sanitizer"]["memcheck"], "ERROR SUMMARY: 0 errors", "{all}");
    assert_eq!(all["sanitizer"]["racecheck"], "ERROR SUMMARY: 0 errors", "{all}");
    let tools_told = fs::read_to_string(tools.join("told")).unwrap();
    assert!(tools_told.contains("--tool racecheck --error-exitcode 99"), "{tools_told}");

    // One job on the stand-in for CUDA's driver, which is what a bundle looks for by itself.
    let mut jobs: Vec<_> =
        fs::read_dir(bundle.join("jobs")).unwrap().map(|job| job.unwrap().path()).collect();
    jobs.sort();
    jobs.iter().skip(1).for_each(|job| fs::remove_file(job).unwrap());
    let driver = folder.join("driver");
    fs::create_dir(&driver).unwrap();
    let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("gpu-check/driver/build.sh");
    assert!(Command::new(build).arg(&driver).status().unwrap().success());
    let mut command = command(&bundle, &tools, &folder.join("cuda"), &["--small"]);
    let told = command.env("LD_LIBRARY_PATH", &driver).output().unwrap();
    assert_eq!(told.status.code(), Some(0), "{told:?}");
    let all = found(&folder.join("cuda"));
    assert!(all["device"].as_str().unwrap().starts_with("CUDA: stand-in"), "{all}");
    assert!(all["ended"].as_bool().unwrap() && hashes(&all)[0].len() > 30, "{all}");

    // One whose run on the device is another's, and errors under the tools.
    let program = bundle.join("reelscale");
    fs::rename(&program, bundle.join("program")).unwrap();
    script(
        &program,
        "#!/bin/sh\ncase \"$*\" in *opencl*) set -- \"$@\" --set run.seed=9 ;; esac\n\
         exec \"$(dirname \"$0\")/program\" \"$@\"\n",
    );
    script(&tools.join("compute-sanitizer"), &SANITIZER.replace("FOUND", "3"));
    let told = run(&bundle, &tools, &folder.join("other"), &small);
    assert_eq!(told.status.code(), Some(1), "{told:?}");
    let all = found(&folder.join("other"));
    let odd = &hashes(&all)[1];
    assert!(odd.len() == 3 && !odd.iter().any(|name| name.starts_with("kernel")), "{all}");
    let failed = all["failed"].to_string();
    assert!(failed.contains("memcheck: ") && failed.contains("racecheck: "), "{failed}");

    // The second time in one folder nothing is taken for new.
    let told = run(&bundle, &tools, &folder.join("other"), &small);
    assert_eq!(told.status.code(), Some(1), "{told:?}");
}

#[test]
fn without_a_gpu_a_bundle_ends_with_3() {
    if Path::new("/dev/nvidiactl").exists() {
        println!("skipped: there is a GPU here");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let told = run(&bundle, folder.path(), &folder.path().join("out"), &[]);
    assert_eq!(told.status.code(), Some(3), "{told:?}");
    assert!(String::from_utf8_lossy(&told.stderr).contains("CUDA: no driver"), "{told:?}");
    assert!(!folder.path().join("out").exists());
}
