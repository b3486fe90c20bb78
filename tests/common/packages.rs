//! Python with packages of PyPI, for what other programs write and read.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Held while packages are looked for and installed: tests of one program run side by side.
static INSTALLING: Mutex<()> = Mutex::new(());

/// Python with packages of these versions, in a folder of this name that is kept between builds;
/// none, and a line that says so, where pip can't install them.
pub fn python(name: &str, needed: &[&str], imports: &str) -> Option<Command> {
    let _installing = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if !has(&folder, imports)
        && let Err(why) = install(&folder, needed, imports)
    {
        println!("skipped: pip can't install {needed:?}: {why}");
        return None;
    }
    Some(of_folder(&folder))
}

fn of_folder(folder: &Path) -> Command {
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", folder).stdin(Stdio::null());
    command
}

fn has(folder: &Path, imports: &str) -> bool {
    let mut python = of_folder(folder);
    let status = python.args(["-c", &format!("import {imports}")]).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// The folder is there under its name only when it is whole.
fn install(folder: &Path, needed: &[&str], imports: &str) -> Result<(), String> {
    let partial = PathBuf::from(format!("{}.{}", folder.display(), std::process::id()));
    // None of what they depend on is used here but what is named.
    let pip = "timeout 180 python3 -m pip install --quiet --disable-pip-version-check \
               --no-deps --target";
    let mut words = pip.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    let command = command.args(words).arg(&partial).args(needed);
    let said = command.output().map(|output| output.stderr).unwrap_or_default();
    if !has(&partial, imports) {
        let _ = fs::remove_dir_all(&partial);
        return Err(String::from_utf8_lossy(&said).into_owned());
    }
    if folder.exists() {
        fs::remove_dir_all(folder).unwrap();
    }
    fs::rename(&partial, folder).unwrap();
    Ok(())
}
