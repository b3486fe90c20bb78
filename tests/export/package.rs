//! The package for Python in an environment that has nothing else but what it needs, beside the
//! program under test; `make test-wheel` holds the wheel to the same.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::{common, needed, python};

const PROJECT: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn the_package_for_python_agrees_with_the_program() {
    if python().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let [environment, work] = ["environment", "work"].map(|name| folder.path().join(name));
    let mut venv = Command::new("python3");
    let venv = venv.args(["-m", "venv", "--without-pip"]).arg(&environment).output().unwrap();
    assert!(venv.status.success(), "{venv:?}");
    let python = || Command::new(environment.join("bin/python"));
    let place = "import sysconfig; print(sysconfig.get_path('purelib'))";
    let place = python().args(["-I", "-c", place]).output().unwrap().stdout;
    let packages = Path::new(std::str::from_utf8(&place).unwrap().trim());
    // What the wheel is made of.
    let modules = Path::new(PROJECT).join("python/reelscale");
    common::copy(&modules, &packages.join("reelscale"));
    symlink(env!("CARGO_BIN_EXE_reelscale"), environment.join("bin/reelscale")).unwrap();
    fs::write(packages.join("needed.pth"), needed().to_str().unwrap()).unwrap();

    fs::create_dir(&work).unwrap();
    let mut check = python();
    check.arg("-I").arg(Path::new(PROJECT).join("tests/python/check.py")).arg(PROJECT);
    let told = check.args(["300", "24"]).current_dir(&work).output().unwrap();
    println!("{}", String::from_utf8_lossy(&told.stdout));
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
}

/// What builds the wheel stands in two files, and what it is built with in a third.
#[test]
fn a_wheel_is_built_by_what_there_is() {
    let text = |name: &str| fs::read_to_string(Path::new(PROJECT).join(name)).unwrap();
    let [wheel, cargo] =
        ["pyproject.toml", "Cargo.toml"].map(|name| text(name).parse::<toml::Table>().unwrap());
    let makefile = text("Makefile");
    for needed in wheel["build-system"]["requires"].as_array().unwrap() {
        let needed = needed.as_str().unwrap();
        assert!(makefile.contains(&format!("$(call brought,{needed})")), "{needed}");
    }
    let features = wheel["tool"]["maturin"]["features"].as_array().unwrap();
    for feature in features {
        let feature = feature.as_str().unwrap();
        assert!(cargo["features"].get(feature).is_some(), "{feature}");
    }
    assert_eq!(wheel["project"]["name"], cargo["package"]["name"]);
    assert_eq!(wheel["project"]["license"], cargo["package"]["license"]);
    let module = format!("python/{}/__init__.py", cargo["package"]["name"].as_str().unwrap());
    assert!(Path::new(PROJECT).join(&module).is_file(), "{module}");
}
