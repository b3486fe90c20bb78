//! Python with packages of PyPI, for what other programs write and read.

use std::path::Path;
use std::process::{Command, Stdio};

/// Python with packages of these versions, in a folder of this name that is kept between builds;
/// none, and a line that says so, where pip can't install them.
pub fn python(name: &str, needed: &[&str], imports: &str) -> Option<Command> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let python = || {
        let mut command = Command::new("python3");
        command.env("PYTHONPATH", &folder).stdin(Stdio::null());
        command
    };
    let works = || {
        let code = format!("import {imports}");
        let status = python().args(["-c", &code]).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    if !works() {
        // None of what they depend on is used here but what is named.
        let pip = "timeout 180 python3 -m pip install --quiet --disable-pip-version-check \
                   --no-deps --upgrade --target";
        let mut words = pip.split_whitespace();
        let mut command = Command::new(words.next().unwrap());
        let command = command.args(words).arg(&folder).args(needed);
        let said = command.output().map(|output| output.stderr).unwrap_or_default();
        if !works() {
            println!("skipped: pip can't install {needed:?}: {}", String::from_utf8_lossy(&said));
            return None;
        }
    }
    Some(python())
}
